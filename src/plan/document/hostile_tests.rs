//! Documents made to hurt: each is answered within its limits, and none makes the reader panic.
//!
//! None of these is timed. Each would take minutes, not milliseconds, if a step were quadratic.

use std::fmt::Write as _;

use serde_json::json;

use super::{
    super::rules::Limits,
    testing::{check_text, check_value, coder, with_rules},
    *,
};
use crate::model::json as strict;

/// Checks that a document is refused for a number of faults of one code, within the size limit.
#[track_caller]
fn assert_refused(text: &str, limits: Limits, code: ErrorCode, n_faults: usize) {
    let refusal = match strict::read(text.as_bytes()) {
        Err(refusal) => refusal,
        Ok(json) => with_rules(limits, |rules| check_document(&json, rules)).unwrap_err(),
    };
    let body = refusal.to_body();
    assert_eq!((refusal.code(), body.error_count), (code, n_faults), "{refusal}");
    assert!(serde_json::to_vec(&body).unwrap().len() <= Refusal::BYTES_MAX);
}

/// A document of tasks that are fine but for their dependencies.
fn with_dependencies(dependencies: impl Iterator<Item = Vec<String>>) -> String {
    let mut text = String::from("{\"tasks\": [");
    for (at, dependencies) in dependencies.enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let names = json!(dependencies);
        write!(
            text,
            r#"{comma}{{"task_id": "t{at}", "agent": "debug", "description": "d", "input_data":
            {{"problem_description": "p"}}, "dependencies": {names}}}"#
        )
        .unwrap();
    }
    text + "]}"
}

#[test]
fn a_hundred_thousand_unknown_fields() {
    let fields: Vec<_> = (0..100_000).map(|it| format!("\"f{it}\": 1")).collect();
    let text = format!("{{{}}}", fields.join(","));
    // One more for the tasks that are missing.
    assert_refused(&text, Limits::SERVER, ErrorCode::UnknownField, 100_001);
}

#[test]
fn a_million_dependencies_on_unknown_names() {
    let names: Vec<_> = (0..1_000_000).map(|it| format!("no-{it}")).collect();
    let text = with_dependencies([names].into_iter());
    assert_refused(&text, Limits::SERVER, ErrorCode::UnknownDependency, 1_000_000);
}

#[test]
fn slips_of_the_pen_in_front_of_many_long_names() {
    let task = |at: usize| {
        let front = "n".repeat(50);
        format!(
            r#"{{"task_id": "{front}{at:06}", "agent": "free", "description": "d",
            "dependencies": ["{front}x{at:05}"]}}"#
        )
    };
    let tasks: Vec<_> = (0..8_000).map(task).collect();
    let text = format!("{{\"tasks\": [{}]}}", tasks.join(","));
    assert_refused(&text, Limits::RUN, ErrorCode::UnknownDependency, 8_000);
}

#[test]
fn one_task_that_waits_for_itself_very_often() {
    let text = with_dependencies([vec!["t0".to_owned(); 900_000]].into_iter());
    assert_refused(&text, Limits::SERVER, ErrorCode::SelfDependency, 900_000);
}

#[test]
fn one_task_with_very_many_dependencies() {
    let rest = (0..50_000).map(|it| format!("t{}", it + 1)).cycle().take(900_000).collect();
    let text = with_dependencies([rest].into_iter().chain((0..50_000).map(|_| Vec::new())));
    let json = strict::read(text.as_bytes()).unwrap();
    let checked = with_rules(Limits::RUN, |rules| check_document(&json, rules)).unwrap();
    assert_eq!(checked.graph.dependencies(crate::model::TaskIdx::from_usize(0)).len(), 50_000);
    assert_eq!(checked.warnings.last().unwrap(), "849980 more warnings");
}

#[test]
fn more_dependencies_than_are_counted() {
    let text = with_dependencies([vec!["t0".to_owned(); 1_000_001]].into_iter());
    assert_refused(&text, Limits::SERVER, ErrorCode::LimitExceeded, 1);
}

#[test]
fn more_tasks_than_are_counted() {
    let text = with_dependencies((0..10_001).map(|_| Vec::new()));
    assert_refused(&text, Limits::SERVER, ErrorCode::LimitExceeded, 1);
}

#[test]
fn all_tasks_in_one_cycle() {
    let text = with_dependencies((0..10_000).map(|it| vec![format!("t{}", (it + 1) % 10_000)]));
    assert_refused(&text, Limits::SERVER, ErrorCode::DependencyCycle, 1);
    let refusal = check_text(text.as_bytes()).unwrap_err();
    assert!(refusal.faults()[0].message.contains("t0 -> t1 -> "), "{refusal}");
    assert!(refusal.faults()[0].message.ends_with(" -> t9999 -> t0"), "{refusal}");
}

#[test]
fn very_many_small_cycles() {
    let text = with_dependencies((0..40_000).map(|it| vec![format!("t{}", it ^ 1)]));
    assert_refused(&text, Limits::RUN, ErrorCode::DependencyCycle, 20_000);
}

#[test]
fn a_chain_whose_tasks_all_refer_to_the_first() {
    let task = |at: usize| {
        let mut task = coder(&format!("t{at}"));
        if at > 0 {
            task["dependencies"] = json!([format!("t{}", at - 1)]);
            task["input_data"]["contract_description"] = json!("${tasks.t0.output}");
        }
        task
    };
    let tasks: Vec<_> = (0..2_000).map(task).collect();
    assert!(check_value(&json!({ "tasks": tasks })).is_ok());
}

#[test]
fn very_many_references_at_the_end_of_a_long_path() {
    let key = "k".repeat(500_000);
    let strings = vec!["${tasks.b.output}${tasks.c.output}"; 50_000];
    let mut task = coder("a");
    task["input_data"]["pre_gathered_context"] = json!({ key: strings });
    let text = json!({"tasks": [task, coder("b")]}).to_string();
    // Every use of the unknown name, and the known one once.
    assert_refused(&text, Limits::SERVER, ErrorCode::InvalidReference, 50_001);
}

#[test]
fn all_tasks_write_one_file() {
    let task = |at: usize| {
        let mut task = coder(&format!("t{at}"));
        task["input_data"]["output_path"] = json!("/w/same.py");
        task
    };
    let tasks: Vec<_> = (0..10_000).map(task).collect();
    let checked = check_value(&json!({ "tasks": tasks })).unwrap();
    assert_eq!(checked.warnings.len(), 1);
}

#[test]
fn all_tasks_have_names_that_differ_in_case_only() {
    let name = |at: usize| {
        let bit = |it: usize| if at >> it & 1 == 0 { 'a' } else { 'A' };
        (0..13).map(bit).collect::<String>()
    };
    let tasks: Vec<_> = (0..8_000).map(|it| coder(&name(it))).collect();
    let checked = check_value(&json!({ "tasks": tasks })).unwrap();
    assert_eq!(checked.warnings.last().unwrap(), "7979 more warnings");
}

#[test]
fn nesting_is_bounded_wherever_it_stands() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let text = format!(r#"{{"tasks": [{{"input_data": {{"x": {deep}}}}}]}}"#);
    assert_refused(&text, Limits::SERVER, ErrorCode::TooDeep, 1);
}

#[test]
fn mutated_documents_are_answered_and_never_panic() {
    let valid = json!({
        "tasks": [
            coder("gen-a"),
            {"task_id": "look", "agent": "debug", "description": "look é \u{1F600}",
             "input_data": {"problem_description": "see ${tasks.gen-a.output.path}",
                 "affected_files": ["/w/a.py"], "error_traces": ["x\ny"],
                 "analysis_depth": "deep", "pre_gathered_context": {"file:a": {"b": [1, 2.5]}}},
             "dependencies": ["gen-a"], "context_requirements": ["file:auth.py", "rag:x"],
             "timeout_seconds": 1.5, "estimate_seconds": 10},
        ],
        "config": {"max_workers": 5, "timeout_seconds": 300, "trace_dir": "./traces",
            "on_failure": "fail_fast", "enable_context": true},
    })
    .to_string();
    assert!(check_text(valid.as_bytes()).is_ok());
    let mut n_refused = 0;
    for seed in 0..2_000 {
        if let Err(refusal) = check_text(&mutate(valid.as_bytes(), seed)) {
            let body = serde_json::to_vec(&refusal.to_body()).unwrap();
            assert!(body.len() <= Refusal::BYTES_MAX, "seed {seed}");
            n_refused += 1;
        }
    }
    assert!(n_refused > 1_000, "{n_refused}");
}

/// Flips, doubles, deletes or moves a few bytes.
fn mutate(valid: &[u8], seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut below = |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % bound as u64).unwrap()
    };
    let mut text = valid.to_vec();
    for _ in 0..=below(4) {
        let at = below(text.len());
        let end = (at + 1 + below(12)).min(text.len());
        match below(5) {
            0 => text[at] ^= 1 << below(8),
            1 => {
                let piece = text[at..end].to_vec();
                text.splice(at..at, piece);
            }
            2 => {
                text.drain(at..end);
            }
            3 => text[at] = b"\"{}[]:,\\019-ue"[below(14)],
            _ => {
                let piece: Vec<u8> = text.drain(at..end).collect();
                let to = below(text.len());
                text.splice(to..to, piece);
            }
        }
    }
    text
}

#[test]
fn a_value_from_elsewhere_is_as_strict() {
    let mut deep = json!(1);
    for _ in 0..100 {
        deep = Value::Array(vec![deep]);
    }
    let document = json!({ "tasks": deep });
    assert_eq!(Json::from_value(&document).unwrap_err().code(), ErrorCode::TooDeep);
}

#[test]
fn a_limit_is_the_most_that_is_allowed() {
    let count = |tasks: &[&[&str]]| {
        let limits = Limits { tasks_max: 2, edges_max: 1, ..Limits::SERVER };
        let names = tasks.iter().map(|it| it.iter().map(ToString::to_string).collect());
        let json = with_dependencies(names);
        let json = strict::read(json.as_bytes()).unwrap();
        let checked = with_rules(limits, |rules| check_document(&json, rules));
        checked.map(|it| it.tasks.len()).map_err(|it| it.code())
    };
    assert_eq!(count(&[&[], &["t0"]]), Ok(2));
    assert_eq!(count(&[&[], &[], &[]]), Err(ErrorCode::LimitExceeded));
    assert_eq!(count(&[&[], &["t0", "t0"]]), Err(ErrorCode::LimitExceeded));
}
