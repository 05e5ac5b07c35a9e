//! Snapshots of what may be asked of a dispatch that runs, and of what a task may be told instead.

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::{
    super::rules::Limits,
    check_control, check_replacement,
    testing::{check_value, coder, show_faults, with_rules},
    tests::merge,
};
use crate::model::{TaskSpec, json::Json};

const ID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

#[track_caller]
fn check(args: &Value, expected: &Expect) {
    let mut args = args.clone();
    args["dispatch_id"] = json!(ID);
    let checked = with_rules(Limits { max_workers: 64, ..Limits::SERVER }, |rules| {
        check_control(&Json::from_value(&args).unwrap(), rules)
    });
    let shown = match checked {
        Ok(request) => serde_json::to_value(request).unwrap().to_string(),
        Err(refusal) => show_faults(&refusal),
    };
    expected.assert_eq(&shown);
}

#[test]
fn each_action_takes_its_own_fields() {
    check(
        &json!({"action": "pause", "reason": "lunch"}),
        &expect![[
            r#"{"dispatch_id":"01890a5d-ac96-774b-bcce-b302099a8057","action":"pause","reason":"lunch"}"#
        ]],
    );
    check(
        &json!({"action": "resume", "task_ids": ["a"]}),
        &expect![[
            r#"{"dispatch_id":"01890a5d-ac96-774b-bcce-b302099a8057","action":"resume","task_ids":["a"]}"#
        ]],
    );
    check(
        &json!({"action": "set_max_workers", "max_workers": 64}),
        &expect![[
            r#"{"dispatch_id":"01890a5d-ac96-774b-bcce-b302099a8057","action":"set_max_workers","max_workers":64}"#
        ]],
    );
    check(
        &json!({"action": "replace_input", "task_id": "a", "input_data": {"b": null}}),
        &expect![[
            r#"{"dispatch_id":"01890a5d-ac96-774b-bcce-b302099a8057","action":"replace_input","task_id":"a","input_data":{"b":null}}"#
        ]],
    );
    check(
        &json!({"action": "replace_input", "task_id": "a", "description": "d"}),
        &expect![[
            r#"{"dispatch_id":"01890a5d-ac96-774b-bcce-b302099a8057","action":"replace_input","task_id":"a","description":"d"}"#
        ]],
    );
}

#[test]
fn fields_that_do_not_fit_the_action_are_refused_together() {
    check(
        &json!({"action": "pause", "max_workers": 3, "task_id": "a", "task_ids": []}),
        &expect![[r#"
            unknown_field at /task_id: "task_id" is nothing that action "pause" takes
              hint: pause takes task_ids and reason
            unknown_field at /max_workers: "max_workers" is nothing that action "pause" takes
              hint: pause takes task_ids and reason
            empty_value at /task_ids: "task_ids" must name at least one task
              hint: leave it out to mean all tasks"#]],
    );
    check(
        &json!({"action": "set_max_workers", "task_ids": ["a"]}),
        &expect![[r#"
        missing_field at /max_workers: "max_workers" is missing
          hint: say how many
        unknown_field at /task_ids: "task_ids" is nothing that action "set_max_workers" takes
          hint: set_max_workers takes max_workers and reason"#]],
    );
    check(
        &json!({"action": "set_max_workers", "max_workers": 65}),
        &expect![[r#"
        out_of_range at /max_workers: "max_workers" must be from 1 to 64, not 65
          hint: pass a number from 1 to 64"#]],
    );
    check(
        &json!({"action": "replace_input"}),
        &expect![[r#"
        missing_field at /task_id: "task_id" is missing
          hint: name the task
        missing_field at /input_data: "input_data" is missing
          hint: give the task's whole new input_data, or a description"#]],
    );
    check(
        &json!({"action": "replace_input", "task_id": "a", "input_data": [], "description": " "}),
        &expect![[r#"
            invalid_type at /input_data: "input_data" must be an object, not a list
              hint: pass an object
            empty_value at /description: "description" must not be empty
              hint: say what is meant"#]],
    );
    check(
        &json!({"action": "stop", "tasks": []}),
        &expect![[r#"
            unknown_field at /tasks: the document has no field "tasks"
              hint: control_dispatch takes dispatch_id, action, reason, and what the action needs: task_ids for pause and resume, max_workers for set_max_workers, task_id with input_data or description for replace_input, budget for set_budget
            invalid_enum at /action: "action" must be "pause", "resume", "set_max_workers", "replace_input" or "set_budget", not "stop"
              hint: choose "pause", "resume", "set_max_workers", "replace_input" or "set_budget""#]],
    );
    check(
        &json!({}),
        &expect![[r#"
        missing_field at /action: "action" is missing
          hint: say what to do"#]],
    );
}

fn specs(tasks: &[Value]) -> Vec<TaskSpec> {
    check_value(&json!({ "tasks": tasks })).unwrap().tasks
}

#[test]
fn what_a_task_is_told_is_checked_as_its_document_was() {
    let mut after = coder("b");
    merge(&mut after, &json!({ "dependencies": ["a"] }));
    let mut tasks = specs(&[coder("a"), after]);
    let (before, task) = (vec![tasks.remove(0)], tasks.remove(0));
    let told = |input: &Value| {
        let mut task = task.clone();
        task.input_data = input.as_object().unwrap().clone().into();
        with_rules(Limits { tasks_max: 1, edges_max: 0, ..Limits::SERVER }, |rules| {
            check_replacement(task, before.clone(), rules)
        })
    };
    let good = json!({
        "contract_description": "c", "node_type": "Effect", "context_files": null,
        "output_path": "${tasks.a.output.output_path}",
    });
    let spec = told(&good).unwrap();
    assert!(!spec.input_data.contains_key("context_files"), "a null counts as absent");
    let bad = json!({
        "contract_description": "${tasks.b.output}", "output_path": "/etc/passwd", "x": 1,
    });
    expect![[r#"
        unknown_field at /input_data/x: task "b": unknown field "x"
          hint: a coder's input_data takes contract_description, node_type, output_path, context_files, validation_level, pre_gathered_context
        missing_field at /input_data/node_type: task "b": "node_type" is missing
          hint: choose "Effect", "Compute", "Reducer" or "Orchestrator"
        path_not_allowed at /input_data/output_path: task "b": "output_path" leads outside every workspace: "/etc/passwd"
          hint: allowed is what is below /w
        invalid_reference at /input_data/contract_description: task "b" refers to its own output
          hint: refer to a task that ends before this one starts"#]].assert_eq(&show_faults(&told(&bad).unwrap_err()));
}

#[test]
fn faults_of_the_tasks_before_are_not_this_ones() {
    let mut tasks = specs(&[coder("a"), coder("b")]);
    tasks[0].input_data.insert("output_path".to_owned(), json!("/elsewhere/a.py"));
    let (before, task) = (vec![tasks.remove(0)], tasks.remove(0));
    let again = with_rules(Limits::SERVER, |rules| check_replacement(task.clone(), before, rules));
    assert_eq!(again.unwrap(), task);
}
