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
    check(&[task("b", &bad)], &expect![[r""]]);
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
    check(&[with(json!("see ${tasks.a.output}"))], &expect![[r""]]);
    check(&[with(json!({})), task("c", &json!({ "for_each": {} }))], &expect![[r""]]);
    let long: Vec<_> = (0..1_001).collect();
    check(&[with(json!(long))], &expect![[r""]]);
    let other =
        json!({ "items": [], "max_parallel": 0, "max_items": 10_001, "join": "any", "x": 1 });
    check(&[task("b", &json!({ "for_each": other }))], &expect![[r""]]);
}

#[test]
fn a_loop_has_an_end() {
    let with = |it: Value| task("b", &json!({ "loop": it }));
    check(
        &[with(json!({ "until": "tasks.b.output.ok", "max_iterations": 3 }))],
        &expect![[r#"
        {"task_id":"b","agent":"debug","description":"d","input_data":{"problem_description":"p"},"dependencies":[],"loop":{"until":"tasks.b.output.ok","max_iterations":3}}"#]],
    );
    check(&[with(json!({ "until": "tasks.b.output.ok" }))], &expect![[r""]]);
    check(&[with(json!({ "until": "1 +", "max_iterations": 0 }))], &expect![[r""]]);
    check(&[with(json!({ "until": "tasks.c.output", "max_iterations": 101 }))], &expect![[r""]]);
    let both = json!({ "for_each": { "items": [] },
        "loop": { "until": "true", "max_iterations": 1 } });
    check(&[task("b", &both)], &expect![[r""]]);
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
    check(&[task("b", &for_each), task("b.0", &json!({}))], &expect![[r""]]);
    let fine = [task("b", &for_each), task("b.x", &json!({})), task("c.0", &json!({}))];
    assert!(check_value(&json!({ "tasks": fine })).is_ok());
}
