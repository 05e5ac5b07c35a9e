//! What the service promises of tasks that somebody must approve of.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::testing::{Flaky, Registry, World, document, pass, task};
use crate::{
    model::{
        ApproveRequest, DispatchId, DispatchStatus, ErrorCode, FailureCode, ReadTraceRequest,
        TaskId, TaskStatus, TraceKind, WaitingFor,
    },
    runtime::Progress,
};

/// A document in which the task `b` needs an approval.
fn asking(text: &str, approval: &Value) -> Value {
    let mut document = document(text);
    let tasks = document["tasks"].as_array_mut().unwrap();
    tasks.iter_mut().find(|it| it["task_id"] == "b").unwrap()["approval"] = approval.clone();
    document
}

fn decide(dispatch_id: DispatchId, decision: &str) -> ApproveRequest {
    let (task_id, decision) = (TaskId::new("b"), decision.to_owned());
    ApproveRequest { dispatch_id, task_id, decision, note: Some("by hand".to_owned()) }
}

/// Starts a dispatch, and waits until nothing goes on in it without a decision.
async fn start(world: &World, document: &Value) -> DispatchId {
    let id = world.dispatch(document).await.unwrap();
    let mut progress = world.handle.follow(id).await.unwrap();
    let waits = |it: &Progress| it.n_waiting == 1 && it.n_running == 0 && it.n_ended == 2;
    progress.wait_for(waits).await.unwrap();
    id
}

#[tokio::test(start_paused = true)]
async fn an_approval_holds_its_branch_until_it_is_given() {
    let world = World::new().await;
    let asked = json!({ "message": "ship\u{202e} it?", "decisions": ["later", "ship"] });
    let id = start(&world, &asking("a\nb <- a\nc <- b\nd", &asked)).await;
    let result = world.handle.result(id).await.unwrap();
    let held = task(&result, "b");
    assert_eq!((held.status, held.waiting_for), (TaskStatus::Pending, Some(WaitingFor::Approval)));
    let approval = held.approval.as_ref().unwrap();
    assert_eq!(approval.message, r"ship\u{202e} it?", "strangers' text is escaped");
    assert_eq!((approval.decisions.len(), approval.until.is_some()), (2, true));
    assert_eq!(task(&result, "c").waiting_for, None);
    assert_eq!((result.summary.waiting_for_approval, result.summary.pending), (1, 2));
    let step = &result.next_steps[0];
    assert!(step.contains("approve_task {") && step.contains("\"decision\": \"later\""), "{step}");
    let described = world.handle.follow(id).await.unwrap().borrow().describe();
    assert_eq!(described, "2 of 4 done, waiting for approval: b");

    world.handle.approve(decide(id, "ship")).await.unwrap();
    let result = world.finish(id).await;
    assert_eq!(result.status, DispatchStatus::Success);
    let approval = task(&result, "b").approval.clone().unwrap();
    assert_eq!(approval.decision.as_deref(), Some("ship"));
    assert_eq!(approval.note.as_deref(), Some("by hand"));
    let kinds = Some(vec![TraceKind::ApprovalDecided]);
    let request = ReadTraceRequest { dispatch_id: Some(id), kinds, ..ReadTraceRequest::default() };
    let trace = world.handle.read_trace(request).await.unwrap();
    assert_eq!(trace.events[0].data["decision"], "ship");
    let written = world.files.written.lock();
    let file = &written[task(&result, "b").trace_file.as_ref().unwrap()];
    let file: Value = serde_json::from_str(file).unwrap();
    assert_eq!(file["approval"]["decision"], "ship");
}

#[tokio::test(start_paused = true)]
async fn a_rejected_task_fails_and_says_why() {
    let world = World::new().await;
    let id = start(&world, &asking("a\nb\nc <- b\nd", &json!({ "message": "?" }))).await;
    world.handle.approve(decide(id, "reject")).await.unwrap();
    let result = world.finish(id).await;
    assert_eq!(result.status, DispatchStatus::Partial);
    assert_eq!(task(&result, "b").failure.as_ref().unwrap().code, FailureCode::Rejected);
    assert_eq!(task(&result, "b").error.as_deref(), Some("it was rejected: by hand"));
    assert_eq!(task(&result, "c").status, TaskStatus::Skipped);
    let again = world.handle.approve(decide(id, "reject")).await.unwrap();
    assert_eq!(again.status, result.status, "twice is once");
    let refusal = world.handle.approve(decide(id, "approve")).await.unwrap_err();
    assert_eq!(refusal.code(), ErrorCode::NotWaiting);
    assert!(refusal.to_string().contains("\"reject\" was decided before"), "{refusal}");
}

#[tokio::test(start_paused = true)]
async fn an_approval_that_nobody_answers_ends() {
    let world = World::new().await;
    let started = tokio::time::Instant::now();
    let id = start(&world, &asking("a\nb\nd", &json!({ "message": "?" }))).await;
    assert!(world.handle.wait(id, Duration::from_hours(25)).await.unwrap());
    let result = world.handle.result(id).await.unwrap();
    assert_eq!(task(&result, "b").failure.as_ref().unwrap().code, FailureCode::Timeout);
    assert_eq!(started.elapsed().as_secs(), 86_400);
    let asked = json!({ "message": "?", "timeout_seconds": 5 });
    let started = tokio::time::Instant::now();
    let result = world.run(&asking("a\nb\nd", &asked)).await;
    assert_eq!((result.status, started.elapsed().as_secs()), (DispatchStatus::Partial, 5));
    assert_eq!(task(&result, "b").waiting_for, None);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_decided_is_refused() {
    let world = World::new().await;
    let id = start(&world, &asking("a\nb\nc <- b\nd", &json!({ "message": "?" }))).await;
    let refused = async |request: ApproveRequest| world.handle.approve(request).await.unwrap_err();
    let refusal = refused(decide(id, "aprove")).await;
    assert_eq!((refusal.code(), &*refusal.faults()[0].path), (ErrorCode::InvalidEnum, "/decision"));
    assert!(refusal.to_string().contains("did you mean \"approve\"?"), "{refusal}");
    for (name, code) in [("a", ErrorCode::NotWaiting), ("c", ErrorCode::NotWaiting)] {
        let request = ApproveRequest { task_id: TaskId::new(name), ..decide(id, "approve") };
        assert_eq!(refused(request).await.code(), code, "{name}");
    }
    let request = ApproveRequest { task_id: TaskId::new("x"), ..decide(id, "approve") };
    let refusal = refused(request).await;
    assert_eq!((refusal.code(), &*refusal.faults()[0].path), (ErrorCode::UnknownTask, "/task_id"));
}

#[tokio::test(start_paused = true)]
async fn one_letter_is_no_slip_for_another() {
    let world = World::new().await;
    let asked = json!({ "message": "?", "decisions": ["y", "n"] });
    let id = start(&world, &asking("a\nb\nd", &asked)).await;
    let refusal = world.handle.approve(decide(id, "x")).await.unwrap_err();
    assert!(!refusal.to_string().contains("did you mean"), "{refusal}");
    let refusal = world.handle.approve(decide(id, "Y")).await.unwrap_err();
    assert!(refusal.to_string().contains("did you mean \"y\"?"), "{refusal}");
}

#[tokio::test(start_paused = true)]
async fn another_process_decides_and_hears_what_came_of_it() {
    let (store, registry) = (Arc::new(Flaky::default()), Arc::new(Registry::default()));
    let one = World::on(store.elsewhere(), Arc::clone(&registry), 8).await;
    let two = World::on(store.elsewhere(), registry, 8).await;
    let asked = asking("a\nb\nc <- b\nd", &json!({ "message": "?" }));
    let id = start(&one, &asked).await;
    let result = two.handle.approve(decide(id, "approve")).await.unwrap();
    assert_eq!(task(&result, "b").approval.as_ref().unwrap().decision.as_deref(), Some("approve"));
    assert_eq!(one.finish(id).await.status, DispatchStatus::Success);
    assert!(two.agents.started.lock().is_empty());

    // Of two that decide at once the first one counts, and the other one hears so.
    let id = start(&one, &asked).await;
    let (yes, no) = tokio::join!(
        two.handle.approve(decide(id, "approve")),
        two.handle.approve(decide(id, "reject"))
    );
    let refusals: Vec<_> = [yes, no].into_iter().filter_map(Result::err).collect();
    assert_eq!(refusals.len(), 1, "{refusals:?}");
    assert_eq!(refusals[0].code(), ErrorCode::NotWaiting);
}

#[tokio::test(start_paused = true)]
async fn an_approval_outlives_its_process_and_so_does_a_decision_on_it() {
    let (store, registry) = (Arc::new(Flaky::default()), Arc::new(Registry::default()));
    let one = World::on(store.elsewhere(), Arc::clone(&registry), 8).await;
    let id = start(&one, &asking("a\nb\nc <- b\nd", &json!({ "message": "?" }))).await;
    let until = |it: &crate::model::DispatchResult| task(it, "b").approval.as_ref().unwrap().until;
    let before = until(&one.handle.result(id).await.unwrap());
    // An owner that hangs does not answer: the decision waits for whoever comes next.
    one.store.is_stuck.send_replace(true);
    let two = World::on(store.elsewhere(), registry, 8).await;
    let result = two.handle.approve(decide(id, "approve")).await.unwrap();
    assert!(result.warnings.iter().any(|it| it.contains("recorded")), "{:?}", result.warnings);
    assert_eq!(
        (task(&result, "b").waiting_for, until(&result)),
        (Some(WaitingFor::Approval), before)
    );
    one.kill().await;
    let result = two.finish(id).await;
    assert_eq!(result.status, DispatchStatus::Success);
    assert_eq!(*two.agents.started.lock(), ["b#1", "c#1"]);
    pass(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_retry_may_ask_something_else_or_nothing() {
    let world = World::new().await;
    let asked = json!({ "message": "ship it?", "decisions": ["ship", "reject"] });
    let first = start(&world, &asking("a\nb <- a\nc <- b\nd", &asked)).await;
    world.handle.approve(decide(first, "reject")).await.unwrap();
    let first = world.finish(first).await.dispatch_id;
    let retry = |overrides: Value| {
        let args = json!({ "dispatch_id": first, "overrides": { "b": overrides } });
        let json = crate::model::json::Json::from_value(&args).unwrap();
        crate::plan::check_retry(&json)
    };
    let other = retry(json!({ "approval": { "message": "now?" } })).unwrap();
    let other = world.handle.retry(other, None).await.unwrap().dispatch;
    let mut progress = world.handle.follow(other).await.unwrap();
    progress.wait_for(|it| it.n_waiting == 1).await.unwrap();
    let result = world.handle.result(other).await.unwrap();
    assert_eq!(task(&result, "b").approval.as_ref().unwrap().message, "now?");
    let none = retry(json!({ "approval": null })).unwrap();
    let none = world.handle.retry(none, None).await.unwrap().dispatch;
    let result = world.finish(none).await;
    assert_eq!((result.status, &task(&result, "b").approval), (DispatchStatus::Success, &None));
    let refusal = retry(json!({ "approval": 5 })).unwrap_err();
    assert_eq!(refusal.faults()[0].path, "/overrides/b/approval");
}
