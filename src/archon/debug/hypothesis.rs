//! How far the evidence speaks for what the caller suspects.

use serde_json::{Value, json};

use super::{causes::Candidate, evidence::Evidence};
use crate::model::{DebugInput, text};

/// How many words of a hypothesis are looked for.
const WORDS_MAX: usize = 100;
/// How short a word may be that is looked for, in characters.
const WORD_CHARS_MIN: usize = 4;

/// Words that say nothing by themselves.
const EMPTY_WORDS: [&str; 24] = [
    "that", "this", "with", "from", "into", "when", "then", "than", "because", "maybe", "might",
    "could", "should", "would", "there", "their", "some", "have", "does", "think", "problem",
    "error", "issue", "cause",
];

/// Looks for the words of the hypothesis in the evidence; null where there is no hypothesis.
///
/// Words that meet are a sign and no proof, which the answer says.
pub(super) fn assess(input: &DebugInput, evidence: &Evidence, candidates: &[Candidate]) -> Value {
    let Some(hypothesis) = &input.hypothesis else { return Value::Null };
    let known = known(evidence, candidates);
    let hypothesis_lower = hypothesis.to_lowercase();
    let is_inner = |it: char| it.is_alphanumeric() || it == '_';
    let words = hypothesis_lower
        .split(|it| !is_inner(it))
        .filter(|it| it.chars().count() >= WORD_CHARS_MIN && !EMPTY_WORDS.contains(it));
    let mut words: Vec<_> = words.take(WORDS_MAX).collect();
    words.sort_unstable();
    words.dedup();
    let (met, unmet): (Vec<_>, Vec<_>) = words.into_iter().partition(|it| known.contains(*it));
    let verdict = match (met.len(), unmet.len()) {
        (0, _) => "not supported by the evidence at hand",
        (met, unmet) if met >= unmet => "supported in part: compare the candidates",
        _ => "weakly supported",
    };
    json!({
        "hypothesis": text::cut(hypothesis, 1_000),
        "verdict": verdict,
        "found_in_evidence": met,
        "not_found": unmet,
        "method": "its words were looked for in errors, frames, functions and candidates",
    })
}

/// All that is known, in lower case.
fn known(evidence: &Evidence, candidates: &[Candidate]) -> String {
    let mut known = String::new();
    let mut add = |it: &str| {
        known.push_str(&it.to_lowercase());
        known.push('\n');
    };
    for it in &evidence.errors {
        add(&it.kind);
        add(&it.message);
    }
    for it in &evidence.frames {
        add(&it.place());
        it.around.iter().for_each(|it| add(&it.code));
    }
    for file in &evidence.files {
        file.outline.iter().flat_map(|it| &it.functions).for_each(|it| add(&it.full_name()));
    }
    for it in candidates {
        add(&it.what);
        it.evidence.iter().for_each(|it| add(it));
    }
    known
}
