//! What holds of dispatches that agents ask for while they work, with time that jumps.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    handle::Caller,
    testing::{Flaky, Registry, World, document, pass, task},
};
use crate::{
    model::{
        CancelRequest, ControlRequest, DispatchId, DispatchResult, DispatchStatus, ErrorCode,
        ParentTask, ReadTraceRequest, Refusal, TaskId, TaskStatus, TraceKind, json::Json,
    },
    ports::Journal as _,
};

fn with(text: &str, config: &Value) -> Value {
    let mut document = document(text);
    document["config"] = config.clone();
    document["config"]["timeout_seconds"] = json!(3_600);
    document
}

/// Dispatches as the agent of a task would.
async fn nest(
    world: &World,
    (dispatch_id, task_id): (DispatchId, &str),
    document: &Value,
) -> Result<DispatchId, Refusal> {
    let parent = Some(ParentTask { dispatch_id, task_id: TaskId::new(task_id) });
    let caller = Caller { key: None, parent };
    let ticket = world.handle.dispatch(&Json::from_value(document)?, caller).await?;
    Ok(ticket.dispatch)
}

/// A dispatch whose task `t` runs until the gate is opened.
async fn parent(world: &World, text: &str, config: &Value) -> DispatchId {
    let id = world.dispatch(&with(text, config)).await.unwrap();
    world.agents.wait_for_start("t#1").await;
    id
}

async fn cancel(world: &World, dispatch_id: DispatchId, tasks: &[&str]) {
    let task_ids = tasks.iter().map(|it| TaskId::new(it)).collect::<Vec<_>>();
    let task_ids = (!task_ids.is_empty()).then_some(task_ids);
    let request = CancelRequest { dispatch_id, task_ids, reason: None };
    world.handle.cancel(request).await.unwrap();
}

fn spent(result: &DispatchResult) -> (u64, u32) {
    let spent = result.budget.as_ref().unwrap().spent;
    (spent.tokens, spent.tasks)
}

#[tokio::test(start_paused = true)]
async fn what_an_agent_asks_for_shows_up_under_its_task() {
    let world = World::new().await;
    let above = parent(&world, "t !gate", &json!({})).await;
    let below = nest(&world, (above, "t"), &document("a\nb <- a")).await.unwrap();
    let result = world.finish(below).await;
    assert_eq!(result.status, DispatchStatus::Success);
    assert_eq!(result.parent.unwrap().to_string(), format!("{above}/t"));
    world.agents.gate.send_replace(true);
    let result = world.finish(above).await;
    assert_eq!((result.parent.is_none(), &task(&result, "t").dispatches), (true, &vec![below]));
    let request = ReadTraceRequest {
        dispatch_id: Some(above),
        kinds: Some(vec![TraceKind::DispatchNested, TraceKind::NestedSpent]),
        ..Default::default()
    };
    let events = world.handle.read_trace(request).await.unwrap().events;
    assert_eq!(events[0].data["dispatch_id"], below.to_string());
    let started: u64 = events[1..].iter().map(|it| it.data["tasks"].as_u64().unwrap()).sum();
    assert_eq!(started, 2);
    let recent = world.handle.read_trace(ReadTraceRequest::default()).await.unwrap();
    let listing = &recent.dispatches.unwrap()[0];
    assert_eq!((listing.dispatch_id, listing.parent.as_ref().unwrap().dispatch_id), (below, above));
}

#[tokio::test(start_paused = true)]
async fn what_was_not_accepted_does_not_show_up_under_its_task() {
    let world = World::new().await;
    let above = parent(&world, "t !gate", &json!({})).await;
    world.store.is_broken.store(true, Ordering::SeqCst);
    let refusal = nest(&world, (above, "t"), &document("a")).await.unwrap_err();
    assert_eq!(refusal.code(), ErrorCode::StorageUnavailable);
    world.store.is_broken.store(false, Ordering::SeqCst);

    // The key is taken when both have been looked up already.
    let twice = || async {
        let parent = Some(ParentTask { dispatch_id: above, task_id: TaskId::new("t") });
        let caller = Caller { key: Some("key".to_owned()), parent };
        let document = document("b");
        let document = Json::from_value(&document).unwrap();
        world.handle.dispatch(&document, caller).await.unwrap().dispatch
    };
    let (one, other) = tokio::join!(twice(), twice());
    assert_eq!(one, other);
    world.agents.gate.send_replace(true);
    assert_eq!(task(&world.finish(above).await, "t").dispatches, [one]);
}

#[tokio::test(start_paused = true)]
async fn they_share_the_workers_and_the_one_that_waits_lends_its_own() {
    let world = World::new().await;
    let above = parent(&world, "t !gate\nu !slow\nv !slow", &json!({ "max_workers": 1 })).await;
    let workers = json!({ "max_workers": 5 });
    let below = nest(&world, (above, "t"), &with("a !slow\nb !slow", &workers)).await.unwrap();
    world.finish(below).await;
    let at = |name: &str| world.agents.started_at.lock()[name].as_secs();
    assert_eq!(at("b#1") - at("a#1"), 30, "one at a time");
    assert!(!world.agents.started.lock().iter().any(|it| it == "u#1"), "it is lent to nobody else");
    world.agents.gate.send_replace(true);
    assert_eq!(world.finish(above).await.status, DispatchStatus::Success);
    assert_eq!(world.agents.running_max.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn free_workers_of_the_dispatch_above_help() {
    let world = World::new().await;
    let above = parent(&world, "t !gate\nu !slow", &json!({ "max_workers": 3 })).await;
    let workers = json!({ "max_workers": 5 });
    let text = "a !slow\nb !slow\nc !slow\nd !slow";
    let below = nest(&world, (above, "t"), &with(text, &workers)).await.unwrap();
    // A dispatch of its own is not held by this.
    let other = world.dispatch(&with("o !slow\np !slow", &json!({ "max_workers": 2 }))).await;
    world.finish(below).await;
    let at = |name: &str| world.agents.started_at.lock()[name].as_secs();
    assert_eq!([at("a#1"), at("b#1"), at("c#1"), at("d#1")], [0, 0, 30, 30]);
    assert_eq!([at("u#1"), at("o#1"), at("p#1")], [0, 0, 0]);
    world.agents.gate.send_replace(true);
    world.finish(other.unwrap()).await;
    assert_eq!(world.finish(above).await.status, DispatchStatus::Success);
}

#[tokio::test(start_paused = true)]
async fn a_process_with_one_worker_gets_through() {
    let world = World::with_workers(1);
    let above = parent(&world, "t !gate\nu", &json!({})).await;
    let below = nest(&world, (above, "t"), &document("a\nb <- a")).await.unwrap();
    assert_eq!(world.finish(below).await.status, DispatchStatus::Success);
    world.agents.gate.send_replace(true);
    assert_eq!(world.finish(above).await.status, DispatchStatus::Success);
}

#[tokio::test(start_paused = true)]
async fn they_are_cancelled_with_the_task_and_all_that_is_below() {
    for tasks in [&["t"][..], &[]] {
        let world = World::new().await;
        let above = parent(&world, "t !hang\nu", &json!({})).await;
        let below = nest(&world, (above, "t"), &document("a !hang\nb <- a")).await.unwrap();
        world.agents.wait_for_start("a#1").await;
        let deeper = nest(&world, (below, "a"), &document("x !hang")).await.unwrap();
        world.agents.wait_for_start("x#1").await;
        cancel(&world, above, tasks).await;
        for it in [below, deeper] {
            assert_eq!(world.finish(it).await.status, DispatchStatus::Cancelled);
        }
        pass(Duration::from_secs(1)).await;
        let mut stopped = world.agents.stopped.lock().clone();
        stopped.sort();
        assert_eq!(stopped, ["a#1", "t#1", "x#1"]);
    }
}

#[tokio::test(start_paused = true)]
async fn they_end_with_an_attempt_that_fails_and_outlive_one_that_succeeds() {
    let world = World::new().await;
    let mut document_above = with("t !hang\nu !gate", &json!({}));
    document_above["tasks"][0]["timeout_seconds"] = json!(5);
    let above = world.dispatch(&document_above).await.unwrap();
    world.agents.wait_for_start("u#1").await;
    let failed = nest(&world, (above, "t"), &document("a !hang")).await.unwrap();
    let kept = nest(&world, (above, "u"), &document("b !slow\nc !slow <- b")).await.unwrap();
    world.agents.wait_for_start("b#1").await;
    world.agents.gate.send_replace(true);
    assert_eq!(world.finish(failed).await.status, DispatchStatus::Cancelled);
    assert_eq!(world.finish(above).await.status, DispatchStatus::Partial);
    assert_eq!(world.finish(kept).await.status, DispatchStatus::Success);
}

#[tokio::test(start_paused = true)]
async fn only_an_agent_at_work_may_ask_and_not_without_end() {
    let world = World::new().await;
    let mut above = parent(&world, "t !gate\nu <- t", &json!({})).await;
    let first = above;
    let code = |it: Result<DispatchId, Refusal>| it.unwrap_err().code();
    assert_eq!(code(nest(&world, (above, "u"), &document("a")).await), ErrorCode::AlreadyEnded);
    assert_eq!(code(nest(&world, (above, "w"), &document("a")).await), ErrorCode::UnknownTask);
    for depth in 1..=3 {
        let name = format!("t{depth}");
        let task = if depth == 1 { "t".to_owned() } else { format!("t{}", depth - 1) };
        let text = document(&format!("{name} !gate"));
        above = nest(&world, (above, &task), &text).await.unwrap();
        world.agents.wait_for_start(&format!("{name}#1")).await;
    }
    let refusal = nest(&world, (above, "t3"), &document("a")).await.unwrap_err();
    assert_eq!(refusal.code(), ErrorCode::LimitExceeded);
    assert!(refusal.to_string().contains("4 deep"), "{refusal}");
    world.agents.gate.send_replace(true);
    world.finish(first).await;
    assert_eq!(code(nest(&world, (first, "t"), &document("a")).await), ErrorCode::AlreadyEnded);
    let unknown = DispatchId::new(uuid::Uuid::nil());
    let alone = nest(&world, (unknown, "t"), &document("a")).await.unwrap();
    let result = world.finish(alone).await;
    assert!(result.parent.is_none());
    assert!(result.warnings.iter().any(|it| it.contains("stands for itself")));
}

#[tokio::test(start_paused = true)]
async fn what_they_use_counts_above() {
    let world = World::new().await;
    let config = json!({ "budget": { "tokens": 100, "tasks": 9 } });
    let above = parent(&world, "t !gate\nu !use 5 <- t", &config).await;
    let below = nest(&world, (above, "t"), &document("a !use 30\nb !use 20 <- a")).await.unwrap();
    assert!(world.finish(below).await.budget.is_none());
    assert_eq!(spent(&world.handle.result(above).await.unwrap()), (50, 3));
    world.agents.gate.send_replace(true);
    assert_eq!(spent(&world.finish(above).await), (55, 4));
}

#[tokio::test(start_paused = true)]
async fn a_budget_above_is_not_exceeded_from_below() {
    let world = World::new().await;
    let config = json!({ "budget": { "tasks": 3 }, "max_workers": 2 });
    let above = parent(&world, "t !gate\nu <- t", &config).await;
    let text = "a\nb <- a\nc <- b";
    let below = nest(&world, (above, "t"), &document(text)).await.unwrap();
    let result = world.finish(below).await;
    assert_eq!(result.status, DispatchStatus::Partial);
    assert_eq!(task(&result, "b").status, TaskStatus::Success);
    assert_eq!(task(&result, "c").status, TaskStatus::Cancelled);
    world.agents.gate.send_replace(true);
    let result = world.finish(above).await;
    assert_eq!(spent(&result).1, 3);
    assert_eq!(task(&result, "u").status, TaskStatus::Skipped);
}

#[tokio::test(start_paused = true)]
async fn a_budget_above_that_pauses_pauses_what_is_below_until_it_is_raised() {
    let world = World::new().await;
    let budget = json!({ "tokens": 40, "on_exceeded": "pause" });
    let above = parent(&world, "t !gate", &json!({ "budget": budget })).await;
    let text = "a !use 40\nb !use 30 <- a";
    let below = nest(&world, (above, "t"), &document(text)).await.unwrap();
    while world.handle.result(above).await.unwrap().budget.unwrap().exceeded.is_none() {
        pass(Duration::from_millis(10)).await;
    }
    pass(Duration::from_mins(1)).await;
    assert_eq!(*world.agents.started.lock(), ["t#1", "a#1"]);
    let raised =
        json!({ "dispatch_id": above, "action": "set_budget", "budget": { "tokens": 90 } });
    let raised: ControlRequest = serde_json::from_value(raised).unwrap();
    world.handle.control(raised).await.unwrap();
    assert_eq!(world.finish(below).await.status, DispatchStatus::Success);
    world.agents.gate.send_replace(true);
    assert_eq!(spent(&world.finish(above).await).0, 70);
}

#[tokio::test(start_paused = true)]
async fn another_process_hands_it_to_the_one_that_runs_the_task() {
    let (store, registry) = (Arc::new(Flaky::default()), Arc::new(Registry::default()));
    let one = World::on(Arc::clone(&store), Arc::clone(&registry), 8).await;
    let two = World::on(Arc::clone(&store), registry, 8).await;
    let above = parent(&one, "t !gate", &json!({ "max_workers": 1 })).await;
    let below = nest(&two, (above, "t"), &document("a !slow\nb <- a")).await.unwrap();
    one.agents.wait_for_start("a#1").await;
    let owners = async |id| store.dispatch(id).await.unwrap().unwrap().tenure.owner;
    assert_eq!(owners(above).await, owners(below).await);
    let refused = nest(&two, (above, "w"), &document("a")).await;
    assert_eq!(refused.unwrap_err().code(), ErrorCode::UnknownTask);
    assert_eq!(two.finish(below).await.status, DispatchStatus::Success);
    assert!(two.agents.started.lock().is_empty());
    one.agents.gate.send_replace(true);
    assert_eq!(task(&one.finish(above).await, "t").dispatches, [below]);
}

#[tokio::test(start_paused = true)]
async fn who_takes_over_the_one_takes_over_the_other() {
    let (store, registry) = (Arc::new(Flaky::default()), Arc::new(Registry::default()));
    let one = World::on(Arc::clone(&store), Arc::clone(&registry), 8).await;
    let config = json!({ "max_workers": 1, "budget": { "tokens": 1_000 } });
    let above = parent(&one, "t !gate", &config).await;
    let text = "a !use 7\nb !hang <- a";
    let below = nest(&one, (above, "t"), &document(text)).await.unwrap();
    one.agents.wait_for_start("b#1").await;
    one.kill().await;
    let two = World::on(Arc::clone(&store), Arc::clone(&registry), 8).await;
    let three = World::on(Arc::clone(&store), registry, 8).await;
    let owner = async |id| store.dispatch(id).await.unwrap().unwrap().tenure;
    while owner(below).await.epoch.0 == 1 {
        pass(Duration::from_millis(500)).await;
    }
    assert_eq!(owner(above).await.owner, owner(below).await.owner);
    cancel(&three, above, &["t"]).await;
    assert_eq!(three.finish(below).await.status, DispatchStatus::Cancelled);
    let result = two.finish(above).await;
    // What was interrupted counts as reserved: as much as its like had used.
    assert_eq!(spent(&result), (14, 3));
}

#[tokio::test(start_paused = true)]
async fn caps_above_hold_for_what_was_taken_over_before_what_is_above() {
    let (store, registry) = (Arc::new(Flaky::default()), Arc::new(Registry::default()));
    let one = World::on(Arc::clone(&store), Arc::clone(&registry), 8).await;
    let two = World::on(Arc::clone(&store), registry, 8).await;
    let above = parent(&one, "t !gate", &json!({ "max_workers": 1 })).await;
    let text = "a !slow\nb !slow\nc !slow <- a b\nd !slow <- a b";
    let below = nest(&one, (above, "t"), &with(text, &json!({}))).await.unwrap();
    one.agents.wait_for_start("a#1").await;
    pass(Duration::from_millis(100)).await;
    one.kill().await;
    // What is asked of a dispatch makes it go on at once, before anybody looks for orphans.
    let workers = json!({ "dispatch_id": below, "action": "set_max_workers", "max_workers": 2 });
    let workers: ControlRequest = serde_json::from_value(workers).unwrap();
    two.handle.control(workers).await.unwrap();
    two.agents.wait_for_start("b#1").await;
    assert!(!two.agents.started.lock().iter().any(|it| it == "t#2"), "it is still alone");
    assert_eq!(two.finish(below).await.status, DispatchStatus::Success);
    let at = |name: &str| two.agents.started_at.lock()[name].as_secs();
    assert_eq!(at("c#1").abs_diff(at("d#1")), 30, "one at a time");
    two.agents.gate.send_replace(true);
    assert_eq!(two.finish(above).await.status, DispatchStatus::Success);
}
