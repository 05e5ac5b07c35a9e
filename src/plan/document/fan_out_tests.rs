//! What `for_each` and `loop` may say.

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::testing::{check_value, show_faults};

fn task(id: &str, additions: &Value) -> Value {
    let mut task = json!({
        "task_id": id, "agent": "debug", "description": "d",
        "input_data": { "problem_description": "p" },
    });
    for (key, value) in additions.as_object().unwrap() {
        task[key] = value.clone();
    }
    task
}

#[track_caller]
fn check(tasks: &[Value], expected: &Expect) {
    let shown = match check_value(&json!({ "tasks": tasks })) {
        Ok(checked) => json!(checked.tasks.last()).to_string(),
        Err(refusal) => show_faults(&refusal),
    };
    expected.assert_eq(&shown);
}

#[test]
fn a_pattern_is_checked_as_far_as_it_is_known() {
    let input = json!({ "problem_description": "${item.why}", "affected_files": ["${item.path}"],
        "analysis_depth": "${item.depth}" });
    let for_each = json!({ "items": "${tasks.a.output.list}", "max_parallel": 2 });
    let good = json!({ "for_each": for_each, "input_data": input, "dependencies": ["a"] });
    check(
        &[task("a", &json!({})), task("b", &good)],
        &expect![[r#"
        {"task_id":"b","agent":"debug","description":"d","input_data":{"problem_description":"${item.why}","affected_files":["${item.path}"],"analysis_depth":"${item.depth}"},"dependencies":["a"],"for_each":{"items":"${tasks.a.output.list}","max_parallel":2,"join":"all_success"}}"#]],
    );
    let input = json!({ "problem_description": 7, "affected_files": ["a"], "none": "${item}" });
    let bad = json!({ "for_each": { "items": [] }, "input_data": input });
    check(
        &[task("b", &bad)],
        &expect![[r#"
        unknown_field at /tasks/0/input_data/none: task "b": unknown field "none"
          hint: a debug agent's input_data takes problem_description, affected_files, error_traces, analysis_depth, hypothesis, pre_gathered_context
        invalid_type at /tasks/0/input_data/problem_description: task "b": "problem_description" must be a string, not a number
          hint: pass a string
        path_not_absolute at /tasks/0/input_data/affected_files/0: task "b": item 1 of "affected_files" must be an absolute path, not "a"
          hint: begin with a workspace, as in /w/…; variables are not expanded"#]],
    );
}

#[test]
fn items_are_a_list_or_one_reference_to_an_ancestor() {
    let with = |items: Value| task("b", &json!({ "for_each": { "items": items } }));
    check(
        &[task("a", &json!({})), with(json!("${tasks.a.output}"))],
        &expect![[r#"
        invalid_reference at /tasks/1: task "b" refers to the output of "a", which it does not depend on
          hint: add "a" to the task's dependencies"#]],
    );
    check(
        &[with(json!("see ${tasks.a.output}"))],
        &expect![[r#"
        invalid_reference at /tasks/0/for_each/items: task "b": "items" must be a list, or a reference and nothing else
          hint: write ${tasks.ID.output.path.to.list}"#]],
    );
    check(
        &[with(json!({})), task("c", &json!({ "for_each": {} }))],
        &expect![[r#"
        invalid_type at /tasks/0/for_each/items: task "b": "items" must be a list, not an object
          hint: pass a list
        missing_field at /tasks/1/for_each/items: task "c": "items" is missing
          hint: give a list, or a reference to one"#]],
    );
    let long: Vec<_> = (0..1_001).collect();
    check(
        &[with(json!(long))],
        &expect![[r#"
        limit_exceeded at /tasks/0/for_each/items: task "b": "items" holds 1001 items; at most 1000 are allowed
          hint: raise max_items, or split the list"#]],
    );
    let other =
        json!({ "items": [], "max_parallel": 0, "max_items": 10_001, "join": "any", "x": 1 });
    check(
        &[task("b", &json!({ "for_each": other }))],
        &expect![[r#"
        unknown_field at /tasks/0/for_each/x: task "b": unknown field "x"
          hint: for_each takes items, max_parallel, max_items, join
        out_of_range at /tasks/0/for_each/max_items: task "b": "max_items" must be from 1 to 10000, not 10001
          hint: pass a number from 1 to 10000
        out_of_range at /tasks/0/for_each/max_parallel: task "b": "max_parallel" must be from 1 to 1024, not 0
          hint: pass a number from 1 to 1024
        invalid_enum at /tasks/0/for_each/join: task "b": "join" must be "all_success" or "all_done", not "any"
          hint: choose "all_success" or "all_done""#]],
    );
}

#[test]
fn a_loop_has_an_end() {
    let with = |it: Value| task("b", &json!({ "loop": it }));
    check(
        &[with(json!({ "until": "tasks.b.output.ok", "max_iterations": 3 }))],
        &expect![[r#"
        {"task_id":"b","agent":"debug","description":"d","input_data":{"problem_description":"p"},"dependencies":[],"loop":{"until":"tasks.b.output.ok","max_iterations":3}}"#]],
    );
    check(
        &[with(json!({ "until": "tasks.b.output.ok" }))],
        &expect![[r#"
        missing_field at /tasks/0/loop/max_iterations: task "b": "max_iterations" is missing
          hint: say how often it may be done at most: 1 to 100"#]],
    );
    check(
        &[with(json!({ "until": "1 +", "max_iterations": 0 }))],
        &expect![[r#"
        invalid_expression at /tasks/0/loop/until: task "b": "until" does not parse at column 4: mismatched input '<EOF>' expecting expression
          hint: write an expression as tasks.ID.output.score >= 0.8 && tasks.ID.status == "success"
        out_of_range at /tasks/0/loop/max_iterations: task "b": "max_iterations" must be from 1 to 100, not 0
          hint: pass a number from 1 to 100"#]],
    );
    check(
        &[with(json!({ "until": "tasks.c.output", "max_iterations": 101 }))],
        &expect![[r#"
        invalid_reference at /tasks/0/loop/until: task "b": "until" refers to unknown task "c"
          hint: name a task that this one depends on, as tasks.ID or tasks["ID"]
        out_of_range at /tasks/0/loop/max_iterations: task "b": "max_iterations" must be from 1 to 100, not 101
          hint: pass a number from 1 to 100"#]],
    );
    let both = json!({ "for_each": { "items": [] },
        "loop": { "until": "true", "max_iterations": 1 } });
    check(
        &[task("b", &both)],
        &expect![[r#"
        duplicate_field at /tasks/0/loop: task "b": "loop" excludes "for_each"
          hint: let the tasks of for_each be followed by another task with loop"#]],
    );
}

#[test]
fn ids_leave_room_for_the_numbers_of_parts() {
    let for_each = json!({ "for_each": { "items": [1] } });
    check(
        &[task(&"x".repeat(123), &for_each)],
        &expect![[r#"
        too_long at /tasks/0/for_each: task "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…": "for_each" needs a task id of at most 122 characters, not "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…"
          hint: the tasks are called ID.0, ID.1 and so on"#]],
    );
    check(
        &[task("b", &for_each), task("b.0", &json!({}))],
        &expect![[r#"
        duplicate_task_id at /tasks/1/task_id: task id "b.0" is that of a part of "b"
          hint: give it another id: those of the parts end in a dot and a number"#]],
    );
    let fine = [task("b", &for_each), task("b.x", &json!({})), task("c.0", &json!({}))];
    assert!(check_value(&json!({ "tasks": fine })).is_ok());
}
