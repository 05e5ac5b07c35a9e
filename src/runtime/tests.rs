//! What the service promises, over a store in memory and with time that jumps.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    handle::Caller,
    testing::{Flaky, Registry, World, document, task},
};
use crate::{
    model::{
        CancelRequest, DispatchStatus, ErrorCode, FailureCode, GetResultRequest, ReadTraceRequest,
        RetryRequest, TaskId, TaskStatus, TraceKind, json::Json,
    },
    plan::RetryCall,
};

/// A call that runs these tasks again, or all that did not succeed.
pub(super) fn retry_of(
    dispatch_id: crate::model::DispatchId,
    task_ids: Option<Vec<TaskId>>,
) -> RetryCall {
    let request = RetryRequest {
        dispatch_id,
        task_ids,
        overrides: None,
        budget: None,
        wait: None,
        wait_ms: None,
    };
    RetryCall { request, wait_ms: 0 }
}

#[tokio::test(start_paused = true)]
async fn a_dispatch_runs_to_its_end_and_its_traces_stand_before_the_answer() {
    let world = World::new().await;
    let result = world.run(&document("a\nb <- a\nc")).await;
    assert_eq!(result.status, DispatchStatus::Success);
    assert_eq!((result.summary.successful, result.summary.total_tasks), (3, 3));
    assert_eq!(task(&result, "b").output["input"]["fate"], "echo");
    assert_eq!(result.warnings, ["scripted"]);
    let written = world.files.written.lock();
    for it in &result.results {
        let text = &written[it.trace_file.as_ref().unwrap()];
        let file: Value = serde_json::from_str(text).unwrap();
        assert_eq!(file["status"], "success");
        assert_eq!(file["attempts"][0]["upstream_calls"][0]["tool"], "work");
        assert!(!text.contains("sk-abcdefghijklmnopqrstuvwx"), "a secret in a trace");
    }
    let index: Value =
        serde_json::from_str(&written[result.trace_index.as_ref().unwrap()]).unwrap();
    assert_eq!(index["summary"]["successful"], 3);
    assert_eq!(index["tasks"][1]["dependencies"][0], "a");
}

#[tokio::test(start_paused = true)]
async fn a_failure_skips_what_waits_for_it_and_says_who_is_to_blame() {
    let world = World::new().await;
    let result = world.run(&document("a !fail\nb <- a\nc <- b\nd")).await;
    assert_eq!(result.status, DispatchStatus::Partial);
    assert_eq!(task(&result, "a").error.as_deref(), Some("as scripted"));
    let failure = task(&result, "c").failure.clone().unwrap();
    assert_eq!(failure.code, FailureCode::DependencyFailed);
    assert_eq!(failure.caused_by, Some(TaskId::new("a")));
    assert_eq!(task(&result, "d").status, TaskStatus::Success);
    assert_eq!(world.agents.started.lock().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_hung_agent_is_stopped_at_its_own_deadline() {
    let world = World::new().await;
    let mut document = document("a !hang\nb !hang");
    document["tasks"][0]["timeout_seconds"] = json!(5);
    let result = world.run(&document).await;
    assert_eq!(result.status, DispatchStatus::Failure);
    for (name, span) in [("a", 5_000), ("b", 60_000)] {
        let it = task(&result, name);
        assert_eq!(it.failure.as_ref().unwrap().code, FailureCode::Timeout);
        assert!(it.execution_time_ms.unwrap().abs_diff(span) < 50, "{it:?}");
    }
    while world.agents.stopped.lock().len() < 2 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_panics_fails_its_own_task_only() {
    let world = World::new().await;
    let result = world.run(&document("a !panic\nb")).await;
    assert_eq!(task(&result, "a").failure.as_ref().unwrap().code, FailureCode::AgentError);
    assert_eq!(task(&result, "b").status, TaskStatus::Success);
}

#[tokio::test(start_paused = true)]
async fn never_more_than_max_workers_run() {
    let world = World::new().await;
    let text: Vec<_> = (0..40).map(|it| format!("t{it}")).collect();
    let mut document = document(&text.join("\n"));
    document["config"] = json!({ "max_workers": 3 });
    let result = world.run(&document).await;
    assert_eq!(result.status, DispatchStatus::Success);
    assert_eq!(world.agents.running_max.load(Ordering::SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn a_cancel_stops_what_runs_and_keeps_what_is_there() {
    let world = World::new().await;
    let id = world.dispatch(&document("a\nb !hang <- a\nc <- b")).await.unwrap();
    world.agents.wait_for_start("b#1").await;
    let reason = Some("changed my mind".to_owned());
    let request = CancelRequest { dispatch_id: id, task_ids: None, reason };
    let result = world.handle.cancel(request).await.unwrap();
    assert_eq!(result.status, DispatchStatus::Cancelled);
    assert_eq!(task(&result, "a").status, TaskStatus::Success);
    assert_eq!(task(&result, "b").status, TaskStatus::Cancelled);
    assert_eq!(task(&result, "c").status, TaskStatus::Cancelled);
    let request = ReadTraceRequest { dispatch_id: Some(id), ..ReadTraceRequest::default() };
    let trace = world.handle.read_trace(request).await.unwrap();
    let asked = trace.events.iter().find(|it| it.kind == TraceKind::CancelRequested).unwrap();
    assert_eq!(asked.data["reason"], "changed my mind");
}

#[tokio::test(start_paused = true)]
async fn one_key_stands_for_one_document() {
    let world = World::new().await;
    let mut args = document("a");
    args["idempotency_key"] = json!("k");
    let call = async |args: &Value| {
        world.handle.dispatch(&Json::from_value(args).unwrap(), Caller::default()).await
    };
    let first = call(&args).await.unwrap();
    world.finish(first.dispatch).await;
    assert_eq!(call(&args).await.unwrap().dispatch, first.dispatch);
    args["tasks"][0]["description"] = json!("something else");
    assert_eq!(call(&args).await.unwrap_err().code(), ErrorCode::IdempotencyConflict);
    assert_eq!(world.agents.started.lock().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_acknowledges_nothing_and_works_again() {
    let world = World::new().await;
    world.store.is_broken.store(true, Ordering::SeqCst);
    let refusal = world.dispatch(&document("a")).await.unwrap_err();
    assert_eq!(refusal.code(), ErrorCode::StorageUnavailable);
    assert!(world.agents.started.lock().is_empty());
    world.store.is_broken.store(false, Ordering::SeqCst);
    assert_eq!(world.run(&document("a")).await.status, DispatchStatus::Success);
}

#[tokio::test(start_paused = true)]
async fn what_was_promised_waits_for_the_store_and_then_goes_on() {
    let world = World::new().await;
    let id = world.dispatch(&document("a !gate\nb <- a")).await.unwrap();
    world.agents.wait_for_start("a#1").await;
    world.store.is_broken.store(true, Ordering::SeqCst);
    world.agents.gate.send_replace(true);
    assert!(!world.handle.wait(id, Duration::from_secs(5)).await.unwrap());
    assert_eq!(*world.agents.started.lock(), ["a#1"], "acted before it was durable");
    world.store.is_broken.store(false, Ordering::SeqCst);
    assert_eq!(world.finish(id).await.status, DispatchStatus::Success);
}

#[tokio::test(start_paused = true)]
async fn after_a_kill_finished_tasks_do_not_run_again_and_running_ones_do() {
    let (store, registry) = (Arc::new(Flaky::default()), Arc::new(Registry::default()));
    let world = World::on(Arc::clone(&store), Arc::clone(&registry), 8).await;
    let id = world.dispatch(&document("a\nb !gate <- a\nc <- b")).await.unwrap();
    world.agents.wait_for_start("b#1").await;
    world.kill().await;
    let world = World::on(store, registry, 8).await;
    world.agents.gate.send_replace(true);
    let result = world.finish(id).await;
    assert_eq!(result.status, DispatchStatus::Success);
    assert_eq!(*world.agents.started.lock(), ["b#2", "c#1"]);
    assert_eq!((task(&result, "a").attempts, task(&result, "b").attempts), (1, 2));
    let written = world.files.written.lock();
    assert!(result.results.iter().all(|it| written.contains_key(it.trace_file.as_ref().unwrap())));
}

#[tokio::test(start_paused = true)]
async fn a_living_process_keeps_its_dispatches() {
    let (store, registry) = (Arc::new(Flaky::default()), Arc::new(Registry::default()));
    let one = World::on(Arc::clone(&store), Arc::clone(&registry), 8).await;
    let id = one.dispatch(&document("a !gate")).await.unwrap();
    one.agents.wait_for_start("a#1").await;
    let two = World::on(store, registry, 8).await;
    assert!(!two.handle.wait(id, Duration::from_secs(2)).await.unwrap());
    one.agents.gate.send_replace(true);
    assert_eq!(two.finish(id).await.status, DispatchStatus::Success);
    assert!(two.agents.started.lock().is_empty(), "two processes ran one dispatch");
}

#[tokio::test(start_paused = true)]
async fn any_process_can_cancel_any_dispatch() {
    let (store, registry) = (Arc::new(Flaky::default()), Arc::new(Registry::default()));
    let one = World::on(Arc::clone(&store), Arc::clone(&registry), 8).await;
    let id = one.dispatch(&document("a !hang\nb !gate")).await.unwrap();
    one.agents.wait_for_start("b#1").await;
    let two = World::on(store, registry, 8).await;
    let task_ids = Some(vec![TaskId::new("a")]);
    let request = CancelRequest { dispatch_id: id, task_ids, reason: None };
    let result = two.handle.cancel(request).await.unwrap();
    assert_eq!(task(&result, "a").status, TaskStatus::Cancelled);
    one.agents.gate.send_replace(true);
    assert_eq!(one.finish(id).await.status, DispatchStatus::Partial);
}

#[tokio::test(start_paused = true)]
async fn a_dispatch_of_a_dead_process_can_be_cancelled() {
    let (store, registry) = (Arc::new(Flaky::default()), Arc::new(Registry::default()));
    let two = World::on(Arc::clone(&store), Arc::clone(&registry), 8).await;
    let one = World::on(store, registry, 8).await;
    let id = one.dispatch(&document("a !gate")).await.unwrap();
    one.agents.wait_for_start("a#1").await;
    one.kill().await;
    let request = CancelRequest { dispatch_id: id, task_ids: None, reason: None };
    let result = two.handle.cancel(request).await.unwrap();
    assert_eq!(result.status, DispatchStatus::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_leaves_running_tasks_to_the_next_process() {
    let (store, registry) = (Arc::new(Flaky::default()), Arc::new(Registry::default()));
    let world = World::on(Arc::clone(&store), Arc::clone(&registry), 8).await;
    let id = world.dispatch(&document("a !hang")).await.unwrap();
    world.agents.wait_for_start("a#1").await;
    let agents = Arc::clone(&world.agents);
    world.stop().await;
    assert_eq!(*agents.stopped.lock(), ["a#1"]);
    let world = World::on(store, registry, 8).await;
    world.agents.wait_for_start("a#2").await;
    let result = world.handle.result(id).await.unwrap();
    assert_eq!(result.status, DispatchStatus::Running);
}

#[tokio::test(start_paused = true)]
async fn references_are_resolved_from_upstream_outputs() {
    let world = World::new().await;
    let mut document = document("a\nb <- a");
    document["tasks"][1]["input_data"]["whole"] = json!("${tasks.a.output.input}");
    document["tasks"][1]["input_data"]["part"] = json!("fate: ${tasks.a.output.input.fate}!");
    let result = world.run(&document).await;
    let input = &task(&result, "b").output["input"];
    assert_eq!(input["whole"], json!({ "fate": "echo" }));
    assert_eq!(input["part"], "fate: echo!");
    let file = world.files.written.lock()[task(&result, "b").trace_file.as_ref().unwrap()].clone();
    let file: Value = serde_json::from_str(&file).unwrap();
    assert_eq!(file["input"]["part"], "fate: echo!");
}

#[tokio::test(start_paused = true)]
async fn a_retry_keeps_what_succeeded() {
    let world = World::new().await;
    let first = world.run(&document("a\nb !fail <- a\nc <- b")).await;
    let mut call = retry_of(first.dispatch_id, None);
    let change = json!({ "b": { "input_data": { "fate": "echo" } } });
    call.request.overrides = Some(serde_json::from_value(change).unwrap());
    let ticket = world.handle.retry(call, None).await.unwrap();
    let second = world.finish(ticket.dispatch).await;
    assert_eq!(second.status, DispatchStatus::Success);
    assert_eq!(second.retry_of, Some(first.dispatch_id));
    assert_eq!(*world.agents.started.lock(), ["a#1", "b#1", "b#1", "c#1"]);
    assert_eq!(task(&second, "a").output, task(&first, "a").output);
    let unchanged = world.handle.result(first.dispatch_id).await.unwrap();
    assert_eq!(unchanged.status, DispatchStatus::Partial);
}

#[tokio::test(start_paused = true)]
async fn a_retry_counts_the_time_of_what_ran_again_only() {
    let world = World::new().await;
    let id = world.dispatch(&document("a !gate\nb !fail <- a")).await.unwrap();
    world.agents.wait_for_start("a#1").await;
    tokio::time::advance(Duration::from_secs(3)).await;
    world.agents.gate.send_replace(true);
    let first = world.finish(id).await;
    assert_eq!(first.summary.sequential_time_ms, 3_000);
    let ticket = world.handle.retry(retry_of(first.dispatch_id, None), None).await.unwrap();
    let second = world.finish(ticket.dispatch).await;
    assert_eq!(second.summary.sequential_time_ms, 0);
    assert_eq!(second.next_steps.last().unwrap().matches("runs 1 task again").count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_retry_of_a_named_task_runs_what_depends_on_it_too() {
    let world = World::new().await;
    let first = world.run(&document("a\nb <- a\nc")).await;
    let call = retry_of(first.dispatch_id, Some(vec![TaskId::new("a")]));
    let ticket = world.handle.retry(call, None).await.unwrap();
    world.finish(ticket.dispatch).await;
    assert_eq!(world.agents.started.lock()[3..], ["a#1", "b#1"]);
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_some_tasks_ends_with_them() {
    let world = World::new().await;
    let id = world.dispatch(&document("a\nb !gate")).await.unwrap();
    let request = GetResultRequest {
        dispatch_id: id,
        task_ids: Some(vec![TaskId::new("a")]),
        wait_ms: Some(600_000),
        view: None,
        cursor: None,
    };
    let result = world.handle.get_result(request).await.unwrap();
    assert_eq!(result.results.len(), 1);
    assert_eq!(result.results[0].status, TaskStatus::Success);
    assert_eq!(result.status, DispatchStatus::Running);
}

#[tokio::test(start_paused = true)]
async fn too_many_open_dispatches_are_busy() {
    let world = World::on(Arc::new(Flaky::default()), Arc::new(Registry::default()), 1).await;
    let id = world.dispatch(&document("a !gate")).await.unwrap();
    let refusal = world.dispatch(&document("b")).await.unwrap_err();
    assert_eq!(refusal.code(), ErrorCode::Busy);
    assert!(refusal.to_body().retry_after_ms.is_some());
    world.agents.gate.send_replace(true);
    world.finish(id).await;
    assert_eq!(world.run(&document("b")).await.status, DispatchStatus::Success);
}

#[tokio::test(start_paused = true)]
async fn each_task_gets_its_own_part_of_the_context() {
    let world = World::new().await;
    let mut document = document("a\nb\nc");
    document["config"] = json!({ "enable_context": true });
    document["tasks"][0]["context_requirements"] = json!(["file:x.py"]);
    document["tasks"][1]["context_requirements"] = json!(["file:missing"]);
    let result = world.run(&document).await;
    let context = &task(&result, "a").output["input"]["pre_gathered_context"];
    assert_eq!(context["file:x.py"]["content"], "x.py");
    assert_eq!(task(&result, "b").failure.as_ref().unwrap().code, FailureCode::ContextUnavailable);
    assert!(task(&result, "c").output["input"].get("pre_gathered_context").is_none());
    assert!(result.warnings.iter().any(|it| it.contains("missing")));
}

#[tokio::test(start_paused = true)]
async fn long_results_come_in_pages_that_fit() {
    let world = World::new().await;
    let text: Vec<_> = (0..300).map(|it| format!("t{it}")).collect();
    let mut page = world.run(&document(&text.join("\n"))).await;
    let mut seen = Vec::new();
    loop {
        assert!(serde_json::to_string(&page).unwrap().chars().count() <= 40_000);
        seen.extend(page.results.iter().map(|it| it.task_id.to_string()));
        let Some(cursor) = page.next_cursor else { break };
        let request = GetResultRequest {
            dispatch_id: page.dispatch_id,
            task_ids: None,
            wait_ms: None,
            view: None,
            cursor: Some(cursor),
        };
        page = world.handle.get_result(request).await.unwrap();
    }
    assert_eq!(seen, text);
}

#[tokio::test(start_paused = true)]
async fn an_output_too_long_for_an_answer_is_cut_and_says_so() {
    let world = World::new().await;
    let mut document = document("a");
    document["tasks"][0]["input_data"]["long"] = json!("\u{1}é\"".repeat(40_000));
    let result = world.run(&document).await;
    assert!(serde_json::to_string(&result).unwrap().chars().count() <= 40_000);
    assert!(task(&result, "a").output_truncated);
    let whole = world.handle.whole_result(result.dispatch_id, crate::model::View::Full).await;
    assert!(!task(&whole.unwrap(), "a").output_truncated);
}

#[tokio::test(start_paused = true)]
async fn large_dispatches_trace_into_one_file_of_lines() {
    let world = World::new().await;
    let text: Vec<_> = (0..1_001).map(|it| format!("t{it}")).collect();
    let result = world.run(&document(&text.join("\n"))).await;
    let path = result.results[0].trace_file.clone().unwrap();
    assert!(path.ends_with("tasks.jsonl"));
    let lines = world.files.written.lock()[&path].clone();
    assert_eq!(lines.lines().count(), 1_001);
    let line: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!((&line["task_id"], &line["status"]), (&json!("t1000"), &json!("success")));
}

#[tokio::test(start_paused = true)]
async fn a_plan_can_be_dispatched_by_its_id() {
    let world = World::new().await;
    let args = document("a\nb <- a");
    let plan = world.handle.plan(&Json::from_value(&args).unwrap()).await.unwrap();
    assert_eq!(plan.waves.len(), 2);
    let args = json!({ "plan_id": plan.plan_id });
    let ticket =
        world.handle.dispatch(&Json::from_value(&args).unwrap(), Caller::default()).await.unwrap();
    assert_eq!(world.finish(ticket.dispatch).await.status, DispatchStatus::Success);
    let args = json!({ "plan_id": "01890000-0000-7000-8000-000000000000" });
    let refusal = world
        .handle
        .dispatch(&Json::from_value(&args).unwrap(), Caller::default())
        .await
        .unwrap_err();
    assert_eq!(refusal.code(), ErrorCode::UnknownPlan);
}
