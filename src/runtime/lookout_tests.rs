//! Who watches hears of changes, of nothing else, and leaves nothing behind.

use std::{cell::Cell, sync::Arc, time::Duration};

use futures::FutureExt as _;
use serde_json::json;

use super::{
    Watch,
    testing::{World, document, pass},
};
use crate::model::{DispatchId, DispatchStatus, TaskId, json::Json};

/// Longer than any change may take to be told.
const SOON: Duration = Duration::from_secs(1);

async fn is_told(watch: &mut Watch) -> bool {
    tokio::time::timeout(SOON, watch.changed()).await.is_ok()
}

/// Lets whatever is about to be told be told.
async fn settle(watches: &mut [&mut Watch]) {
    for watch in watches {
        while is_told(watch).await {}
    }
}

async fn let_go(world: &World, id: DispatchId) {
    world.agents.gate.send_replace(true);
    world.finish(id).await;
}

#[tokio::test(start_paused = true)]
async fn a_dispatch_that_ends_is_told_to_those_who_watch_it_and_to_no_others() {
    let world = World::new().await;
    let held = world.dispatch(&document("a !gate")).await.unwrap();
    let other = world.dispatch(&document("a !hang")).await.unwrap();
    let mut watch = world.handle.watch_dispatch(held).await.unwrap();
    let mut elsewhere = world.handle.watch_dispatch(other).await.unwrap();
    settle(&mut [&mut watch, &mut elsewhere]).await;
    let_go(&world, held).await;
    assert!(is_told(&mut watch).await);
    assert!(!is_told(&mut elsewhere).await);
    assert_eq!(world.handle.status(held).await.unwrap(), DispatchStatus::Success);
    assert!(!is_told(&mut watch).await, "what has ended does not change");
}

#[tokio::test(start_paused = true)]
async fn a_task_is_told_of_its_own_changes() {
    let world = World::new().await;
    let id = world.dispatch(&document("a !gate\nb <- a\nc !hang")).await.unwrap();
    let task = |name: &str| TaskId::new(name);
    world.agents.wait_for_start("c#1").await;
    let mut first = world.handle.watch_task(id, &task("a")).await.unwrap();
    let mut third = world.handle.watch_task(id, &task("c")).await.unwrap();
    settle(&mut [&mut first, &mut third]).await;
    world.agents.gate.send_replace(true);
    assert!(is_told(&mut first).await);
    assert!(!is_told(&mut third).await, "it still hangs");
    let unknown = world.handle.watch_task(id, &task("x")).await.unwrap_err();
    assert_eq!(unknown.code(), crate::model::ErrorCode::UnknownTask);
}

#[tokio::test(start_paused = true)]
async fn many_changes_within_the_interval_are_told_as_few() {
    let world = World::new().await;
    let id = world.dispatch(&document("held !gate")).await.unwrap();
    let mut watch = world.handle.watch_dispatch(id).await.unwrap();
    settle(&mut [&mut watch]).await;
    let n_told = Cell::new(0);
    let counting = async {
        loop {
            watch.changed().await;
            n_told.set(n_told.get() + 1);
        }
    };
    let changing = async {
        for _ in 0..200 {
            let pause = json!({ "dispatch_id": id.to_string(), "action": "pause" });
            let resume = json!({ "dispatch_id": id.to_string(), "action": "resume" });
            for wish in [pause, resume] {
                let json = Json::from_value(&wish).unwrap();
                world.handle.control(world.handle.check_control(&json).unwrap()).await.unwrap();
            }
            pass(Duration::from_millis(10)).await;
        }
        pass(SOON).await;
    };
    tokio::select! {
        () = counting => (),
        () = changing => (),
    }
    // 400 changes within two seconds, of which each fifth of a second may tell one.
    assert!((2..=12).contains(&n_told.get()), "{} times", n_told.get());
}

#[tokio::test(start_paused = true)]
async fn lists_change_with_what_is_accepted_and_planned_and_with_what_ends() {
    let world = World::new().await;
    let mut watch = world.handle.watch_lists().await;
    let mut seen = world.handle.newest().await.unwrap();
    let mut has_news = async |watch: &mut Watch| {
        let is_told = is_told(watch).await;
        let newest = world.handle.newest().await.unwrap();
        let is_other = newest != seen;
        seen = newest;
        assert_eq!(is_told, is_other);
        is_told
    };
    assert!(!has_news(&mut watch).await);
    let id = world.dispatch(&document("a !gate")).await.unwrap();
    assert!(has_news(&mut watch).await, "accepted");
    assert!(!has_news(&mut watch).await);
    let_go(&world, id).await;
    assert!(has_news(&mut watch).await, "ended");
    let plan = document("a");
    world.handle.plan(&Json::from_value(&plan).unwrap()).await.unwrap();
    assert!(has_news(&mut watch).await, "planned");
}

#[tokio::test(start_paused = true)]
async fn changes_of_other_processes_are_told() {
    let (store, registry) = (Arc::default(), Arc::default());
    let ours = World::on(Arc::clone(&store), Arc::clone(&registry), 8).await;
    let theirs = World::on(store, registry, 8).await;
    let id = theirs.dispatch(&document("a !gate")).await.unwrap();
    let mut watch = ours.handle.watch_dispatch(id).await.unwrap();
    settle(&mut [&mut watch]).await;
    let_go(&theirs, id).await;
    assert!(is_told(&mut watch).await);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_dropped_leaves_nothing_behind() {
    let world = World::new().await;
    let id = world.dispatch(&document("a !hang")).await.unwrap();
    let task = TaskId::new("a");
    let mut watches = Vec::new();
    for _ in 0..100 {
        watches.push(world.handle.watch_dispatch(id).await.unwrap());
        watches.push(world.handle.watch_task(id, &task).await.unwrap());
        watches.push(world.handle.watch_lists().await);
    }
    assert_eq!(world.handle.n_watches().await, 300);
    watches.truncate(1);
    assert_eq!(world.handle.n_watches().await, 1);
    drop(watches);
    assert_eq!(world.handle.n_watches().await, 0);
    // Whoever asks and is gone before the answer comes watches nothing.
    assert!(world.handle.watch_lists().now_or_never().is_none());
    assert_eq!(world.handle.n_watches().await, 0);
    let unknown = "01900000-0000-7000-8000-000000000000".parse().unwrap();
    assert!(world.handle.watch_dispatch(unknown).await.is_err());
    assert_eq!(world.handle.n_watches().await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_for_a_while_costs_no_change() {
    let world = World::new().await;
    let id = world.dispatch(&document("a !gate")).await.unwrap();
    let mut watch = world.handle.watch_dispatch(id).await.unwrap();
    settle(&mut [&mut watch]).await;
    // The end is written, and then nothing can be read for a while.
    world.store.faults.fail(1..4);
    world.agents.gate.send_replace(true);
    assert!(is_told(&mut watch).await);
    world.finish(id).await;
}
