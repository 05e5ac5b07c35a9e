//! What may be slow: loops in loops, questions asked once per item, functions of many branches.

use serde_json::{Value, json};

use super::{causes::COMPLEXITY_SUSPICIOUS, evidence::Evidence, file::File, hints};
use crate::{
    archon::python::{Call, Function},
    model::{DebugInput, text},
};

/// How many findings of one kind are named.
const FINDINGS_MAX: usize = 10;

/// Words that make a problem one of speed.
const SPEED_WORDS: [&str; 18] = [
    "slow",
    "slowly",
    "performance",
    "latency",
    "speed",
    "timeout",
    "timeouts",
    "timed out",
    "times out",
    "cpu",
    "hangs",
    "bottleneck",
    "optimize",
    "optimise",
    "takes too long",
    "n+1",
    "throughput",
    "faster",
];
/// Methods that usually ask something outside.
const ASKING_NAMES: [&str; 22] = [
    "execute",
    "executemany",
    "query",
    "fetch",
    "fetchone",
    "fetchall",
    "find",
    "find_one",
    "filter",
    "get",
    "post",
    "put",
    "request",
    "send",
    "select",
    "load",
    "read",
    "save",
    "commit",
    "urlopen",
    "run",
    "sleep",
];

/// What a problem of speed may come from; short for other problems.
pub(super) fn report(input: &DebugInput, evidence: &Evidence) -> Value {
    let hypothesis = input.hypothesis.as_deref().unwrap_or_default();
    let text = format!("{} {hypothesis}", input.problem_description).to_lowercase();
    let words: Vec<_> = SPEED_WORDS.iter().filter(|it| hints::has_word(&text, it)).collect();
    if words.is_empty() {
        return json!({ "relevant": false, "note": "the problem does not read as one of speed" });
    }
    let files = || evidence.files.iter().chain(&evidence.frame_files);
    let findings = |find: fn(&File) -> Vec<Value>| {
        files().flat_map(find).take(FINDINGS_MAX).collect::<Vec<_>>()
    };
    json!({
        "relevant": true,
        "because": words,
        "nested_loops": findings(nested_loops),
        "calls_in_loops": findings(calls_in_loops),
        "complex_functions": findings(complex_functions),
        "note": "found by reading, not by measuring: profile before changing anything",
    })
}

fn nested_loops(file: &File) -> Vec<Value> {
    let functions = file.outline.iter().flat_map(|it| &it.functions);
    let nested = functions.filter(|it| it.loop_depth > 1);
    let show = |it: &Function| {
        let place = format!("{}:{}", file.path, it.line);
        json!({ "where": place, "function": it.full_name(), "depth": it.loop_depth })
    };
    nested.map(show).collect()
}

fn calls_in_loops(file: &File) -> Vec<Value> {
    let Some(outline) = &file.outline else { return Vec::new() };
    let asks = |it: &&Call| {
        it.loop_depth > 0 && it.callee.contains('.') && ASKING_NAMES.contains(&it.name())
    };
    let show = |it: &Call| {
        let function = it.function.map(|at| outline.functions[at].full_name());
        let place = format!("{}:{}", file.path, it.line);
        json!({
            "where": place,
            "function": function,
            "call": text::cut(&it.callee, 120),
            "fix": "ask once for all items before the loop, or ask for them at the same time",
        })
    };
    outline.calls.iter().filter(asks).map(show).collect()
}

fn complex_functions(file: &File) -> Vec<Value> {
    let functions = file.most_complex().into_iter();
    let complex = functions.filter(|it| it.complexity >= COMPLEXITY_SUSPICIOUS);
    let show = |it: &Function| {
        let place = format!("{}:{}", file.path, it.line);
        json!({ "where": place, "function": it.full_name(), "complexity": it.complexity })
    };
    complex.map(show).collect()
}
