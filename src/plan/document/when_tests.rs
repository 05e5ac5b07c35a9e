//! Snapshots of what is said about conditions, trigger rules, and outputs that may not be there.

use expect_test::expect;
use serde_json::{Value, json};

use super::{
    testing::{check_value, coder},
    tests::{check, check_task, merge},
};
use crate::model::TriggerRule;

/// A task that depends on others, with some fields set.
fn task(task_id: &str, dependencies: &[&str], changes: &Value) -> Value {
    let mut task = coder(task_id);
    task["dependencies"] = json!(dependencies);
    merge(&mut task, changes);
    task
}

/// A task that refers to the output of another one.
fn refers(task_id: &str, dependencies: &[&str], rule: &str, text: &str) -> Value {
    let input = json!({ "contract_description": text });
    task(task_id, dependencies, &json!({ "trigger_rule": rule, "input_data": input }))
}

#[test]
fn conditions_and_rules_are_read() {
    let document = json!({"tasks": [
        coder("gen-x"),
        task("b", &["gen-x"], &json!({
            "when": "tasks[\"gen-x\"].output.score < 0.5", "trigger_rule": "all_done",
        })),
    ]});
    let checked = check_value(&document).unwrap();
    assert_eq!(checked.tasks[0].when, None);
    assert_eq!(checked.tasks[1].when.as_deref(), Some("tasks[\"gen-x\"].output.score < 0.5"));
    assert_eq!(checked.tasks[1].trigger_rule, TriggerRule::AllDone);
    let written = serde_json::to_value(&checked.tasks).unwrap();
    assert_eq!(written[0].get("trigger_rule"), None);
    assert_eq!(written[1]["trigger_rule"], "all_done");
}

#[test]
fn faults_of_an_expression_stand_at_its_field() {
    check_task(
        &json!({"when": "input.x &&", "trigger_rule": "all_succes"}),
        &expect![[r#"
        invalid_enum at /tasks/0/trigger_rule: task "a": "trigger_rule" must be "all_success", "one_success", "none_failed_min_one_success" or "all_done", not "all_succes"; did you mean "all_success"?
          hint: choose "all_success", "one_success", "none_failed_min_one_success" or "all_done"
        invalid_expression at /tasks/0/when: task "a": "when" does not parse at column 11: mismatched input '<EOF>' expecting expression
          hint: write an expression as tasks.ID.output.score >= 0.8 && tasks.ID.status == "success""#]],
    );
    check_task(
        &json!({"when": "input.x + 1 == 'a' && nput.x || matches(input.x)"}),
        &expect![[r#"
            invalid_expression at /tasks/0/when: task "a": "when" names "nput", which is unknown; did you mean "input"?
              hint: name tasks, input or config; an id with dots or dashes is written tasks["ID"]
            invalid_expression at /tasks/0/when: task "a": "when" calls "matches", which is unknown
              hint: there are size, contains, startsWith, endsWith, string, int, double, dyn, has, all, exists, exists_one, filter and map"#]],
    );
    check_task(
        &json!({"when": "x".repeat(4_097), "trigger_rule": 1}),
        &expect![[r#"
        invalid_type at /tasks/0/trigger_rule: task "a": "trigger_rule" must be a string, not a number
          hint: pass a string
        too_long at /tasks/0/when: task "a": "when" has 4097 characters; at most 4096 are allowed
          hint: put the long part in a file and pass its path"#]],
    );
    check_task(
        &json!({"when": " "}),
        &expect![[r#"
        empty_value at /tasks/0/when: task "a": "when" must not be empty
          hint: say what is meant"#]],
    );
    check_task(
        &json!({"when": true}),
        &expect![[r#"
        invalid_type at /tasks/0/when: task "a": "when" must be a string, not a boolean
          hint: pass a string"#]],
    );
}

#[test]
fn conditions_name_tasks_that_end_before() {
    let when = |expression: &str| json!({ "when": expression });
    check(
        &json!({"tasks": [
            coder("gen-x"), coder("b"), task("c", &["gen-x"], &when("true")),
            task("far", &["c"], &when("tasks['gen-x'].status == 'success'")),
            task("stranger", &["c"], &when("tasks.b.status == 'success' && tasks.c.output.ok")),
            task("typo", &["c"], &when("tasks['gen-xx'].output.ok")),
            task("own", &["c"], &when("tasks.own.output.ok")),
        ]}),
        &expect![[r#"
            invalid_reference at /tasks/4/when: task "stranger" refers to the result of "b", which it does not depend on
              hint: add "b" to the task's dependencies
            invalid_reference at /tasks/5/when: task "typo": "when" refers to unknown task "gen-xx"; did you mean "gen-x"?
              hint: name a task that this one depends on, as tasks.ID or tasks["ID"]
            invalid_reference at /tasks/6/when: task "own" refers to its own result
              hint: refer to a task that ends before this one starts"#]],
    );
}

#[test]
fn an_output_that_may_be_missing_needs_a_default() {
    let conditional = || task("a", &[], &json!({ "when": "input.node_type == 'Effect'" }));
    check(
        &json!({"tasks": [
            conditional(), coder("b"),
            refers("plain", &["a", "b"], "all_success", "${tasks.a.output.path}"),
            refers("one", &["a", "b"], "one_success", "${tasks.a.output.path}"),
            refers("only", &["a"], "one_success", "${tasks.a.output.path}"),
            refers("none", &["a", "b"], "none_failed_min_one_success", "${tasks.a.output}"),
            refers("done", &["a"], "all_done", "x ${tasks.a.output.path ?? \"}\"} ${tasks.a.output}"),
            refers("with-default", &["a"], "all_done", "${tasks.a.output.path ?? {\"k\": [1]} }"),
        ]}),
        &expect![[r#"
            invalid_reference at /tasks/3/input_data/contract_description: task "one" refers to the output of "a", and may run without it: its trigger_rule is one_success
              hint: declare what to take instead, as in ${tasks.ID.output.path ?? null}
            invalid_reference at /tasks/5/input_data/contract_description: task "none" refers to the output of "a", and may run without it: its trigger_rule is none_failed_min_one_success
              hint: declare what to take instead, as in ${tasks.ID.output.path ?? null}
            invalid_reference at /tasks/6/input_data/contract_description: task "done" refers to the output of "a", and may run without it: its trigger_rule is all_done
              hint: declare what to take instead, as in ${tasks.ID.output.path ?? null}"#]],
    );
}

#[test]
fn what_stands_between_may_let_a_task_run_without_an_output() {
    check(
        &json!({"tasks": [
            coder("a"), coder("b"),
            task("left", &["a"], &json!({})), task("right", &["a"], &json!({})),
            refers("join", &["left", "right"], "one_success", "${tasks.a.output}"),
            task("either", &["a", "b"], &json!({"trigger_rule": "one_success"})),
            refers("after", &["either"], "all_success", "${tasks.a.output}"),
            refers("after-both", &["either", "a"], "all_success", "${tasks.a.output}"),
        ]}),
        &expect![[r#"
            invalid_reference at /tasks/6/input_data/contract_description: task "after" refers to the output of "a", and may run without it: a task between them has a trigger_rule that allows it
              hint: declare what to take instead, as in ${tasks.ID.output.path ?? null}"#]],
    );
}

#[test]
fn a_default_is_json() {
    check(
        &json!({"tasks": [coder("a"), refers("b", &["a"], "all_done",
            "${tasks.a.output ?? none} ${tasks.a.output ?? } ${tasks.a.output ?? 1 2}")]}),
        &expect![[r#"
            invalid_reference at /tasks/1/input_data/contract_description: task "b": "${tasks.a.output ?? none}" is not a valid reference
              hint: write ${tasks.ID.output.path.to.value}, or $${tasks… for the text itself
            invalid_reference at /tasks/1/input_data/contract_description: task "b": "${tasks.a.output ?? }" is not a valid reference
              hint: write ${tasks.ID.output.path.to.value}, or $${tasks… for the text itself
            invalid_reference at /tasks/1/input_data/contract_description: task "b": "${tasks.a.output ?? 1 2}" is not a valid reference
              hint: write ${tasks.ID.output.path.to.value}, or $${tasks… for the text itself"#]],
    );
}

#[test]
fn a_document_of_long_conditions_is_read_in_time() {
    let when = vec!["input.node_type == 'Effect'"; 60].join(" && ");
    let tasks: Vec<_> =
        (0..1_000).map(|it| task(&format!("t{it}"), &[], &json!({ "when": when }))).collect();
    let checked = check_value(&json!({ "tasks": tasks })).unwrap();
    assert_eq!(checked.tasks.len(), 1_000);
}

#[test]
fn very_many_references_with_defaults_are_read_in_time() {
    let n_tasks = 9_000;
    let ids: Vec<_> = (0..n_tasks).map(|it| format!("t{it}")).collect();
    let references = ids.iter().map(|it| format!("${{tasks.{it}.output ?? null}}"));
    let text = references.collect::<Vec<_>>().join(" ");
    let mut tasks: Vec<_> = ids.iter().map(|it| coder(it)).collect();
    let all: Vec<_> = ids.iter().map(String::as_str).collect();
    tasks.push(refers("join", &all, "all_done", &text));
    assert!(check_value(&json!({ "tasks": tasks })).is_ok());
}
