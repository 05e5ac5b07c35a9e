//! Snapshots of what is said about how tasks hang together.

use expect_test::expect;
use serde_json::{Value, json};

use super::{
    testing::{check_value, coder},
    tests::{check, check_task, merge},
};

fn with_dependencies(task_id: &str, dependencies: &[&str]) -> Value {
    let mut task = coder(task_id);
    task["dependencies"] = json!(dependencies);
    task
}

#[test]
fn dependencies_lead_to_other_tasks() {
    check(
        &json!({"tasks": [coder("ghost"), with_dependencies("b", &["gost"])]}),
        &expect![[r#"
        unknown_dependency at /tasks/1/dependencies/0: task "b" depends on unknown task "gost"; did you mean "ghost"?
          hint: name a task of this document, or add the task"#]],
    );
    check_task(
        &json!({"dependencies": ["a", 1, "\u{1b}[31m"]}),
        &expect![[r#"
        self_dependency at /tasks/0/dependencies/0: task "a" depends on itself
          hint: remove the task's own id from its dependencies
        invalid_type at /tasks/0/dependencies/1: task "a": item 2 of "dependencies" must be a task id, not a number
          hint: pass a task id
        unknown_dependency at /tasks/0/dependencies/2: task "a" depends on unknown task "\u{1b}[31m"
          hint: name a task of this document, or add the task"#]],
    );
    check_task(
        &json!({"dependencies": "b"}),
        &expect![[r#"
        invalid_type at /tasks/0/dependencies: task "a": "dependencies" must be a list, not a string
          hint: write ["…"] even for a single item"#]],
    );
    check(
        &json!({"tasks": [coder("a"), with_dependencies("b", &["a", "a"])]}),
        &expect![[r#"
        a coder <- []
        b coder <- ["a"]
        warning: task "b" names the dependency "a" twice; it counts once"#]],
    );
}

#[test]
fn cycles_are_named_in_order() {
    check(
        &json!({"tasks": [
            with_dependencies("a", &["b"]), with_dependencies("b", &["c"]),
            with_dependencies("c", &["a"]), coder("ok"),
            with_dependencies("x", &["y"]), with_dependencies("y", &["x"]),
        ]}),
        &expect![[r"
            dependency_cycle at /tasks/0/dependencies: dependency cycle: a -> b -> c -> a
              hint: remove one of these dependencies, so that one of the tasks can start
            dependency_cycle at /tasks/4/dependencies: dependency cycle: x -> y -> x
              hint: remove one of these dependencies, so that one of the tasks can start"]],
    );
}

#[test]
fn faults_of_all_kinds_come_in_document_order() {
    let mut last = coder("c");
    last["description"] = json!("");
    check(
        &json!({
            "config": {"max_workers": 0},
            "tasks": [with_dependencies("a", &["b", "x"]), with_dependencies("b", &["a"]), last],
        }),
        &expect![[r#"
            unknown_dependency at /tasks/0/dependencies/1: task "a" depends on unknown task "x"
              hint: name a task of this document, or add the task
            dependency_cycle at /tasks/0/dependencies: dependency cycle: a -> b -> a
              hint: remove one of these dependencies, so that one of the tasks can start
            empty_value at /tasks/2/description: task "c": "description" must not be empty
              hint: say what is meant
            out_of_range at /config/max_workers: "max_workers" must be from 1 to 1024, not 0
              hint: pass a number from 1 to 1024"#]],
    );
}

fn refers(task_id: &str, dependencies: &[&str], text: &str) -> Value {
    let mut task = with_dependencies(task_id, dependencies);
    task["input_data"]["contract_description"] = json!(text);
    task
}

#[test]
fn references_lead_to_tasks_that_end_before() {
    check(
        &json!({"tasks": [
            coder("1.1"), with_dependencies("b", &["1.1"]),
            refers("c", &["b"], "see ${tasks.1.1.output.path} and ${tasks.b.output}"),
        ]}),
        &expect![[r#"
            1.1 coder <- []
            b coder <- ["1.1"]
            c coder <- ["b"]"#]],
    );
    check(
        &json!({"tasks": [
            coder("a"), coder("b"),
            refers("c", &["b"], "${tasks.a.output}"),
            refers("d", &[], "${tasks.d.output}"),
            refers("e", &["a"], "${tasks.aa.output} ${tasks.a.outptu} ${tasks.a.output"),
        ]}),
        &expect![[r#"
            invalid_reference at /tasks/2/input_data/contract_description: task "c" refers to the output of "a", which it does not depend on
              hint: add "a" to the task's dependencies
            invalid_reference at /tasks/3/input_data/contract_description: task "d" refers to its own output
              hint: refer to a task that ends before this one starts
            invalid_reference at /tasks/4/input_data/contract_description: task "e": "${tasks.aa.output}" refers to unknown task "aa"; did you mean "a"?
              hint: write ${tasks.ID.output.path.to.value}, or $${tasks… for the text itself
            invalid_reference at /tasks/4/input_data/contract_description: task "e": "${tasks.a.outptu}" is not a valid reference
              hint: write ${tasks.ID.output.path.to.value}, or $${tasks… for the text itself
            invalid_reference at /tasks/4/input_data/contract_description: task "e": "${tasks.a.output" is not a valid reference
              hint: write ${tasks.ID.output.path.to.value}, or $${tasks… for the text itself"#]],
    );
}

#[test]
fn a_reference_that_leads_nowhere_is_named_where_it_stands() {
    let mut task = refers("c", &["b"], "like $${tasks.a.output}, see ${tasks.b.output}");
    task["input_data"]["pre_gathered_context"] =
        json!({"x": ["plain", "${tasks.a.output}"], "y": "${tasks.a.output}"});
    task["description"] = json!("");
    check(
        &json!({"tasks": [coder("a"), coder("b"), task]}),
        &expect![[r#"
        empty_value at /tasks/2/description: task "c": "description" must not be empty
          hint: say what is meant
        invalid_reference at /tasks/2/input_data/pre_gathered_context/x/1: task "c" refers to the output of "a", which it does not depend on
          hint: add "a" to the task's dependencies"#]],
    );
}

#[test]
fn a_value_with_a_reference_is_checked_when_it_is_known() {
    let mut task = with_dependencies("b", &["a"]);
    merge(
        &mut task,
        &json!({"input_data": {"output_path": "${tasks.a.output.path}", "node_type":
            "${tasks.a.output.kind}", "context_files": "${tasks.a.output.files}"}}),
    );
    check(
        &json!({"tasks": [coder("a"), task]}),
        &expect![[r#"
        a coder <- []
        b coder <- ["a"]"#]],
    );
}

#[test]
fn two_writers_of_one_file_are_warned_of_unless_one_waits() {
    let writes = |task_id: &str, dependencies: &[&str]| {
        let mut task = with_dependencies(task_id, dependencies);
        task["input_data"]["output_path"] = json!("/w/same.py");
        task
    };
    check(
        &json!({"tasks": [writes("a", &[]), writes("b", &[])]}),
        &expect![[r#"
        a coder <- []
        b coder <- []
        warning: tasks "a" and "b" both write "/w/same.py" and neither waits for the other: one runs after the other, in an order that nothing says"#]],
    );
    check(
        &json!({"tasks": [writes("c", &["b"]), writes("a", &[]), with_dependencies("b", &["a"])]}),
        &expect![[r#"
            c coder <- ["b"]
            a coder <- []
            b coder <- ["a"]"#]],
    );
    check(
        &json!({"tasks": [writes("b", &["a", "c"]), writes("a", &[]), writes("c", &[])]}),
        &expect![[r#"
            b coder <- ["a", "c"]
            a coder <- []
            c coder <- []
            warning: tasks "a" and "c" both write "/w/same.py" and neither waits for the other: one runs after the other, in an order that nothing says"#]],
    );
}

#[test]
fn what_takes_longer_goes_first_and_a_minute_is_assumed() {
    let takes = |task_id: &str, seconds: u32| {
        let mut task = coder(task_id);
        task["estimate_seconds"] = json!(seconds);
        task
    };
    let tasks = [takes("a", 59), coder("b"), takes("c", 61)];
    let graph = check_value(&json!({ "tasks": tasks })).unwrap().graph;
    let order = (0..3).map(|it| graph.task_of_priority(it).as_usize());
    assert_eq!(order.collect::<Vec<_>>(), [2, 1, 0]);
}
