//! Conditions and trigger rules from the document to the result, over a store in memory.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::testing::{Flaky, Registry, World, document, pass, task};
use crate::model::{
    DispatchResult, DispatchStatus, FailureCode, ReadTraceRequest, TaskId, TaskStatus, TraceKind,
};

/// A document as [`document`] reads it, with fields set at tasks by their names.
pub(super) fn with(text: &str, changes: &[(&str, Value)]) -> Value {
    let mut document = document(text);
    let tasks = document["tasks"].as_array_mut().unwrap();
    for (name, fields) in changes {
        let task = tasks.iter_mut().find(|it| it["task_id"] == *name).unwrap();
        for (field, value) in fields.as_object().unwrap() {
            task[field] = value.clone();
        }
    }
    document
}

fn when(expression: &str) -> Value {
    json!({ "when": expression })
}

/// What `read_trace` says of a task.
async fn trace(world: &World, result: &DispatchResult, name: &str) -> Vec<(TraceKind, Value)> {
    let request = ReadTraceRequest {
        dispatch_id: Some(result.dispatch_id),
        task_id: Some(TaskId::new(name)),
        ..ReadTraceRequest::default()
    };
    let page = world.handle.read_trace(request).await.unwrap();
    page.events.into_iter().map(|it| (it.kind, Value::Object(it.data))).collect()
}

#[tokio::test(start_paused = true)]
async fn a_task_whose_condition_is_false_is_left_out_and_says_why() {
    let world = World::new().await;
    let document = with(
        "check\nship <- check\ndebug <- check\nafter <- debug",
        &[
            ("ship", when("tasks.check.output.input.fate == 'echo'")),
            ("debug", when("tasks.check.output.input.fate == 'poor'")),
        ],
    );
    let result = world.run(&document).await;
    assert_eq!(result.status, DispatchStatus::Success);
    assert_eq!(*world.agents.started.lock(), ["check#1", "ship#1"]);
    let it = task(&result, "debug");
    assert_eq!(it.status, TaskStatus::Skipped);
    let error = it.error.as_deref().unwrap();
    assert_eq!(error, "when: tasks.check.output.input.fate == 'poor' is false");
    assert_eq!(it.failure.as_ref().unwrap().code, FailureCode::ConditionUnmet);
    let after = task(&result, "after");
    assert_eq!(after.failure.as_ref().unwrap().caused_by, Some(TaskId::new("debug")));
    assert_eq!(after.failure.as_ref().unwrap().code, FailureCode::ConditionUnmet);
    assert_eq!((result.summary.successful, result.summary.skipped), (2, 2));
    assert!(!result.next_steps.join("\n").contains("retry_dispatch"), "{:?}", result.next_steps);

    let events = trace(&world, &result, "debug").await;
    assert_eq!(events[0], (TraceKind::GateReached, json!({"gate": "condition"})));
    let reason = json!({"reason": "when: tasks.check.output.input.fate == 'poor' is false"});
    assert_eq!(events[1], (TraceKind::TaskOmitted, reason));
    let events = trace(&world, &result, "ship").await;
    assert_eq!(events[1], (TraceKind::GatePassed, json!({"gate": "condition"})));
}

#[tokio::test(start_paused = true)]
async fn a_join_takes_what_there_is_and_the_default_for_what_there_is_not() {
    let world = World::new().await;
    let mut document = with(
        "check\nship <- check\ndebug <- check\njoin <- ship debug",
        &[
            ("ship", when("tasks.check.status == 'success'")),
            ("debug", when("tasks.check.status != 'success'")),
            ("join", json!({"trigger_rule": "none_failed_min_one_success"})),
        ],
    );
    document["tasks"][3]["input_data"] = json!({
        "fate": "echo",
        "shipped": "${tasks.ship.output.input.fate ?? null}",
        "debugged": "${tasks.debug.output.input.fate ?? {\"none\": true}}",
        "said": "debugged: ${tasks.debug.output.input.fate ?? \"no\"}",
    });
    let result = world.run(&document).await;
    assert_eq!(result.status, DispatchStatus::Success, "{result:?}");
    let input = &task(&result, "join").output["input"];
    assert_eq!(input["shipped"], "echo");
    assert_eq!(input["debugged"], json!({"none": true}));
    assert_eq!(input["said"], "debugged: no");
}

#[tokio::test(start_paused = true)]
async fn a_task_may_run_when_others_failed_and_look_at_how() {
    let world = World::new().await;
    let mend = json!({"trigger_rule": "all_done", "when": "tasks.a.status == 'error' && \
        tasks.a.output == null && input.fate == 'echo' && config.on_failure == 'fail_fast'"});
    let text = "a !fail\nmend <- a\nwell <- a";
    let well = json!({"trigger_rule": "all_done", "when": "tasks.a.status == 'success'"});
    let mut document = with(text, &[("mend", mend), ("well", well)]);
    let result = world.run(&document).await;
    assert_eq!(task(&result, "well").failure.as_ref().unwrap().code, FailureCode::ConditionUnmet);
    // The dispatch's own settings are the condition's.
    assert_eq!(task(&result, "mend").status, TaskStatus::Skipped);
    document["tasks"][1]["when"] = json!("config.on_failure == 'skip_dependents'");
    let result = world.run(&document).await;
    assert_eq!(task(&result, "mend").status, TaskStatus::Success);
    assert_eq!(result.status, DispatchStatus::Partial);
}

#[tokio::test(start_paused = true)]
async fn a_condition_that_cannot_be_evaluated_fails_its_task() {
    let world = World::new().await;
    let document = with(
        "a\nb <- a\nc <- b\nd <- a",
        &[("b", when("tasks.a.output.score > 0.5")), ("d", when("tasks.a.output.input.fate"))],
    );
    let result = world.run(&document).await;
    assert_eq!(result.status, DispatchStatus::Partial);
    let b = task(&result, "b");
    assert_eq!(b.failure.as_ref().unwrap().code, FailureCode::ConditionError);
    assert!(b.error.as_deref().unwrap().contains("there is no \"score\""), "{:?}", b.error);
    assert_eq!(task(&result, "c").failure.as_ref().unwrap().code, FailureCode::DependencyFailed);
    let d = task(&result, "d").error.clone().unwrap();
    assert!(d.contains("it is a string, not true or false"), "{d}");
    assert_eq!(trace(&world, &result, "b").await[1].0, TraceKind::GateFailed);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_cannot_be_read_interrupts_the_task() {
    let mut ends = Vec::new();
    // One of these is the reading of the output; a commit that fails is tried again.
    for at in 0..6 {
        let world = World::new().await;
        let document = with("a !gate\nb <- a", &[("b", when("tasks.a.output != null"))]);
        let id = world.dispatch(&document).await.unwrap();
        world.agents.wait_for_start("a#1").await;
        world.store.faults.fail(at..at + 1);
        world.agents.gate.send_replace(true);
        pass(Duration::from_secs(10)).await;
        let result = world.finish(id).await;
        ends.push(task(&result, "b").failure.as_ref().map(|it| it.code));
    }
    assert!(ends.contains(&Some(FailureCode::Interrupted)), "{ends:?}");
    assert!(ends.contains(&None), "{ends:?}");
}

#[tokio::test(start_paused = true)]
async fn a_condition_is_asked_again_in_the_next_process() {
    let (store, registry) = (Arc::new(Flaky::default()), Arc::new(Registry::default()));
    let world = World::on(Arc::clone(&store), Arc::clone(&registry), 8).await;
    let text = "a !gate\nb <- a\nc <- a\nd !gate";
    let document =
        with(text, &[("b", when("tasks.a.output != null")), ("c", when("tasks.a.output == null"))]);
    let id = world.dispatch(&document).await.unwrap();
    world.agents.wait_for_start("a#1").await;
    world.agents.wait_for_start("d#1").await;
    // The end of `a` and the questions that follow become durable; the answers never come.
    world.store.is_mute.send_replace(true);
    world.agents.gate.send_replace(true);
    pass(Duration::from_secs(1)).await;
    world.kill().await;
    store.is_mute.send_replace(false);
    let world = World::on(store, registry, 8).await;
    world.agents.gate.send_replace(true);
    let result = world.finish(id).await;
    assert_eq!(result.status, DispatchStatus::Success, "{result:?}");
    assert_eq!((task(&result, "b").status, task(&result, "b").attempts), (TaskStatus::Success, 1));
    assert_eq!(task(&result, "c").failure.as_ref().unwrap().code, FailureCode::ConditionUnmet);
    assert!(!world.agents.started.lock().contains(&"a#2".to_owned()), "a ran twice");
}

#[tokio::test(start_paused = true)]
async fn a_retry_decides_anew_and_takes_another_condition() {
    let world = World::new().await;
    let document = with("a\nb <- a\nc <- b", &[("b", when("input.fate == 'other'"))]);
    let first = world.run(&document).await;
    assert_eq!(task(&first, "b").status, TaskStatus::Skipped);
    let retry = |overrides: Value| {
        let args = json!({"dispatch_id": first.dispatch_id, "overrides": overrides});
        let json = crate::model::json::Json::from_value(&args).unwrap();
        crate::plan::check_retry(&json).unwrap()
    };
    let again = world.handle.retry(retry(json!({})), None).await.unwrap().dispatch;
    let again = world.finish(again).await;
    assert_eq!(task(&again, "b").failure.as_ref().unwrap().code, FailureCode::ConditionUnmet);
    let call = retry(json!({"b": {"when": "tasks.a.status == 'success'"}}));
    let other = world.handle.retry(call, None).await.unwrap().dispatch;
    let other = world.finish(other).await;
    assert_eq!(other.status, DispatchStatus::Success);
    assert_eq!(*world.agents.started.lock(), ["a#1", "b#1", "c#1"]);
    let wrong = retry(json!({"b": {"when": "tasks.c.output.x == 1"}}));
    let refusal = world.handle.retry(wrong, None).await.unwrap_err();
    assert_eq!(refusal.code(), crate::model::ErrorCode::InvalidReference);
}
