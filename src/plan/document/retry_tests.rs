//! Snapshots of what a task may say about being tried again.

use expect_test::expect;
use serde_json::{Value, json};

use super::{
    testing::{check_value, coder},
    tests::{check_task, merge},
};
use crate::model::{FailureCode, RetrySpec};

/// The `retry` of a task as it is read.
fn read(retry: &Value) -> RetrySpec {
    let mut task = coder("a");
    merge(&mut task, &json!({ "retry": retry }));
    let checked = check_value(&json!({ "tasks": [task] })).unwrap();
    *checked.tasks[0].retry.clone().unwrap()
}

#[test]
fn what_is_left_out_has_its_default() {
    assert_eq!(read(&json!({})), RetrySpec::default());
    let spec = read(&json!({"max_attempts": 5, "on": ["timeout", "agent_error", "timeout"]}));
    assert_eq!(spec.max_attempts, 5);
    assert_eq!(spec.on, Some(vec![FailureCode::Timeout, FailureCode::AgentError]));
    assert_eq!(read(&json!({"backoff_ms": 60_000})).max_backoff_ms, 60_000);
    assert_eq!(read(&json!({"max_backoff_ms": 5})).backoff_ms, 5);
    let constant = read(&json!({"backoff_ms": 500, "max_backoff_ms": 500}));
    assert_eq!((constant.backoff_ms, constant.max_backoff_ms), (500, 500));
}

#[test]
fn every_fault_is_named_at_once() {
    check_task(
        &json!({
            "retry": {"max_attempts": 21, "backoff_ms": 500, "max_backoff_ms": 100,
                "on": ["timout", "cancelled", 1], "attempts": 2},
            "total_timeout_seconds": 0, "idle_timeout_seconds": 86_401,
        }),
        &expect![[r#"
            out_of_range at /tasks/0/total_timeout_seconds: task "a": "total_timeout_seconds" must be above 0 and at most 86400, not 0
              hint: pass a number above 0 and at most 86400
            out_of_range at /tasks/0/idle_timeout_seconds: task "a": "idle_timeout_seconds" must be above 0 and at most 86400, not 86401
              hint: pass a number above 0 and at most 86400
            unknown_field at /tasks/0/retry/attempts: task "a": unknown field "attempts"
              hint: retry takes max_attempts, backoff_ms, max_backoff_ms, on
            out_of_range at /tasks/0/retry/max_attempts: task "a": "max_attempts" must be from 1 to 20, not 21
              hint: pass a number from 1 to 20
            out_of_range at /tasks/0/retry/max_backoff_ms: task "a": "max_backoff_ms" must not be below "backoff_ms" (500), is 100
              hint: raise max_backoff_ms or lower backoff_ms
            invalid_enum at /tasks/0/retry/on/0: task "a": item 1 of "on" must be "agent_error", "check_failed", "output_invalid", "timeout", "upstream_unavailable", "upstream_protocol", "circuit_open", "rate_limited", "interrupted" or "context_unavailable", not "timout"; did you mean "timeout"?
              hint: choose "agent_error", "check_failed", "output_invalid", "timeout", "upstream_unavailable", "upstream_protocol", "circuit_open", "rate_limited", "interrupted" or "context_unavailable"
            invalid_enum at /tasks/0/retry/on/1: task "a": item 2 of "on" must be "agent_error", "check_failed", "output_invalid", "timeout", "upstream_unavailable", "upstream_protocol", "circuit_open", "rate_limited", "interrupted" or "context_unavailable", not "cancelled"
              hint: choose "agent_error", "check_failed", "output_invalid", "timeout", "upstream_unavailable", "upstream_protocol", "circuit_open", "rate_limited", "interrupted" or "context_unavailable"
            invalid_type at /tasks/0/retry/on/2: task "a": item 3 of "on" must be a string, not a number
              hint: pass a string"#]],
    );
    check_task(
        &json!({"retry": {"on": [], "max_attempts": 0, "backoff_ms": -1}}),
        &expect![[r#"
        out_of_range at /tasks/0/retry/max_attempts: task "a": "max_attempts" must be from 1 to 20, not 0
          hint: pass a number from 1 to 20
        out_of_range at /tasks/0/retry/backoff_ms: task "a": "backoff_ms" must be from 0 to 3600000, not -1
          hint: pass a number from 0 to 3600000
        empty_value at /tasks/0/retry/on: task "a": "on" must name at least one failure
          hint: leave it out to mean every retryable failure"#]],
    );
    check_task(
        &json!({"retry": 3}),
        &expect![[r#"
        invalid_type at /tasks/0/retry: task "a": "retry" must be an object, not a number
          hint: pass an object"#]],
    );
}
