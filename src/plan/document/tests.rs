//! Snapshots of what documents are refused and warned for.

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::testing::{check_value, coder, show_faults};
use crate::model::TaskId;

/// Checks a document and shows its faults, or its tasks and warnings.
#[track_caller]
pub(super) fn check(document: &Value, expected: &Expect) {
    let got = match check_value(document) {
        Err(refusal) => show_faults(&refusal),
        Ok(checked) => {
            let mut lines: Vec<_> = checked
                .tasks
                .iter()
                .map(|it| {
                    let waits: Vec<_> = it.dependencies.iter().map(TaskId::as_str).collect();
                    format!("{} {} <- {waits:?}", it.task_id, it.agent)
                })
                .collect();
            lines.extend(checked.warnings.iter().map(|it| format!("warning: {it}")));
            lines.join("\n")
        }
    };
    expected.assert_eq(&got);
}

/// Checks a coder task with some fields set; a null removes one.
#[track_caller]
pub(super) fn check_task(changes: &Value, expected: &Expect) {
    let mut task = coder("a");
    merge(&mut task, changes);
    check(&json!({ "tasks": [task] }), expected);
}

/// Checks a debug task's input.
#[track_caller]
fn check_debug(input: &Value, expected: &Expect) {
    let task =
        json!({"task_id": "a", "agent": "debug", "description": "look", "input_data": input});
    check(&json!({ "tasks": [task] }), expected);
}

#[track_caller]
pub(super) fn check_config(config: &Value, expected: &Expect) {
    check(&json!({ "tasks": [coder("a")], "config": config }), expected);
}

pub(super) fn merge(into: &mut Value, changes: &Value) {
    for (key, value) in changes.as_object().unwrap() {
        match (value, into.get_mut(key)) {
            (Value::Object(_), Some(inner @ Value::Object(_))) => merge(inner, value),
            _ => into[key] = value.clone(),
        }
    }
}

#[test]
fn a_good_document_is_taken() {
    check(
        &json!({
            "tasks": [
                coder("gen-user-writer"),
                {"task_id": "look", "agent": "agent_debug_intelligence", "description": "look",
                 "input_data": {"problem_description": "p", "affected_files": ["/w/a.py"],
                     "error_traces": [""], "analysis_depth": "deep", "hypothesis": null,
                     "pre_gathered_context": {"file:a": 1}},
                 "depends_on": ["gen-user-writer"], "context_requirements": ["file:auth.py"],
                 "timeout_seconds": 1.5, "estimate_seconds": 0.5},
                {"task_id": "any", "agent": "free", "description": "d", "input_data": {"x": [1]}},
            ],
            "config": {"max_workers": 5.0, "timeout_seconds": 300, "trace_dir": "./traces",
                "on_failure": "continue", "enable_context": true},
        }),
        &expect![[r#"
            gen-user-writer coder <- []
            look debug <- ["gen-user-writer"]
            any free <- []"#]],
    );
}

#[test]
fn the_document_must_be_an_object_with_tasks() {
    check(
        &json!([]),
        &expect![[r"
        invalid_type at : the document must be an object, not a list
          hint: pass an object"]],
    );
    check(
        &json!({}),
        &expect![[r#"
        missing_field at /tasks: "tasks" is missing
          hint: give a list of tasks"#]],
    );
    check(
        &json!({"tasks": {}, "task": 1}),
        &expect![[r#"
        unknown_field at /task: the document has no field "task"; did you mean "tasks"?
          hint: a document takes tasks and config
        invalid_type at /tasks: "tasks" must be a list, not an object
          hint: pass a list"#]],
    );
    check(
        &json!({"tasks": []}),
        &expect![[r#"
        empty_value at /tasks: "tasks" must hold at least one task
          hint: add a task"#]],
    );
    check(
        &json!({"tasks": [1, coder("a")]}),
        &expect![[r#"
        invalid_type at /tasks/0: task number 1: item 1 of "tasks" must be an object, not a number
          hint: pass an object"#]],
    );
}

#[test]
fn required_fields_are_missed_once() {
    check(
        &json!({"tasks": [{}]}),
        &expect![[r#"
            missing_field at /tasks/0/task_id: task number 1: "task_id" is missing
              hint: name the task
            missing_field at /tasks/0/agent: task number 1: "agent" is missing
              hint: "coder" writes code, "debug" investigates; plan_tasks chooses for you
            missing_field at /tasks/0/description: task number 1: "description" is missing
              hint: say what the task is about"#]],
    );
    check_task(
        &json!({"agent": null, "description": "  ", "input_data": null}),
        &expect![[r#"
            missing_field at /tasks/0/agent: task "a": "agent" is missing
              hint: "coder" writes code, "debug" investigates; plan_tasks chooses for you
            empty_value at /tasks/0/description: task "a": "description" must not be empty
              hint: say what is meant"#]],
    );
    check_task(
        &json!({"input_data": null}),
        &expect![[r#"
        missing_field at /tasks/0/input_data: task "a": "input_data" is missing
          hint: give contract_description, node_type and output_path"#]],
    );
}

#[test]
fn unknown_fields_are_named_with_the_nearest() {
    check_task(
        &json!({"dependancies": [], "retries": {}, "priority": 1}),
        &expect![[r#"
            unknown_field at /tasks/0/dependancies: task "a": unknown field "dependancies"; did you mean "dependencies"?
              hint: a task takes task_id, agent, description, input_data, dependencies, context_requirements, timeout_seconds, estimate_seconds, total_timeout_seconds, idle_timeout_seconds, retry, writes, resources, trigger_rule, when, for_each, loop, cache, approval, estimate_tokens, estimate_cost_usd, expect, output_…
            unknown_field at /tasks/0/retries: task "a": unknown field "retries"
              hint: a task takes task_id, agent, description, input_data, dependencies, context_requirements, timeout_seconds, estimate_seconds, total_timeout_seconds, idle_timeout_seconds, retry, writes, resources, trigger_rule, when, for_each, loop, cache, approval, estimate_tokens, estimate_cost_usd, expect, output_…
            unknown_field at /tasks/0/priority: task "a": unknown field "priority"
              hint: a task takes task_id, agent, description, input_data, dependencies, context_requirements, timeout_seconds, estimate_seconds, total_timeout_seconds, idle_timeout_seconds, retry, writes, resources, trigger_rule, when, for_each, loop, cache, approval, estimate_tokens, estimate_cost_usd, expect, output_…"#]],
    );
    check_task(
        &json!({"input_data": {"nodetype": "Effect", "x": 1}}),
        &expect![[r#"
        unknown_field at /tasks/0/input_data/nodetype: task "a": unknown field "nodetype"; did you mean "node_type"?
          hint: a coder's input_data takes contract_description, node_type, output_path, context_files, validation_level, pre_gathered_context
        unknown_field at /tasks/0/input_data/x: task "a": unknown field "x"
          hint: a coder's input_data takes contract_description, node_type, output_path, context_files, validation_level, pre_gathered_context"#]],
    );
    check_config(
        &json!({"max_worker": 1}),
        &expect![[r#"
            unknown_field at /config/max_worker: "config": unknown field "max_worker"; did you mean "max_workers"?
              hint: config takes max_workers, timeout_seconds, trace_dir, on_failure, enable_context, resources, cache, budget"#]],
    );
    check(
        &json!({"tasks": [coder("a")], "cofnig": {}}),
        &expect![[r#"
        unknown_field at /cofnig: the document has no field "cofnig"; did you mean "config"?
          hint: a document takes tasks and config"#]],
    );
}

#[test]
fn one_field_by_two_names_is_refused() {
    check_task(
        &json!({"dependencies": [], "depends_on": []}),
        &expect![[r#"
            duplicate_field at /tasks/0/depends_on: task "a": "dependencies" and "depends_on" are two names of one field; both are given
              hint: keep "dependencies" only"#]],
    );
}

#[test]
fn task_ids_are_checked() {
    check_task(
        &json!({"task_id": "a b"}),
        &expect![[r#"
        invalid_task_id at /tasks/0/task_id: "a b" is not a valid task id
          hint: use 1 to 128 letters, digits, dots, dashes and underscores, a letter or digit first"#]],
    );
    check_task(
        &json!({"task_id": "../x"}),
        &expect![[r#"
        invalid_task_id at /tasks/0/task_id: "../x" is not a valid task id
          hint: use 1 to 128 letters, digits, dots, dashes and underscores, a letter or digit first"#]],
    );
    check_task(
        &json!({"task_id": "x\u{7}\u{202e}"}),
        &expect![[r#"
        invalid_task_id at /tasks/0/task_id: "x\u{7}\u{202e}" is not a valid task id
          hint: use 1 to 128 letters, digits, dots, dashes and underscores, a letter or digit first"#]],
    );
    check_task(
        &json!({"task_id": "y".repeat(129)}),
        &expect![[r#"
        invalid_task_id at /tasks/0/task_id: "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy…" is not a valid task id
          hint: use 1 to 128 letters, digits, dots, dashes and underscores, a letter or digit first"#]],
    );
    check_task(
        &json!({"task_id": 7}),
        &expect![[r#"
        invalid_type at /tasks/0/task_id: task number 1: "task_id" must be a string, not a number
          hint: pass a string"#]],
    );
    check_task(
        &json!({"task_id": ""}),
        &expect![[r#"
        empty_value at /tasks/0/task_id: task number 1: "task_id" must not be empty
          hint: use 1 to 128 letters, digits, dots, dashes and underscores, a letter or digit first"#]],
    );
    check(
        &json!({"tasks": [coder("a"), coder("b"), coder("a")]}),
        &expect![[r#"
        duplicate_task_id at /tasks/2/task_id: task id "a" is taken by task number 1
          hint: give each task its own id"#]],
    );
    check(
        &json!({"tasks": [coder("a-B"), coder("A-b"), coder("a-b")]}),
        &expect![[r#"
        a-B coder <- []
        A-b coder <- []
        a-b coder <- []
        warning: the task ids "a-b" and "a-B" differ in case only; some file systems cannot tell their trace files apart
        warning: the task ids "a-b" and "A-b" differ in case only; some file systems cannot tell their trace files apart"#]],
    );
}

#[test]
fn agents_are_checked_and_the_rest_of_the_task_still_is() {
    check_task(
        &json!({"agent": "codr", "timeout_seconds": 0, "input_data": {"x": 1}}),
        &expect![[r#"
            unknown_agent at /tasks/0/agent: task "a": unknown agent "codr"; did you mean "coder"?
              hint: choose "coder", "debug" or "free"
            out_of_range at /tasks/0/timeout_seconds: task "a": "timeout_seconds" must be above 0 and at most 86400, not 0
              hint: pass a number above 0 and at most 86400"#]],
    );
    check_task(
        &json!({"agent": "codr", "input_data": 1}),
        &expect![[r#"
        unknown_agent at /tasks/0/agent: task "a": unknown agent "codr"; did you mean "coder"?
          hint: choose "coder", "debug" or "free"
        invalid_type at /tasks/0/input_data: task "a": "input_data" must be an object, not a number
          hint: pass an object"#]],
    );
    check_task(
        &json!({"agent": 1}),
        &expect![[r#"
        invalid_type at /tasks/0/agent: task "a": "agent" must be a string, not a number
          hint: pass a string"#]],
    );
}

#[test]
fn texts_have_bounds() {
    check_task(&json!({"description": "é".repeat(100_000)}), &expect!["a coder <- []"]);
    check_task(
        &json!({"description": "é".repeat(100_001)}),
        &expect![[r#"
        too_long at /tasks/0/description: task "a": "description" has 100001 characters; at most 100000 are allowed
          hint: put the long part in a file and pass its path"#]],
    );
    check_task(
        &json!({"input_data": {"contract_description": ""}}),
        &expect![[r#"
        empty_value at /tasks/0/input_data/contract_description: task "a": "contract_description" must not be empty
          hint: say what is meant"#]],
    );
    let long = "x".repeat(1_000_001);
    check_debug(
        &json!({"problem_description": "p", "pre_gathered_context": {"k": [long]}}),
        &expect![[r#"
            too_long at /tasks/0/input_data/pre_gathered_context/k/0: task "a": item 1 of "k" has 1000001 characters; at most 1000000 are allowed
              hint: put the long part in a file and pass its path"#]],
    );
}

#[test]
fn coder_input_is_checked() {
    check_task(
        &json!({"input_data": {"contract_description": 1, "node_type": "effect",
            "output_path": "x.py", "context_files": "/w/a", "validation_level": "hard",
            "pre_gathered_context": []}}),
        &expect![[r#"
            invalid_type at /tasks/0/input_data/contract_description: task "a": "contract_description" must be a string, not a number
              hint: pass a string
            invalid_enum at /tasks/0/input_data/node_type: task "a": "node_type" must be "Effect", "Compute", "Reducer" or "Orchestrator", not "effect"; did you mean "Effect"?
              hint: choose "Effect", "Compute", "Reducer" or "Orchestrator"
            path_not_absolute at /tasks/0/input_data/output_path: task "a": "output_path" must be an absolute path, not "x.py"
              hint: begin with a workspace, as in /w/…; variables are not expanded
            invalid_type at /tasks/0/input_data/context_files: task "a": "context_files" must be a list, not a string
              hint: write ["…"] even for a single item
            invalid_enum at /tasks/0/input_data/validation_level: task "a": "validation_level" must be "strict", "moderate" or "lenient", not "hard"
              hint: choose "strict", "moderate" or "lenient"
            invalid_type at /tasks/0/input_data/pre_gathered_context: task "a": "pre_gathered_context" must be an object, not a list
              hint: pass an object"#]],
    );
    check_task(
        &json!({"input_data": {"node_type": null, "output_path": "/etc/passwd",
            "context_files": ["/w/ok", "rel", 1]}}),
        &expect![[r#"
            missing_field at /tasks/0/input_data/node_type: task "a": "node_type" must not be null
              hint: choose "Effect", "Compute", "Reducer" or "Orchestrator"
            path_not_allowed at /tasks/0/input_data/output_path: task "a": "output_path" leads outside every workspace: "/etc/passwd"
              hint: allowed is what is below /w
            path_not_absolute at /tasks/0/input_data/context_files/1: task "a": item 2 of "context_files" must be an absolute path, not "rel"
              hint: begin with a workspace, as in /w/…; variables are not expanded
            invalid_type at /tasks/0/input_data/context_files/2: task "a": item 3 of "context_files" must be a string, not a number
              hint: pass a string"#]],
    );
    check_task(
        &json!({"input_data": {"output_path": "/w/x/../a.py"}}),
        &expect![[r#"
            path_not_allowed at /tasks/0/input_data/output_path: task "a": "output_path" must not contain "..": "/w/x/../a.py"
              hint: write the path that it comes to, without "..""#]],
    );
    check_task(
        &json!({"input_data": {"output_path": "${OUTPUT_DIR}/a.py"}}),
        &expect![[r#"
        path_not_absolute at /tasks/0/input_data/output_path: task "a": "output_path" must be an absolute path, not "${OUTPUT_DIR}/a.py"
          hint: begin with a workspace, as in /w/…; variables are not expanded"#]],
    );
}

#[test]
fn debug_input_is_checked() {
    check_debug(
        &json!({"affected_files": ["a"], "error_traces": [1], "analysis_depth": "deeper",
            "hypothesis": 1, "node_type": "Effect"}),
        &expect![[r#"
            unknown_field at /tasks/0/input_data/node_type: task "a": unknown field "node_type"
              hint: a debug agent's input_data takes problem_description, affected_files, error_traces, analysis_depth, hypothesis, pre_gathered_context
            missing_field at /tasks/0/input_data/problem_description: task "a": "problem_description" is missing
              hint: say what goes wrong
            path_not_absolute at /tasks/0/input_data/affected_files/0: task "a": item 1 of "affected_files" must be an absolute path, not "a"
              hint: begin with a workspace, as in /w/…; variables are not expanded
            invalid_type at /tasks/0/input_data/error_traces/0: task "a": item 1 of "error_traces" must be a string, not a number
              hint: pass a string
            invalid_enum at /tasks/0/input_data/analysis_depth: task "a": "analysis_depth" must be "quick", "standard" or "deep", not "deeper"; did you mean "deep"?
              hint: choose "quick", "standard" or "deep"
            invalid_type at /tasks/0/input_data/hypothesis: task "a": "hypothesis" must be a string, not a number
              hint: pass a string"#]],
    );
}

#[test]
fn numbers_have_ranges() {
    check_config(
        &json!({"max_workers": 0, "timeout_seconds": 0}),
        &expect![[r#"
        out_of_range at /config/max_workers: "max_workers" must be from 1 to 1024, not 0
          hint: pass a number from 1 to 1024
        out_of_range at /config/timeout_seconds: "timeout_seconds" must be above 0 and at most 86400, not 0
          hint: pass a number above 0 and at most 86400"#]],
    );
    check_config(
        &json!({"max_workers": 1025, "timeout_seconds": 86400.1}),
        &expect![[r#"
        out_of_range at /config/max_workers: "max_workers" must be from 1 to 1024, not 1025
          hint: pass a number from 1 to 1024
        out_of_range at /config/timeout_seconds: "timeout_seconds" must be above 0 and at most 86400, not 86400.1
          hint: pass a number above 0 and at most 86400"#]],
    );
    check_config(
        &json!({"max_workers": 1.5, "timeout_seconds": -1}),
        &expect![[r#"
            invalid_type at /config/max_workers: "max_workers" must be a whole number, not 1.5
              hint: pass a whole number
            out_of_range at /config/timeout_seconds: "timeout_seconds" must be above 0 and at most 86400, not -1
              hint: pass a number above 0 and at most 86400"#]],
    );
    check_config(
        &json!({"max_workers": "5", "timeout_seconds": 1e300}),
        &expect![[r#"
        invalid_type at /config/max_workers: "max_workers" must be a whole number, not a string
          hint: write the number without quotes
        out_of_range at /config/timeout_seconds: "timeout_seconds" must be above 0 and at most 86400, not 1e+300
          hint: pass a number above 0 and at most 86400"#]],
    );
    check_config(
        &json!({"max_workers": u64::MAX, "timeout_seconds": true}),
        &expect![[r#"
        out_of_range at /config/max_workers: "max_workers" must be from 1 to 1024, not 18446744073709551615
          hint: pass a number from 1 to 1024
        invalid_type at /config/timeout_seconds: "timeout_seconds" must be a number of seconds, not a boolean
          hint: pass a number of seconds"#]],
    );
    check_config(
        &json!({"max_workers": 1024, "timeout_seconds": 86400}),
        &expect!["a coder <- []"],
    );
    check_task(
        &json!({"timeout_seconds": 86_401, "estimate_seconds": 0}),
        &expect![[r#"
        out_of_range at /tasks/0/timeout_seconds: task "a": "timeout_seconds" must be above 0 and at most 86400, not 86401
          hint: pass a number above 0 and at most 86400
        out_of_range at /tasks/0/estimate_seconds: task "a": "estimate_seconds" must be above 0 and at most 86400, not 0
          hint: pass a number above 0 and at most 86400"#]],
    );
}

#[test]
fn config_words_and_paths_are_checked() {
    check_config(
        &json!({"on_failure": "failfast", "enable_context": "yes", "trace_dir": "/tmp"}),
        &expect![[r#"
            path_not_allowed at /config/trace_dir: "trace_dir" leads outside every workspace: "/tmp"
              hint: allowed is what is below /w
            invalid_enum at /config/on_failure: "on_failure" must be "skip_dependents", "fail_fast" or "continue", not "failfast"; did you mean "fail_fast"?
              hint: choose "skip_dependents", "fail_fast" or "continue"
            invalid_type at /config/enable_context: "enable_context" must be true or false, not a string
              hint: pass true or false"#]],
    );
    check_config(
        &json!({"trace_dir": "../x"}),
        &expect![[r#"
            path_not_allowed at /config/trace_dir: "trace_dir" must not contain "..": "../x"
              hint: write the path that it comes to, without "..""#]],
    );
    check_config(
        &json!(1),
        &expect![[r#"
        invalid_type at /config: "config" must be an object, not a number
          hint: pass an object"#]],
    );
}

#[test]
fn context_requirements_have_a_known_prefix() {
    check_task(
        &json!({"context_requirements": ["file:a.py", "structure:src", "rag:a b", "pattern:p",
            "auth.py", "fil:x", "rag: ", "file:../x", "file:/etc/passwd", 1]}),
        &expect![[r#"
            invalid_context_requirement at /tasks/0/context_requirements/4: task "a": item 5 of "context_requirements" is not of the form PREFIX:KEY: "auth.py"
              hint: write file:PATH, structure:PATH, rag:QUERY or pattern:NAME
            invalid_context_requirement at /tasks/0/context_requirements/5: task "a": item 6 of "context_requirements" has an unknown prefix: "fil:x"; did you mean "file"?
              hint: write file:PATH, structure:PATH, rag:QUERY or pattern:NAME
            invalid_context_requirement at /tasks/0/context_requirements/6: task "a": item 7 of "context_requirements" has nothing behind the colon: "rag: "
              hint: write file:PATH, structure:PATH, rag:QUERY or pattern:NAME
            invalid_context_requirement at /tasks/0/context_requirements/7: task "a": item 8 of "context_requirements" must not lead upwards with "..": "file:../x"
              hint: write file:PATH, structure:PATH, rag:QUERY or pattern:NAME
            path_not_allowed at /tasks/0/context_requirements/8: task "a": item 9 of "context_requirements" leads outside every workspace: "/etc/passwd"
              hint: allowed is what is below /w
            invalid_type at /tasks/0/context_requirements/9: task "a": item 10 of "context_requirements" must be a string, not a number
              hint: pass a string"#]],
    );
    check_task(&json!({"context_requirements": vec!["rag:x"; 100]}), &expect!["a coder <- []"]);
    check_task(
        &json!({"context_requirements": vec!["rag:x"; 101]}),
        &expect![[r#"
        limit_exceeded at /tasks/0/context_requirements: task "a": "context_requirements" has 101 items; at most 100 are allowed
          hint: ask for directories with structure: or for topics with rag:"#]],
    );
    check_task(
        &json!({"context_requirements": [format!("rag:{}", "x".repeat(1_001))]}),
        &expect![[r#"
            too_long at /tasks/0/context_requirements/0: task "a": item 1 of "context_requirements" has 1001 characters; at most 1000 are allowed
              hint: put the long part in a file and pass its path"#]],
    );
}
