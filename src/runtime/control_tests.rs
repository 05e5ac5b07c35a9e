//! What the service promises of pauses, of more and fewer workers, and of tasks that are steered.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::{
    Paused, Progress,
    testing::{Flaky, Registry, World, document, pass, task},
};
use crate::{
    model::{
        ControlAction, ControlRequest, DispatchId, DispatchStatus, ErrorCode, ReadTraceRequest,
        Refusal, RetryRequest, TaskId, TraceKind,
    },
    plan::RetryCall,
};

fn wish(dispatch_id: DispatchId, action: ControlAction, tasks: &[&str]) -> ControlRequest {
    ControlRequest {
        dispatch_id,
        action,
        task_ids: (!tasks.is_empty()).then(|| tasks.iter().map(|it| TaskId::new(it)).collect()),
        task_id: None,
        max_workers: None,
        input_data: None,
        description: None,
        budget: None,
        reason: Some("just so".to_owned()),
    }
}

fn workers(dispatch_id: DispatchId, max_workers: u32) -> ControlRequest {
    let request = wish(dispatch_id, ControlAction::SetMaxWorkers, &[]);
    ControlRequest { max_workers: Some(max_workers), ..request }
}

fn replace(dispatch_id: DispatchId, name: &str, input: &Value) -> ControlRequest {
    let request = wish(dispatch_id, ControlAction::ReplaceInput, &[]);
    let input_data = Some(input.as_object().unwrap().clone().into());
    ControlRequest { task_id: Some(TaskId::new(name)), input_data, ..request }
}

async fn two_processes() -> [World; 2] {
    let (store, registry) = (Arc::new(Flaky::default()), Arc::new(Registry::default()));
    let one = World::on(store.elsewhere(), Arc::clone(&registry), 8).await;
    [one, World::on(store.elsewhere(), registry, 8).await]
}

/// Waits until a dispatch that is live in `world` goes so.
async fn see(world: &World, id: DispatchId, is_so: fn(&Progress) -> bool) {
    let mut progress = world.handle.follow(id).await.unwrap();
    progress.wait_for(is_so).await.unwrap();
}

fn started(world: &World) -> Vec<String> {
    world.agents.started.lock().clone()
}

fn code(refused: Result<crate::model::DispatchResult, Refusal>) -> (ErrorCode, String) {
    let refusal = refused.unwrap_err();
    (refusal.code(), refusal.faults()[0].path.clone())
}

#[tokio::test(start_paused = true)]
async fn a_pause_is_seen_and_ends_when_it_is_lifted() {
    let world = World::new().await;
    let id = world.dispatch(&document("a !gate\nb <- a\nc <- a")).await.unwrap();
    world.agents.wait_for_start("a#1").await;
    let result = world.handle.control(wish(id, ControlAction::Pause, &[])).await.unwrap();
    assert!(result.paused && result.status == DispatchStatus::Running);
    let step = &result.next_steps[0];
    assert!(step.starts_with("it is paused") && step.contains("\"resume\""), "{step}");
    assert!(!result.next_steps.iter().any(|it| it.contains("goes on by itself")));
    world.agents.gate.send_replace(true);
    see(&world, id, |it| it.n_ended == 1 && it.paused == Paused::Whole).await;
    pass(Duration::from_hours(1)).await;
    assert_eq!(started(&world), ["a#1"], "what runs goes on and nothing starts");
    let described = world.handle.follow(id).await.unwrap().borrow().describe();
    assert_eq!(described, "1 of 3 done, paused");

    let result = world.handle.control(wish(id, ControlAction::Resume, &[])).await.unwrap();
    assert!(!result.paused && result.paused_tasks.is_empty());
    assert_eq!(world.finish(id).await.status, DispatchStatus::Success);
    let kinds = vec![
        TraceKind::ControlRequested,
        TraceKind::DispatchPaused,
        TraceKind::DispatchResumed,
        TraceKind::Decision,
    ];
    let request =
        ReadTraceRequest { dispatch_id: Some(id), kinds: Some(kinds), ..Default::default() };
    let events = world.handle.read_trace(request).await.unwrap().events;
    assert_eq!(events[1].data["action"], "pause");
    assert_eq!(events[1].data["reason"], "just so");
    assert_eq!(events[2].kind, TraceKind::DispatchPaused);
    let decision = events.iter().find(|it| it.data.get("trigger") == Some(&json!("resumed")));
    assert!(decision.unwrap().data["why"].as_str().unwrap().contains("a pause was lifted"));
}

#[tokio::test(start_paused = true)]
async fn a_paused_branch_stays_so_when_its_process_dies() {
    let [one, two] = two_processes().await;
    let id = one.dispatch(&document("a !gate\nb <- a\nc <- b\nd <- a")).await.unwrap();
    one.agents.wait_for_start("a#1").await;
    let result = two.handle.control(wish(id, ControlAction::Pause, &["b"])).await.unwrap();
    assert_eq!((result.paused, &*result.paused_tasks), (false, &[TaskId::new("b")][..]));
    assert!(result.next_steps[0].contains("\"task_ids\": [\"b\"]"), "{:?}", result.next_steps);
    one.kill().await;
    two.agents.gate.send_replace(true);
    while !started(&two).contains(&"d#1".to_owned()) {
        pass(Duration::from_millis(100)).await;
    }
    see(&two, id, |it| it.n_ended == 2 && it.paused == Paused::Tasks).await;
    pass(Duration::from_mins(1)).await;
    assert_eq!(started(&two), ["a#2", "d#1"]);
    // What is paused with another task is not lifted by its own name.
    let result = two.handle.control(wish(id, ControlAction::Resume, &["c"])).await.unwrap();
    assert_eq!(result.paused_tasks, [TaskId::new("b")]);
    two.handle.control(wish(id, ControlAction::Resume, &["b"])).await.unwrap();
    assert_eq!(two.finish(id).await.status, DispatchStatus::Success);
    assert_eq!(started(&two), ["a#2", "d#1", "b#1", "c#1"]);
}

#[tokio::test(start_paused = true)]
async fn more_workers_start_at_once_and_stay_over_a_death() {
    let [one, two] = two_processes().await;
    let text: Vec<_> = (0..6).map(|it| format!("t{it} !gate")).collect();
    let id = one.dispatch(&document(&text.join("\n"))).await.unwrap();
    see(&one, id, |it| it.n_running == 2).await;
    let result = two.handle.control(workers(id, 4)).await.unwrap();
    assert_eq!(result.max_workers, Some(4));
    see(&one, id, |it| it.n_running == 4).await;
    for too_many in [0, 65] {
        let refused = two.handle.control(workers(id, too_many)).await;
        assert_eq!(code(refused), (ErrorCode::OutOfRange, "/max_workers".to_owned()));
    }
    one.kill().await;
    while started(&two).len() < 4 {
        pass(Duration::from_millis(100)).await;
    }
    pass(Duration::from_secs(5)).await;
    assert_eq!(started(&two).len(), 4);
    two.handle.control(workers(id, 1)).await.unwrap();
    see(&two, id, |it| it.n_running == 4).await;
    two.agents.gate.send_replace(true);
    assert_eq!(two.finish(id).await.status, DispatchStatus::Success);
}

#[tokio::test(start_paused = true)]
async fn more_workers_of_one_dispatch_are_not_more_than_all_there_are() {
    let world = World::with_workers(2);
    let mut ids = Vec::new();
    for prefix in ["a", "b"] {
        let text: Vec<_> = (0..3).map(|it| format!("{prefix}{it} !slow")).collect();
        let mut document = document(&text.join("\n"));
        document["config"] = json!({ "max_workers": 1 });
        ids.push(world.dispatch(&document).await.unwrap());
    }
    pass(Duration::from_secs(1)).await;
    world.handle.control(workers(ids[0], 2)).await.unwrap();
    pass(Duration::from_secs(1)).await;
    assert_eq!(started(&world).len(), 2);
    for id in ids {
        assert_eq!(world.finish(id).await.status, DispatchStatus::Success);
    }
    assert_eq!(world.agents.running_max.load(std::sync::atomic::Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_has_not_started_is_told_something_else() {
    let world = World::new().await;
    let id = world.dispatch(&document("a !gate\nb !fail <- a\nc !fail <- b")).await.unwrap();
    world.agents.wait_for_start("a#1").await;
    let fate = json!({ "fate": "echo", "from": "after ${tasks.a.output.input.fate}" });
    let mut request = replace(id, "b", &fate);
    request.description = Some("do otherwise".to_owned());
    world.handle.control(request).await.unwrap();
    let refused = [
        (replace(id, "a", &fate), ErrorCode::AlreadyStarted, "/task_id"),
        (replace(id, "x", &fate), ErrorCode::UnknownTask, "/task_id"),
        (
            replace(id, "b", &json!({ "fate": "${tasks.c.output}" })),
            ErrorCode::InvalidReference,
            "/input_data/fate",
        ),
    ];
    for (request, expected, path) in refused {
        assert_eq!(code(world.handle.control(request).await), (expected, path.to_owned()));
    }
    world.agents.gate.send_replace(true);
    let result = world.finish(id).await;
    assert_eq!(task(&result, "b").output["input"]["from"], "after gate");
    let written = world.files.written.lock().clone();
    let file = &written[task(&result, "b").trace_file.as_ref().unwrap()];
    assert!(file.contains("do otherwise"), "{file}");
    let kinds = Some(vec![TraceKind::InputReplaced]);
    let request = ReadTraceRequest { dispatch_id: Some(id), kinds, ..Default::default() };
    let trace = world.handle.read_trace(request).await.unwrap();
    assert_eq!(trace.events[0].data["fields"], json!(["input_data", "description"]));
    let refused = world.handle.control(replace(id, "c", &fate)).await;
    assert_eq!(code(refused), (ErrorCode::AlreadyEnded, "/dispatch_id".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn what_a_task_was_told_stays_over_a_death_and_in_a_retry() {
    let [one, two] = two_processes().await;
    let id = one.dispatch(&document("a !gate\nb !hang <- a\nc !fail <- b")).await.unwrap();
    one.agents.wait_for_start("a#1").await;
    two.handle.control(replace(id, "b", &json!({ "fate": "echo 1" }))).await.unwrap();
    let again = two.handle.control(replace(id, "b", &json!({ "fate": "echo 2" }))).await;
    assert_eq!(again.unwrap().status, DispatchStatus::Running);
    let refused = two.handle.control(replace(id, "a", &json!({ "fate": "echo" }))).await;
    assert_eq!(code(refused).0, ErrorCode::AlreadyStarted);
    one.kill().await;
    two.agents.gate.send_replace(true);
    let result = two.finish(id).await;
    assert_eq!(task(&result, "b").output["input"]["fate"], "echo 2");
    let task_ids = Some(vec![TaskId::new("b")]);
    let request = RetryRequest {
        dispatch_id: id,
        task_ids,
        overrides: None,
        budget: None,
        wait: None,
        wait_ms: None,
    };
    let ticket = two.handle.retry(RetryCall { request, wait_ms: 0 }, None).await.unwrap();
    let result = two.finish(ticket.dispatch).await;
    assert_eq!(task(&result, "b").output["input"]["fate"], "echo 2");
}
