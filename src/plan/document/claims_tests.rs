//! What documents may claim, and what of it overlaps.

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::testing::{check_value, coder, show_faults};
use crate::{
    model::Millis,
    plan::{Estimate, report},
};

/// A document of one task with these additions, and of `config`.
fn one(additions: &Value, config: &Value) -> Value {
    let mut task = coder("a");
    for (key, value) in additions.as_object().unwrap() {
        task[key] = value.clone();
    }
    json!({ "tasks": [task], "config": config })
}

#[track_caller]
fn check_faults(additions: &Value, config: &Value, expected: &Expect) {
    let refusal = check_value(&one(additions, config)).unwrap_err();
    expected.assert_eq(&show_faults(&refusal));
}

/// The conflicts of tasks that take a minute each, where all could run at once.
#[track_caller]
fn check_conflicts(tasks: &[Value], config: &Value, expected: &Expect) {
    let checked = check_value(&json!({ "tasks": tasks, "config": config })).unwrap();
    let expected_times = vec![Estimate::given(Millis(60_000)); tasks.len()];
    let id = crate::model::PlanId::new(uuid::Uuid::nil());
    let report = report(id, checked, &expected_times, 10).claims;
    let Some(report) = report else { return expected.assert_eq("none") };
    let mut lines: Vec<_> = report
        .conflicts
        .iter()
        .map(|it| {
            let tasks: Vec<_> = it.task_ids.iter().map(crate::model::TaskId::as_str).collect();
            format!("{} ({}): {}", it.claim, it.capacity, tasks.join(" "))
        })
        .collect();
    lines.push(format!("{} cost {} s", report.n_conflicts, report.makespan_cost_seconds));
    expected.assert_eq(&lines.join("\n"));
}

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

#[test]
fn what_cannot_be_claimed_is_refused() {
    check_faults(
        &json!({ "writes": ["/etc/passwd", "../x", "", 7, "a/b**", "{a,b}"] }),
        &json!({}),
        &expect![[r#"
            path_not_allowed at /tasks/0/writes/0: task "a": item 1 of "writes" leads outside every workspace: "/etc/passwd"
              hint: allowed is what is below /w
            path_not_allowed at /tasks/0/writes/1: task "a": item 2 of "writes" must not contain "..": "/w/../x"
              hint: write the path that it comes to, without ".."
            empty_value at /tasks/0/writes/2: task "a": item 3 of "writes" must not be empty
              hint: say what is meant
            invalid_type at /tasks/0/writes/3: task "a": item 4 of "writes" must be a string, not a number
              hint: pass a string
            invalid_claim at /tasks/0/writes/4: task "a": item 5 of "writes" has ** beside other signs: "a/b**"
              hint: write ** between slashes: src/**/*.rs
            invalid_claim at /tasks/0/writes/5: task "a": item 6 of "writes" has signs that are no glob here: "{a,b}"
              hint: use *, ? and **; write several globs for others"#]],
    );
    check_faults(
        &json!({ "resources": { "gpu": 0, "a b": 1, "db": 3, "net": 2 } }),
        &json!({ "resources": { "net": 2, "db": -1 } }),
        &expect![[r#"
            out_of_range at /tasks/0/resources/gpu: task "a": "gpu" must be from 1 to 1000000, not 0
              hint: pass a number from 1 to 1000000
            invalid_claim at /tasks/0/resources/a b: task "a": "a b" is no name for a resource
              hint: use 1 to 128 letters, digits, dots, dashes and underscores
            out_of_range at /tasks/0/resources/db: task "a": "db" asks for 3, and there is 1
              hint: say how much there is in config.resources, which is 1 unless said
            out_of_range at /config/resources/db: "db" must be from 1 to 1000000, not -1
              hint: pass a number from 1 to 1000000"#]],
    );
    check_faults(
        &json!({ "resources": { "db": 3, "net": 2 } }),
        &json!({ "resources": { "net": 1 } }),
        &expect![[r#"
            out_of_range at /tasks/0/resources/db: task "a": "db" asks for 3, and there is 1
              hint: say how much there is in config.resources, which is 1 unless said
            out_of_range at /tasks/0/resources/net: task "a": "net" asks for 2, and there is 1
              hint: say how much there is in config.resources, which is 1 unless said"#]],
    );
    let many: Vec<_> = (0..101).map(|it| format!("f{it}")).collect();
    check_faults(
        &json!({ "writes": many }),
        &json!({}),
        &expect![[r#"
        limit_exceeded at /tasks/0/writes: task "a": "writes" has 101 globs; at most 100 are allowed
          hint: claim whole folders: src/**"#]],
    );
}

#[test]
fn globs_come_out_absolute_and_once() {
    let writes = json!({ "writes": ["src/**", "./src/**", "/w/src/**"] });
    let checked = check_value(&one(&writes, &json!({}))).unwrap();
    assert_eq!(checked.tasks[0].writes.as_deref().unwrap(), ["/w/src/**"]);
}

#[test]
fn a_plan_says_what_keeps_tasks_apart_and_what_it_costs() {
    check_conflicts(
        &[
            task("a", &json!({ "writes": ["src/**"] })),
            task("b", &json!({ "writes": ["src/*.rs", "docs/b.md"] })),
            task("c", &json!({ "writes": ["docs/*"] })),
            task("d", &json!({ "writes": ["docs/b.md"], "dependencies": ["c"] })),
            task("e", &json!({ "writes": ["other/e"] })),
        ],
        &json!({}),
        &expect![[r"
            /w/docs/b.md (1): b d
            /w/docs/* and /w/docs/b.md (1): b c d
            /w/src/** and /w/src/*.rs (1): a b
            3 cost 60 s"]],
    );
}

#[test]
fn an_output_path_is_claimed_by_itself() {
    let mut other = coder("b");
    other["input_data"]["output_path"] = json!("/w/a.py");
    let glob = task("c", &json!({ "writes": ["*.py"] }));
    check_conflicts(
        &[coder("a"), other, glob],
        &json!({}),
        &expect![[r"
        /w/a.py (1): a b
        /w/*.py and /w/a.py (1): a b c
        2 cost 120 s"]],
    );
}

#[test]
fn tasks_that_wait_for_each_other_anyway_are_no_conflict() {
    let first = task("a", &json!({ "writes": ["src/**"] }));
    let middle = task("b", &json!({ "dependencies": ["a"] }));
    let last = task("c", &json!({ "writes": ["src/**"], "dependencies": ["b"] }));
    check_conflicts(&[first, middle, last], &json!({}), &expect!["none"]);
}

#[test]
fn resources_are_shared_as_far_as_they_go() {
    let tasks: Vec<_> =
        (0..4).map(|it| task(&format!("t{it}"), &json!({ "resources": { "gpu": 1 } }))).collect();
    check_conflicts(
        &tasks,
        &json!({ "resources": { "gpu": 2 } }),
        &expect![[r"
        gpu (2): t0 t1 t2 t3
        1 cost 60 s"]],
    );
    check_conflicts(&tasks, &json!({ "resources": { "gpu": 4 } }), &expect!["none"]);
}
