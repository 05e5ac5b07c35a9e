//! The five sections of the answer: baseline, focus, root cause, optimisation, synthesis.

use serde_json::{Value, json};

use super::{
    causes::{self, COMPLEXITY_SUSPICIOUS, Candidate},
    evidence::{self, Evidence, Located},
    git::Changes,
    hypothesis, speed,
};
use crate::model::{AnalysisDepth, DebugInput, text};

/// How many errors the baseline shows.
const ERRORS_MAX: usize = 16;
/// How many suspicious functions are named.
const SUSPICIOUS_MAX: usize = 10;
/// How many fixes are recommended.
const FIXES_MAX: usize = 5;
/// From which confidence on the summary speaks of a likely cause.
const CONFIDENCE_LIKELY: f64 = 0.5;

/// Writes the answer.
pub(super) fn answer(input: &DebugInput, evidence: &Evidence, changes: &[Changes]) -> Value {
    let candidates = causes::find(input, evidence);
    let context = input.pre_gathered_context.iter().flat_map(|it| it.keys()).take(32);
    let mut answer = json!({
        "success": true,
        "analyzer": "static",
        "analysis_depth": input.analysis_depth,
        "baseline": baseline(input, evidence, changes),
        "focus": focus(evidence),
        "root_cause": {
            "candidates": candidates,
            "hypothesis_assessment": hypothesis::assess(input, evidence, &candidates),
        },
        "optimisation": speed::report(input, evidence),
        "synthesis": synthesis(input, evidence, &candidates),
        "context_used": context.collect::<Vec<_>>(),
    });
    make_safe(&mut answer);
    answer
}

fn baseline(input: &DebugInput, evidence: &Evidence, changes: &[Changes]) -> Value {
    let is_quick = input.analysis_depth == AnalysisDepth::Quick;
    let files: Vec<_> = evidence.files.iter().map(|it| it.to_json(!is_quick)).collect();
    let errors = evidence.errors.iter().take(ERRORS_MAX).map(|it| {
        json!({
            "kind": it.kind,
            "message": it.message,
            "relation": it.relation,
            "n_frames": it.frames.len(),
        })
    });
    let mut baseline = json!({ "files": files, "errors": errors.collect::<Vec<_>>() });
    if !is_quick {
        let known: Vec<_> = changes.iter().filter(|it| !it.commits.is_empty()).collect();
        baseline["recent_changes"] = json!(known);
    }
    let n_files = input.affected_files.len();
    if n_files > evidence::FILES_MAX {
        let n_read = evidence::FILES_MAX;
        baseline["note"] = format!("only the first {n_read} of {n_files} files were read").into();
    }
    baseline
}

fn focus(evidence: &Evidence) -> Value {
    let frames: Vec<_> = evidence.frames.iter().map(Located::to_json).collect();
    let mut focus = json!({ "frames": frames, "suspicious_functions": suspicious(evidence) });
    let related = &evidence.related;
    if !related.imports.is_empty() || related.files_searched > 0 {
        focus["related"] = json!(related);
    }
    focus
}

/// The functions that frames stand in, and then those of many branches.
fn suspicious(evidence: &Evidence) -> Vec<Value> {
    let mut found: Vec<(String, Value)> = Vec::new();
    let mut add = |path: &str, function: &str, line: usize, because: String| {
        let key = format!("{path} {function}");
        if found.len() < SUSPICIOUS_MAX && found.iter().all(|it| it.0 != key) {
            let place = format!("{path}:{line}");
            let json = json!({ "function": function, "where": place, "because": because });
            found.push((key, json));
        }
    };
    for it in evidence.frames.iter().filter(|it| it.in_workspace) {
        if let Some(function) = &it.frame.function {
            let because = format!("a frame of the trace stands here (error {})", it.error + 1);
            add(&it.frame.path, function, it.frame.line, because);
        }
    }
    for file in &evidence.files {
        for it in file.most_complex() {
            if it.complexity >= COMPLEXITY_SUSPICIOUS {
                let because = format!("it has a cyclomatic complexity of {}", it.complexity);
                add(&file.path, &it.full_name(), it.line, because);
            }
        }
    }
    found.into_iter().map(|it| it.1).collect()
}

fn synthesis(input: &DebugInput, evidence: &Evidence, candidates: &[Candidate]) -> Value {
    let mut fixes: Vec<&str> = Vec::new();
    for it in candidates {
        if fixes.len() < FIXES_MAX && !fixes.contains(&it.fix.as_str()) {
            fixes.push(&it.fix);
        }
    }
    json!({
        "summary": summary(candidates),
        "recommended_fixes": fixes,
        "next_steps": next_steps(input, evidence),
    })
}

fn summary(candidates: &[Candidate]) -> String {
    let Some(Candidate { what, place, confidence, .. }) = candidates.first() else {
        return "nothing was found".to_owned();
    };
    let n_candidates = candidates.len();
    let likely = if *confidence >= CONFIDENCE_LIKELY { "likely" } else { "possible" };
    let sure = format!("confidence {confidence}; candidates named: {n_candidates}");
    format!("{likely} cause: {what} ({place}); {sure}")
}

fn next_steps(input: &DebugInput, evidence: &Evidence) -> Vec<String> {
    let mut steps = Vec::new();
    if let Some(frame) = evidence.frames.iter().find(|it| it.in_workspace) {
        steps.push(format!("write a failing test that reaches {}", frame.place()));
    }
    if evidence.errors.is_empty() {
        steps.push("reproduce the problem and pass its stack trace in error_traces".to_owned());
    }
    for it in evidence.files.iter().filter(|it| it.text.is_err()).take(3) {
        steps.push(format!("correct the path {}, which cannot be read", it.path));
    }
    if input.affected_files.is_empty() {
        steps.push("name the files under suspicion in affected_files".to_owned());
    }
    match input.analysis_depth {
        AnalysisDepth::Quick => steps.push("ask again with analysis_depth standard".to_owned()),
        AnalysisDepth::Standard => steps.push("ask again with analysis_depth deep".to_owned()),
        AnalysisDepth::Deep => {}
    }
    steps
}

/// Escapes what can hide or reorder text: everything here may come from a stranger's file.
fn make_safe(value: &mut Value) {
    match value {
        Value::String(it) => *it = text::escape_lines(it),
        Value::Array(items) => items.iter_mut().for_each(make_safe),
        Value::Object(fields) => fields.values_mut().for_each(make_safe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
