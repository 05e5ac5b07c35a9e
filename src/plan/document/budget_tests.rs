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
        &expect![[r#""#]],
    );
    check_faults(
        &json!({ "tokens": 1.5, "cost_usd": "1", "wall_seconds": 1e300, "tasks": 1e9 }),
        &expect![[r#""#]],
    );
    check_faults(&json!({ "cost_usd": 1e-9 }), &expect![[r#""#]]);
    check_faults(&json!({ "on_exceeded": "pause" }), &expect![[r#""#]]);
    check_faults(&json!(5), &expect![[r#""#]]);
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
    expect![[r#""#]].assert_eq(&show_faults(&with(json!(-1), json!(-0.5)).unwrap_err()));
}
