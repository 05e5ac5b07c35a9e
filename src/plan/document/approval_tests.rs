//! Snapshots of what a task may ask before it starts, and of what may be decided.

use expect_test::expect;
use serde_json::{Value, json};

use super::{
    check_approve,
    testing::{check_value, coder, show_faults},
    tests::{check_task, merge},
};
use crate::model::{ApprovalSpec, json::Json};

/// The `approval` of a task as it is read.
fn read(approval: &Value) -> ApprovalSpec {
    let mut task = coder("a");
    merge(&mut task, &json!({ "approval": approval }));
    let checked = check_value(&json!({ "tasks": [task] })).unwrap();
    ApprovalSpec::clone(checked.tasks[0].approval.as_ref().unwrap())
}

#[test]
fn what_is_left_out_has_its_default() {
    let spec = read(&json!({"message": "ship it?"}));
    assert_eq!(
        (spec.decisions.as_slice(), spec.timeout_seconds),
        (&["approve", "reject"].map(str::to_owned)[..], 86_400.0)
    );
    assert_eq!(
        serde_json::from_value::<ApprovalSpec>(json!({"message": "ship it?"})).unwrap(),
        spec
    );
    let spec = read(&json!({"message": "m", "decisions": ["a"], "timeout_seconds": 2_592_000}));
    assert_eq!((spec.decisions.len(), spec.timeout_seconds), (1, 2_592_000.0));
}

#[test]
fn every_fault_is_named_at_once() {
    check_task(
        &json!({"approval": {"mesage": "m", "decisions": ["yes", "yes", "no way", "", 1], "timeout_seconds": 0}}),
        &expect![[r#"
            unknown_field at /tasks/0/approval/mesage: task "a": unknown field "mesage"; did you mean "message"?
              hint: approval takes message, decisions, timeout_seconds
            missing_field at /tasks/0/approval/message: task "a": "message" is missing
              hint: say what is to be decided
            duplicate_field at /tasks/0/approval/decisions/1: task "a": item 2 of "decisions" names "yes" again
              hint: name each once
            invalid_enum at /tasks/0/approval/decisions/2: task "a": item 3 of "decisions" must be one plain word, not "no way"
              hint: use 1 to 64 letters, digits, dots, dashes and underscores
            empty_value at /tasks/0/approval/decisions/3: task "a": item 4 of "decisions" must not be empty
              hint: say what is meant
            invalid_type at /tasks/0/approval/decisions/4: task "a": item 5 of "decisions" must be a string, not a number
              hint: pass a string
            out_of_range at /tasks/0/approval/timeout_seconds: task "a": "timeout_seconds" must be above 0 and at most 2592000, not 0
              hint: pass a number above 0 and at most 2592000"#]],
    );
    check_task(
        &json!({"approval": {"message": " ", "decisions": ["reject"]}}),
        &expect![[r#"
        empty_value at /tasks/0/approval/message: task "a": "message" must not be empty
          hint: say what is meant
        empty_value at /tasks/0/approval/decisions: task "a": "decisions" must name a decision other than "reject"
          hint: leave it out to mean ["approve", "reject"]"#]],
    );
    check_task(
        &json!({"approval": {"message": "m", "decisions": []}}),
        &expect![[r#"
        empty_value at /tasks/0/approval/decisions: task "a": "decisions" must name a decision other than "reject"
          hint: leave it out to mean ["approve", "reject"]"#]],
    );
    let many: Vec<_> = (0..21).map(|it| format!("d{it}")).collect();
    check_task(
        &json!({"approval": {"message": "m", "decisions": many, "timeout_seconds": 2_592_001}}),
        &expect![[r#"
            limit_exceeded at /tasks/0/approval/decisions: task "a": "decisions" must name at most 20 decisions
              hint: offer fewer to choose from
            out_of_range at /tasks/0/approval/timeout_seconds: task "a": "timeout_seconds" must be above 0 and at most 2592000, not 2592001
              hint: pass a number above 0 and at most 2592000"#]],
    );
    check_task(
        &json!({"approval": "m"}),
        &expect![[r#"
        invalid_type at /tasks/0/approval: task "a": "approval" must be an object, not a string
          hint: pass the JSON itself, not a string that holds it"#]],
    );
}

#[test]
fn arguments_of_a_decision_are_checked() {
    let refused =
        |args: &Value| show_faults(&check_approve(&Json::from_value(args).unwrap()).unwrap_err());
    expect![[r#"
        missing_field at /dispatch_id: "dispatch_id" is missing
          hint: dispatch answers it; read_trace without arguments lists the recent ones
        missing_field at /task_id: "task_id" is missing
          hint: get_result shows waiting_for "approval" where a decision is wanted
        missing_field at /decision: "decision" is missing
          hint: choose one of the decisions that get_result shows"#]]
    .assert_eq(&refused(&json!({})));
    expect![[r#"
        unknown_field at /why: the document has no field "why"
          hint: approve_task takes dispatch_id, task_id, decision, note
        unknown_dispatch at /dispatch_id: "dispatch_id" must be a UUID, not "x"
          hint: read_trace without arguments lists the recent dispatches
        invalid_task_id at /task_id: "-" is not a valid task id
          hint: name a task of the dispatch
        too_long at /decision: "decision" has 65 characters; at most 64 are allowed
          hint: put the long part in a file and pass its path
        invalid_type at /note: "note" must be a string, not a number
          hint: pass a string"#]]
    .assert_eq(&refused(&json!({
        "dispatch_id": "x", "task_id": "-", "decision": "d".repeat(65), "note": 1, "why": "",
    })));
}
