//! Several processes over one store: who drives a dispatch, who hears of it, and what is removed.

use std::{sync::Arc, time::Duration};

use serde_json::json;

use super::{
    PruneMode, Retention,
    handle::Caller,
    testing::{Flaky, Registry, World, document, pass, task},
};
use crate::{
    model::{CancelRequest, DispatchId, DispatchStatus, ErrorCode, Millis, TaskStatus, json::Json},
    ports::Journal as _,
};

/// So many processes on one store, each with its own way to it.
async fn processes<const N: usize>() -> [World; N] {
    let (store, registry) = (Arc::new(Flaky::default()), Arc::new(Registry::default()));
    let start = |_| World::on(store.elsewhere(), Arc::clone(&registry), 8);
    futures::future::join_all((0..N).map(start)).await.try_into().ok().unwrap()
}

/// Waits for a start that takes its time.
async fn wait_for_late_start(world: &World, name: &str) {
    while !world.agents.started.lock().iter().any(|it| it == name) {
        pass(Duration::from_millis(100)).await;
    }
}

fn cancel(dispatch_id: DispatchId) -> CancelRequest {
    CancelRequest { dispatch_id, task_ids: None, reason: None }
}

#[tokio::test(start_paused = true)]
async fn an_idle_process_takes_over_within_five_seconds_of_a_death() {
    let [one, two] = processes().await;
    let id = one.dispatch(&document("a\nb !gate <- a\nc <- b")).await.unwrap();
    one.agents.wait_for_start("b#1").await;
    pass(Duration::from_secs(45)).await;
    assert!(two.agents.started.lock().is_empty(), "a living process's dispatch was taken over");
    one.kill().await;
    two.agents.gate.send_replace(true);
    assert!(two.handle.wait(id, Duration::from_secs(5)).await.unwrap());
    assert_eq!(*two.agents.started.lock(), ["b#2", "c#1"]);
    let result = two.handle.result(id).await.unwrap();
    assert_eq!(result.status, DispatchStatus::Success);
}

#[tokio::test(start_paused = true)]
async fn of_several_survivors_each_dispatch_is_taken_over_by_one() {
    let [dead, two, three, four] = processes().await;
    let mut ids = Vec::new();
    for _ in 0..8 {
        ids.push(dead.dispatch(&document("a\nb !gate <- a\nc <- b")).await.unwrap());
    }
    while dead.agents.started.lock().iter().filter(|it| *it == "b#1").count() < 8 {
        tokio::task::yield_now().await;
    }
    dead.kill().await;
    let survivors = [two, three, four];
    for it in &survivors {
        it.agents.gate.send_replace(true);
    }
    for id in ids {
        assert!(survivors[0].handle.wait(id, Duration::from_secs(5)).await.unwrap());
        assert_eq!(survivors[0].handle.result(id).await.unwrap().status, DispatchStatus::Success);
    }
    let mut started: Vec<_> =
        survivors.iter().flat_map(|it| it.agents.started.lock().clone()).collect();
    started.sort();
    let expected = [vec!["b#2"; 8], vec!["c#1"; 8]].concat();
    assert_eq!(started, expected);
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_hangs_is_replaced_and_writes_nothing_when_it_wakes_up() {
    let [one, two] = processes().await;
    let id = one.dispatch(&document("a !gate\nb !hang\nc <- a")).await.unwrap();
    one.agents.wait_for_start("b#1").await;
    one.store.is_stuck.send_replace(true);
    // The end of `a` comes to a process that cannot write it down.
    one.agents.gate.send_replace(true);
    pass(Duration::from_secs(8)).await;
    assert!(two.agents.started.lock().is_empty(), "taken over before the lease was over");
    wait_for_late_start(&two, "b#2").await;
    assert_eq!(*two.agents.started.lock(), ["a#2", "b#2"]);

    one.store.is_stuck.send_replace(false);
    while one.agents.stopped.lock().is_empty() {
        pass(Duration::from_millis(100)).await;
    }
    assert_eq!(*one.agents.stopped.lock(), ["b#1"], "the attempts of the former owner stop");
    let result = one.handle.result(id).await.unwrap();
    assert_eq!(task(&result, "a").status, TaskStatus::Running, "a late result was believed");

    two.agents.gate.send_replace(true);
    wait_for_late_start(&two, "c#1").await;
    // The former owner hears of the end, and can ask for it, as everybody.
    let result = one.handle.cancel(cancel(id)).await.unwrap();
    assert_eq!(result.status, DispatchStatus::Cancelled);
    assert_eq!((task(&result, "a").attempts, task(&result, "b").attempts), (2, 2));
    assert_eq!(*one.agents.started.lock(), ["a#1", "b#1"]);
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_is_held_up_after_a_commit_asks_again_before_it_acts() {
    let [one, two] = processes().await;
    let id = one.dispatch(&document("a !gate\nb <- a")).await.unwrap();
    one.agents.wait_for_start("a#1").await;
    one.store.is_mute.send_replace(true);
    // The start of `b` is written down, and its owner does not get to it.
    one.agents.gate.send_replace(true);
    wait_for_late_start(&two, "b#2").await;
    assert_eq!(two.finish(id).await.status, DispatchStatus::Success);
    one.store.is_mute.send_replace(false);
    assert_eq!(one.finish(id).await.status, DispatchStatus::Success);
    assert_eq!(*one.agents.started.lock(), ["a#1"], "it acted on what is no longer its own");
    assert_eq!(*two.agents.started.lock(), ["b#2"]);
}

#[tokio::test(start_paused = true)]
async fn whoever_waited_at_an_owner_that_hung_is_answered_by_the_next() {
    let [one, two] = processes().await;
    let id = one.dispatch(&document("a !gate")).await.unwrap();
    one.agents.wait_for_start("a#1").await;
    let handle = one.handle.clone();
    let waiting = tokio::spawn(async move { handle.wait(id, Duration::from_hours(1)).await });
    one.store.is_stuck.send_replace(true);
    two.agents.gate.send_replace(true);
    assert_eq!(two.finish(id).await.status, DispatchStatus::Success);
    one.store.is_stuck.send_replace(false);
    assert!(waiting.await.unwrap().unwrap());
    assert_eq!(*two.agents.started.lock(), ["a#2"]);
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_another_process_ends_with_the_dispatch() {
    let [one, two] = processes().await;
    let id = one.dispatch(&document("a !gate\nb <- a")).await.unwrap();
    one.agents.wait_for_start("a#1").await;
    let started = tokio::time::Instant::now();
    let open = async {
        pass(Duration::from_secs(30)).await;
        one.agents.gate.send_replace(true);
    };
    let (ended, ()) = tokio::join!(two.handle.wait(id, Duration::from_hours(1)), open);
    assert!(ended.unwrap());
    assert!(started.elapsed() < Duration::from_millis(30_100), "{:?}", started.elapsed());
    assert!(two.agents.started.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_cancel_reaches_the_next_owner_of_a_process_that_hangs() {
    let [one, two] = processes().await;
    let id = one.dispatch(&document("a !hang")).await.unwrap();
    one.agents.wait_for_start("a#1").await;
    one.store.is_stuck.send_replace(true);
    let early = two.handle.cancel(cancel(id)).await.unwrap();
    assert_eq!(early.status, DispatchStatus::Running, "its owner cannot say so yet");
    assert_eq!(two.finish(id).await.status, DispatchStatus::Cancelled);
    one.store.is_stuck.send_replace(false);
    assert_eq!(one.finish(id).await.status, DispatchStatus::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_while_the_lease_is_due_leaves_questions_answered() {
    let world = World::new().await;
    let id = world.dispatch(&document("a !gate")).await.unwrap();
    world.agents.wait_for_start("a#1").await;
    world.store.is_broken.store(true, std::sync::atomic::Ordering::SeqCst);
    pass(Duration::from_secs(4)).await;
    assert_eq!(world.handle.result(id).await.unwrap().status, DispatchStatus::Running);
    let refusal = world.dispatch(&document("b")).await.unwrap_err();
    assert_eq!(refusal.code(), ErrorCode::StorageUnavailable);
    world.store.is_broken.store(false, std::sync::atomic::Ordering::SeqCst);
    world.agents.gate.send_replace(true);
    assert_eq!(world.finish(id).await.status, DispatchStatus::Success);
}

#[tokio::test(start_paused = true)]
async fn what_is_old_is_removed_in_the_background_and_what_is_open_stays() {
    let world = World::new().await;
    let mut old = document("a\nb !fail");
    old["idempotency_key"] = json!("k");
    let call = Json::from_value(&old).unwrap();
    let old_id = world.handle.dispatch(&call, Caller::default()).await.unwrap().dispatch;
    world.finish(old_id).await;
    let args = document("a");
    let plan = world.handle.plan(&Json::from_value(&args).unwrap()).await.unwrap();
    let mut long = document("a !gate");
    long["config"] = json!({ "timeout_seconds": 86_400 });
    let open = world.dispatch(&long).await.unwrap();
    pass(Duration::from_hours(11)).await;
    let young = world.run(&document("a")).await.dispatch_id;
    assert!(world.handle.result(old_id).await.is_ok());
    pass(Duration::from_hours(2)).await;
    let gone = world.handle.result(old_id).await.unwrap_err();
    assert_eq!(gone.code(), ErrorCode::UnknownDispatch);
    let args = json!({ "plan_id": plan.plan_id });
    let gone = world
        .handle
        .dispatch(&Json::from_value(&args).unwrap(), Caller::default())
        .await
        .unwrap_err();
    assert_eq!(gone.code(), ErrorCode::UnknownPlan);
    assert_eq!(world.handle.result(young).await.unwrap().status, DispatchStatus::Success);
    assert_eq!(world.handle.result(open).await.unwrap().status, DispatchStatus::Running);
    let files: Vec<_> = world.files.written.lock().keys().cloned().collect();
    assert!(files.iter().any(|it| it.contains(&young.to_string())), "{files:?}");
    assert!(!files.iter().any(|it| it.contains(&old_id.to_string())), "{files:?}");
    // The key went with its dispatch.
    let again = world.handle.dispatch(&call, Caller::default()).await.unwrap().dispatch;
    assert_ne!(again, old_id);
}

#[tokio::test(start_paused = true)]
async fn what_ended_first_goes_when_there_is_too_much() {
    let world = World::new().await;
    let mut large = document("a");
    large["tasks"][0]["input_data"]["text"] = json!("x".repeat(200_000));
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(world.run(&large).await.dispatch_id);
    }
    let prune = async |retention, mode| world.handle.prune(retention, mode).await.unwrap();
    let left = async || {
        let rows = world.store.recent(None, None, 9).await.unwrap();
        rows.iter().rev().map(|it| it.dispatch).collect::<Vec<_>>()
    };
    let ended =
        |it: &super::Pruned| it.dispatches.iter().map(|it| it.dispatch_id).collect::<Vec<_>>();
    // Each holds its document and its output.
    let size = Retention { bytes_max: Some(1_000_000), ..Retention::default() };
    let forecast = prune(size, PruneMode::DryRun).await;
    assert_eq!((ended(&forecast), left().await), (ids[..2].to_vec(), ids.clone()));
    let kept = Retention { keep: 3, age_max: Some(Millis(0)), ..size };
    pass(Duration::from_millis(10)).await;
    assert_eq!(ended(&prune(kept, PruneMode::Remove).await), ids[..1]);
    let pruned = prune(Retention { keep: 2, bytes_max: Some(1), ..size }, PruneMode::Remove).await;
    assert_eq!((pruned.dispatches_removed, pruned.trace_files_removed), (1, 2));
    assert_eq!(left().await, ids[2..]);
    assert_eq!(prune(Retention::default(), PruneMode::Remove).await.dispatches_removed, 0);
}
