//! What the service promises of tasks that are tried again, with time that jumps.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use serde_json::{Value, json};

use super::testing::{Flaky, Registry, World, document, task};
use crate::model::{
    CancelRequest, DispatchResult, DispatchStatus, FailureCode, ReadTraceRequest, TaskResult,
    TaskStatus, TraceEvent, TraceKind,
};

/// A document whose tasks all have these fields.
fn with(text: &str, fields: &Value) -> Value {
    let mut document = document(text);
    for task in document["tasks"].as_array_mut().unwrap() {
        for (name, value) in fields.as_object().unwrap() {
            task[name] = value.clone();
        }
    }
    document
}

async fn events(world: &World, result: &DispatchResult, kind: TraceKind) -> Vec<TraceEvent> {
    let request = ReadTraceRequest {
        dispatch_id: Some(result.dispatch_id),
        kinds: Some(vec![kind]),
        ..ReadTraceRequest::default()
    };
    world.handle.read_trace(request).await.unwrap().events
}

fn failure_of(result: &TaskResult) -> (FailureCode, &str) {
    (result.failure.as_ref().unwrap().code, result.error.as_deref().unwrap())
}

/// How long a dispatch took.
fn span(result: &DispatchResult) -> u64 {
    result.summary.total_time_ms
}

#[tokio::test(start_paused = true)]
async fn a_task_is_tried_again_after_a_wait_and_the_trace_says_when() {
    let world = World::new().await;
    let retry = json!({"retry": {"backoff_ms": 10_000, "max_backoff_ms": 10_000}});
    let result = world.run(&with("a !flaky 2\nb <- a", &retry)).await;
    assert_eq!(result.status, DispatchStatus::Success);
    assert_eq!((task(&result, "a").attempts, task(&result, "b").attempts), (3, 1));
    assert_eq!(task(&result, "a").failure, None);
    assert!((10_000..=20_100).contains(&span(&result)), "{}", span(&result));

    let ends = events(&world, &result, TraceKind::AttemptEnded).await;
    assert_eq!(ends[0].data["error"], "no luck in attempt 1");
    assert!(ends[0].data["retry_at"].is_string() && ends[1].data["retry_at"].is_string());
    assert!(!ends[2].data.contains_key("retry_at"));
    assert_eq!(events(&world, &result, TraceKind::RetryDue).await.len(), 2);
    let written = world.files.written.lock();
    let file = &written[task(&result, "a").trace_file.as_ref().unwrap()];
    let file: Value = serde_json::from_str(file).unwrap();
    assert_eq!(file["attempts"].as_array().unwrap().len(), 3);
    assert_eq!(file["attempts"][1]["error"]["message"], "no luck in attempt 2");
    assert_eq!(file["attempts"][0]["retry_at"], ends[0].data["retry_at"]);
    assert_eq!(file["attempts"][2]["outcome"], "success");
}

#[tokio::test(start_paused = true)]
async fn without_retry_there_is_one_attempt() {
    let world = World::new().await;
    let result = world.run(&document("a !flaky 1")).await;
    assert_eq!(task(&result, "a").attempts, 1);
    assert_eq!(task(&result, "a").failure.as_ref().unwrap().first_error, None);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_fails_for_good_names_its_first_error_too() {
    let world = World::new().await;
    let retry = json!({"retry": {"max_attempts": 2, "backoff_ms": 0}});
    let result = world.run(&with("a !flaky 9\nb <- a", &retry)).await;
    assert_eq!(result.status, DispatchStatus::Failure);
    let it = task(&result, "a");
    assert_eq!((it.attempts, it.error.as_deref()), (2, Some("no luck in attempt 2")));
    let first = it.failure.as_ref().unwrap().first_error.as_ref().unwrap();
    assert_eq!((first.message.as_str(), first.attempt.0), ("no luck in attempt 1", 1));
    assert_eq!(task(&result, "b").status, TaskStatus::Skipped);
    let written = world.files.written.lock();
    let file: Value = serde_json::from_str(&written[it.trace_file.as_ref().unwrap()]).unwrap();
    assert_eq!(file["failure"]["first_error"]["message"], "no luck in attempt 1");
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_wants_to_be_left_alone_is_and_it_does_not_count() {
    let world = World::new().await;
    let result = world.run(&document("a !later 90000")).await;
    assert_eq!(result.status, DispatchStatus::Success);
    assert_eq!(task(&result, "a").attempts, 2);
    assert!((90_000..=90_600).contains(&span(&result)), "{}", span(&result));
    let ends = events(&world, &result, TraceKind::AttemptEnded).await;
    assert_eq!(ends[0].data["retry_after_ms"], 90_000);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_waits_shows_its_error_and_can_be_cancelled() {
    let world = World::new().await;
    let retry = json!({"retry": {"backoff_ms": 3_600_000, "max_backoff_ms": 3_600_000}});
    let id = world.dispatch(&with("a !flaky 1\nb <- a", &retry)).await.unwrap();
    assert!(!world.handle.wait(id, Duration::from_mins(1)).await.unwrap());
    let result = world.handle.result(id).await.unwrap();
    let it = task(&result, "a");
    assert_eq!(
        (it.status, it.error.as_deref()),
        (TaskStatus::Pending, Some("no luck in attempt 1"))
    );
    let request = CancelRequest { dispatch_id: id, task_ids: None, reason: None };
    world.handle.cancel(request).await.unwrap();
    let result = world.finish(id).await;
    assert_eq!(result.status, DispatchStatus::Cancelled);
    let written = world.files.written.lock();
    let file = &written[task(&result, "a").trace_file.as_ref().unwrap()];
    let file: Value = serde_json::from_str(file).unwrap();
    assert_eq!(file["attempts"][0]["outcome"], "error");
    assert_eq!(file["failure"]["first_error"]["code"], "upstream_unavailable");
}

#[tokio::test(start_paused = true)]
async fn a_wait_goes_on_in_the_next_process() {
    let (store, registry) = (Arc::new(Flaky::default()), Arc::new(Registry::default()));
    let world = World::on(Arc::clone(&store), Arc::clone(&registry), 8).await;
    let retry = json!({"retry": {"backoff_ms": 60_000, "max_backoff_ms": 60_000}});
    let id = world.dispatch(&with("a !flaky 1\nb <- a", &retry)).await.unwrap();
    assert!(!world.handle.wait(id, Duration::from_secs(1)).await.unwrap());
    world.kill().await;
    let world = World::on(store, registry, 8).await;
    assert!(world.agents.started.lock().is_empty());
    let result = world.finish(id).await;
    assert_eq!(*world.agents.started.lock(), ["a#2", "b#1"]);
    assert_eq!(result.status, DispatchStatus::Success);
    assert_eq!((result.summary.successful, result.summary.failed), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn an_agent_without_progress_is_stopped_and_one_with_it_is_not() {
    let world = World::new().await;
    let result = world.run(&with("a !hang\nb !beat 30", &json!({"idle_timeout_seconds": 2}))).await;
    let (code, message) = failure_of(task(&result, "a"));
    assert_eq!(code, FailureCode::Timeout);
    assert!(message.contains("idle_timeout_seconds"), "{message}");
    assert!(task(&result, "a").execution_time_ms.unwrap().abs_diff(2_000) < 50);
    assert_eq!(task(&result, "b").status, TaskStatus::Success);
}

#[tokio::test(start_paused = true)]
async fn the_total_time_is_over_all_attempts() {
    let world = World::new().await;
    let limits = json!({"total_timeout_seconds": 25, "timeout_seconds": 10,
        "retry": {"max_attempts": 9, "backoff_ms": 0}});
    let result = world.run(&with("a !hang", &limits)).await;
    let (code, message) = failure_of(task(&result, "a"));
    assert_eq!((code, task(&result, "a").attempts), (FailureCode::Timeout, 3));
    assert!(message.contains("total_timeout_seconds"), "{message}");
    assert!(span(&result).abs_diff(25_000) < 50, "{}", span(&result));
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_forward_ends_waits_and_attempts_once() {
    let world = World::new().await;
    let retry = json!({"retry": {"backoff_ms": 600_000, "max_backoff_ms": 600_000}});
    let id = world.dispatch(&with("a !flaky 1\nb !hang", &retry)).await.unwrap();
    world.agents.wait_for_start("b#1").await;
    assert!(!world.handle.wait(id, Duration::from_secs(1)).await.unwrap());
    world.clock_jump.store(3_600_000, Ordering::SeqCst);
    assert!(!world.handle.wait(id, Duration::from_secs(2)).await.unwrap());
    let result = world.handle.result(id).await.unwrap();
    assert_eq!((task(&result, "a").status, task(&result, "a").attempts), (TaskStatus::Success, 2));
    let b = task(&result, "b");
    assert_eq!(
        (b.status, b.attempts, failure_of(b).0),
        (TaskStatus::Pending, 1, FailureCode::Timeout)
    );
    assert_eq!(*world.agents.started.lock(), ["a#1", "b#1", "a#2"]);
    let request = CancelRequest { dispatch_id: id, task_ids: None, reason: None };
    world.handle.cancel(request).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_retried_dispatch_keeps_what_was_said_of_retries() {
    let world = World::new().await;
    let limits = json!({"idle_timeout_seconds": 5, "retry": {"max_attempts": 2, "backoff_ms": 0}});
    let result = world.run(&with("a !flaky 3", &limits)).await;
    assert_eq!(task(&result, "a").attempts, 2);
    let args = json!({"dispatch_id": result.dispatch_id,
        "overrides": {"a": {"retry": {"max_attempts": 4, "backoff_ms": 0}}}});
    let json = crate::model::json::Json::from_value(&args).unwrap();
    let call = crate::plan::check_retry(&json).unwrap();
    let id = world.handle.retry(call, None).await.unwrap().dispatch;
    let result = world.finish(id).await;
    assert_eq!((result.status, task(&result, "a").attempts), (DispatchStatus::Success, 4));
}
