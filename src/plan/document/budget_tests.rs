//! What documents may say of budgets.

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::testing::{check_value, coder, show_faults};
use crate::model::{BudgetSpec, OnExceeded};

#[track_caller]
fn check_faults(budget: &Value, expected: &Expect) {
    let document = json!({ "tasks": [coder("a")], "config": { "budget": budget } });
    expected.assert_eq(&show_faults(&check_value(&document).unwrap_err()));
}

#[test]
fn a_budget_is_read_as_it_is_written() {
    let budget = json!({ "tokens": 5, "cost_usd": 0.5, "wall_seconds": 1.5, "tasks": 2,
                         "on_exceeded": "pause" });
    let document = json!({ "tasks": [coder("a")], "config": { "budget": budget } });
    let expected = BudgetSpec {
        tokens: Some(5),
        cost_usd: Some(0.5),
        wall_seconds: Some(1.5),
        tasks: Some(2),
        on_exceeded: Some(OnExceeded::Pause),
    };
    assert_eq!(check_value(&document).unwrap().config.budget, Some(expected));
}

#[test]
fn every_faulty_limit_is_named() {
    check_faults(
        &json!({ "tokens": -5, "cost_usd": 0, "wall_seconds": -0.5, "tasks": 0,
                 "on_exceeded": "stop", "money": 1 }),
        &expect![[r#"
            unknown_field at /config/budget/money: "budget": unknown field "money"
              hint: budget takes tokens, cost_usd, wall_seconds, tasks, on_exceeded
            out_of_range at /config/budget/tokens: "tokens" must be from 1 to 1000000000000, not -5
              hint: pass a number from 1 to 1000000000000
            out_of_range at /config/budget/cost_usd: "cost_usd" must be from 0.000001 to 1000000, not 0
              hint: pass a number from 0.000001 to 1000000
            out_of_range at /config/budget/wall_seconds: "wall_seconds" must be above 0 and at most 2592000, not -0.5
              hint: pass a number above 0 and at most 2592000
            out_of_range at /config/budget/tasks: "tasks" must be from 1 to 1000000, not 0
              hint: pass a number from 1 to 1000000
            invalid_enum at /config/budget/on_exceeded: "on_exceeded" must be "pause", "hand_back" or "fail", not "stop"
              hint: choose "pause", "hand_back" or "fail""#]],
    );
    check_faults(
        &json!({ "tokens": 1.5, "cost_usd": "1", "wall_seconds": 1e300, "tasks": 1e9 }),
        &expect![[r#"
            invalid_type at /config/budget/tokens: "tokens" must be a whole number, not 1.5
              hint: pass a whole number
            invalid_type at /config/budget/cost_usd: "cost_usd" must be a number of dollars, not a string
              hint: write the number without quotes
            out_of_range at /config/budget/wall_seconds: "wall_seconds" must be above 0 and at most 2592000, not 1e+300
              hint: pass a number above 0 and at most 2592000
            out_of_range at /config/budget/tasks: "tasks" must be from 1 to 1000000, not 1000000000.0
              hint: pass a number from 1 to 1000000"#]],
    );
    check_faults(
        &json!({ "cost_usd": 1e-9 }),
        &expect![[r#"
        out_of_range at /config/budget/cost_usd: "cost_usd" must be from 0.000001 to 1000000, not 1e-9
          hint: pass a number from 0.000001 to 1000000"#]],
    );
    check_faults(
        &json!({ "on_exceeded": "pause" }),
        &expect![[r#"
        empty_value at /config/budget: "budget" must limit something
          hint: name tokens, cost_usd, wall_seconds or tasks, or leave it out"#]],
    );
    check_faults(
        &json!(5),
        &expect![[r#"
        invalid_type at /config/budget: "budget" must be an object, not a number
          hint: pass an object"#]],
    );
}

#[test]
fn estimates_of_a_task_are_amounts_from_zero_on() {
    let with = |tokens: Value, cost: Value| {
        let mut task = coder("a");
        task["estimate_tokens"] = tokens;
        task["estimate_cost_usd"] = cost;
        check_value(&json!({ "tasks": [task] }))
    };
    let task = &with(json!(7), json!(0)).unwrap().tasks[0];
    assert_eq!((task.estimate_tokens, task.estimate_cost_usd), (Some(7), Some(0.0)));
    expect![[r#"
        out_of_range at /tasks/0/estimate_tokens: task "a": "estimate_tokens" must be from 0 to 1000000000000, not -1
          hint: pass a number from 0 to 1000000000000
        out_of_range at /tasks/0/estimate_cost_usd: task "a": "estimate_cost_usd" must be from 0 to 1000000, not -0.5
          hint: pass a number from 0 to 1000000"#]].assert_eq(&show_faults(&with(json!(-1), json!(-0.5)).unwrap_err()));
}

#[test]
fn a_plan_adds_up_the_estimates_and_warns_where_they_pass_the_budget() {
    let mut one = coder("a");
    one["estimate_tokens"] = json!(700);
    one["estimate_cost_usd"] = json!(0.25);
    one["retry"] = json!({ "max_attempts": 2 });
    let mut other = coder("b");
    other["estimate_tokens"] = json!(500);
    other["input_data"]["output_path"] = json!("/w/other.py");
    let budget = json!({ "tokens": 1_000, "cost_usd": 1 });
    let tasks = json!([one, other, coder("c")]);
    let mut document = json!({ "tasks": tasks, "config": { "budget": budget } });
    document["tasks"][2]["input_data"]["output_path"] = json!("/w/third.py");
    let checked = check_value(&document).unwrap();
    let id = crate::model::PlanId::new(uuid::Uuid::nil());
    let expected = vec![crate::plan::Estimate::given(crate::model::Millis(1)); 3];
    let report = crate::plan::report(id, checked, &expected, 2);
    let cost = serde_json::to_value(&report.cost).unwrap();
    assert_eq!(cost["tokens"], json!({ "low": 1200.0, "likely": 1200.0, "high": 1900.0 }));
    assert_eq!(cost["cost_usd"], json!({ "low": 0.25, "likely": 0.25, "high": 0.5 }));
    assert_eq!(
        (&cost["tasks_without_tokens"], &cost["tasks_without_cost"]),
        (&json!(1), &json!(2))
    );
    assert!(report.warnings.iter().any(|it| it.contains("1200 tokens")), "{:?}", report.warnings);
}

#[test]
fn a_plan_counts_a_list_of_the_document_by_its_items() {
    let mut task = coder("a");
    task["estimate_tokens"] = json!(100);
    task["retry"] = json!({ "max_attempts": 2 });
    task["for_each"] = json!({ "items": ["x", "y", "z"] });
    let checked = check_value(&json!({ "tasks": [task] })).unwrap();
    let id = crate::model::PlanId::new(uuid::Uuid::nil());
    let expected = vec![crate::plan::Estimate::given(crate::model::Millis(1))];
    let report = crate::plan::report(id, checked, &expected, 2);
    let cost = serde_json::to_value(&report.cost).unwrap();
    assert_eq!(cost["tokens"], json!({ "low": 300.0, "likely": 300.0, "high": 600.0 }));
}
