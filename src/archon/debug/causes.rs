//! What may be the cause: rules of experience, applied to what is known, each with its evidence.

use serde::Serialize;

use super::{
    evidence::{Evidence, Located},
    file::File,
    hints,
    trace::TraceError,
};
use crate::{archon::python::Smell, model::DebugInput};

/// How many candidates are named: the likeliest ones.
const CANDIDATES_MAX: usize = 10;
/// How many findings of one file's style are candidates.
const SMELLS_MAX: usize = 8;
/// How many lines before a frame are searched for where a value came from.
const LINES_BACK_MAX: usize = 200;
/// From which complexity on a function is suspicious by that alone.
pub(super) const COMPLEXITY_SUSPICIOUS: usize = 10;

/// Something that may be the cause.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Candidate {
    pub(super) what: String,
    /// A place, or what the evidence is taken from.
    #[serde(rename = "where")]
    pub(super) place: String,
    pub(super) evidence: Vec<String>,
    /// From 0 to 1.
    pub(super) confidence: f64,
    #[serde(skip)]
    pub(super) fix: String,
}

/// Finds candidates, the likeliest one first; at least one, if only to say that nothing is known.
pub(super) fn find(input: &DebugInput, evidence: &Evidence) -> Vec<Candidate> {
    let mut candidates = Vec::new();
    from_errors(evidence, &mut candidates);
    evidence.files.iter().for_each(|it| from_file(it, &mut candidates));
    from_words(input, &mut candidates);
    if candidates.is_empty() {
        candidates.push(nothing_known());
    }
    // Stable, so that of two equally likely ones the one found first stays first.
    candidates.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
    candidates.truncate(CANDIDATES_MAX);
    candidates
}

fn from_errors(evidence: &Evidence, candidates: &mut Vec<Candidate>) {
    for (at, error) in evidence.errors.iter().enumerate() {
        let hint = hints::of_error(error);
        let own = evidence.own_frame(at);
        let mut found = vec![say(error)];
        found.extend(own.and_then(|it| said_line(evidence, it)));
        found.extend(own.and_then(|it| none_source(evidence, error, it)));
        // What was raised first is nearer to the cause than what it led to; a line that can be
        // read weighs more than one that cannot.
        let is_consequence = error.relation.is_some();
        let mut confidence = hint.confidence;
        confidence += if own.is_some() { 0.1 } else { -0.1 };
        confidence += if is_consequence { -0.3 } else { 0.0 };
        let place = own
            .map(Located::place)
            .or_else(|| error.frames.first().map(|it| format!("{}:{}", it.path, it.line)));
        candidates.push(Candidate {
            what: hint.what.to_owned(),
            place: place.unwrap_or_else(|| "error_traces".to_owned()),
            evidence: found,
            confidence: round(confidence.clamp(0.05, 0.95)),
            fix: hint.fix.to_owned(),
        });
    }
}

fn from_file(file: &File, candidates: &mut Vec<Candidate>) {
    let path = &file.path;
    if let Err(error) = &file.text {
        candidates.push(Candidate {
            what: "an affected file cannot be read: it may be missing, moved or misnamed".into(),
            place: path.clone(),
            evidence: vec![error.clone()],
            confidence: 0.3,
            fix: "check that the file exists under this path".into(),
        });
    }
    if let Some(first) = file.syntax_errors.first() {
        let n_errors = file.syntax_errors.len();
        candidates.push(Candidate {
            what: "the file does not parse, so nothing that imports it runs".into(),
            place: format!("{path}:{}", first.line),
            evidence: vec![format!("{}; {n_errors} in all", first.message)],
            confidence: 0.9,
            fix: format!("mend the syntax at {path}:{}", first.line),
        });
    }
    for smell in file.outline.iter().flat_map(|it| &it.smells).take(SMELLS_MAX) {
        candidates.push(from_smell(path, smell));
    }
}

fn from_smell(path: &str, smell: &Smell) -> Candidate {
    let (line, what, confidence, fix) = match smell {
        Smell::SwallowedException(line) => {
            (line, "an error is caught and nothing is done about it", 0.3, "log it or raise it")
        }
        Smell::BareExcept(line) => {
            (line, "except without a type also catches what it should not", 0.2, "name the errors")
        }
        Smell::MutableDefault(line) => (
            line,
            "a default value is shared by all calls, so one call changes the next",
            0.25,
            "use None as the default and make the value inside",
        ),
    };
    let place = format!("{path}:{line}");
    let fix = format!("{fix} at {place}");
    Candidate { what: what.into(), place, evidence: Vec::new(), confidence, fix }
}

fn from_words(input: &DebugInput, candidates: &mut Vec<Candidate>) {
    for hint in hints::of_words(&input.problem_description) {
        if candidates.iter().any(|it| it.what == hint.what) {
            continue;
        }
        candidates.push(Candidate {
            what: hint.what.to_owned(),
            place: "problem_description".to_owned(),
            evidence: vec![format!("the description says {:?}", hint.word)],
            confidence: hint.confidence,
            fix: hint.fix.to_owned(),
        });
    }
}

fn nothing_known() -> Candidate {
    Candidate {
        what: "unknown: there is neither an error nor a finding to start from".into(),
        place: "problem_description".into(),
        evidence: Vec::new(),
        confidence: 0.05,
        fix: "reproduce the problem and pass its stack trace in error_traces".into(),
    }
}

fn say(error: &TraceError) -> String {
    match (error.kind.as_str(), error.message.as_str()) {
        ("", message) => message.to_owned(),
        (kind, "") => kind.to_owned(),
        (kind, message) => format!("{kind}: {message}"),
    }
}

fn said_line(evidence: &Evidence, frame: &Located) -> Option<String> {
    let line = evidence.file(&frame.frame.path)?.line(frame.frame.line)?;
    Some(format!("line {}: {}", frame.frame.line, line.trim()))
}

/// Where the value came from that turned out to be None.
fn none_source(evidence: &Evidence, error: &TraceError, frame: &Located) -> Option<String> {
    let attribute = error.message.strip_prefix("'NoneType' object has no attribute '")?;
    let attribute = attribute.split('\'').next()?;
    let file = evidence.file(&frame.frame.path)?;
    let line = file.line(frame.frame.line)?;
    let (before, _) = line.split_once(&format!(".{attribute}"))?;
    let name = before.rsplit(|it: char| !it.is_alphanumeric() && it != '_').next()?;
    let function = file.outline.as_ref()?.function_at(frame.frame.line)?;
    let assignment = format!("{name} = ");
    let lines = (function.line..frame.frame.line).rev().take(LINES_BACK_MAX);
    let found = lines.into_iter().find_map(|at| {
        let code = file.line(at)?.trim();
        code.starts_with(&assignment).then(|| format!("`{name}` is set in line {at}: {code}"))
    });
    found.filter(|_| !name.is_empty())
}

fn round(confidence: f64) -> f64 {
    (confidence * 100.0).round() / 100.0
}
