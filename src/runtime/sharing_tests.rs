//! What the service promises of dispatches that share workers and upstreams, with time that jumps.

use std::time::Duration;

use serde_json::{Value, json};

use super::testing::{self, World, document, task};
use crate::model::{
    CancelRequest, DispatchId, DispatchResult, DispatchStatus, ReadTraceRequest, TraceEvent,
    TraceKind,
};

/// Tasks `PREFIX0`, `PREFIX1` and so on, all with this fate.
fn tasks(prefix: &str, n_tasks: usize, fate: &str) -> Value {
    let lines: Vec<_> = (0..n_tasks).map(|it| format!("{prefix}{it} !{fate}")).collect();
    let mut document = document(&lines.join("\n"));
    document["config"] = json!({ "max_workers": 4 });
    document
}

/// The same, for the agent `android`.
fn of_android(mut document: Value) -> Value {
    for task in document["tasks"].as_array_mut().unwrap() {
        task["agent"] = "android".into();
    }
    document
}

/// Starts a dispatch, and lets time pass until all that can happen at once has.
async fn start(world: &World, document: &Value) -> DispatchId {
    let id = world.dispatch(document).await.unwrap();
    pass(1).await;
    id
}

async fn pass(millis: u64) {
    testing::pass(Duration::from_millis(millis)).await;
}

/// How many attempts were started whose tasks begin with `prefix`.
fn n_started(world: &World, prefix: &str) -> usize {
    world.agents.started.lock().iter().filter(|it| it.starts_with(prefix)).count()
}

/// When each attempt started whose task begins with `prefix`, in milliseconds, sorted.
fn starts(world: &World, prefix: &str) -> Vec<u128> {
    let all = world.agents.started_at.lock();
    let own = all.iter().filter(|it| it.0.starts_with(prefix));
    let mut starts: Vec<_> = own.map(|it| it.1.as_millis()).collect();
    starts.sort_unstable();
    starts
}

async fn decisions(world: &World, result: &DispatchResult) -> Vec<TraceEvent> {
    let request = ReadTraceRequest {
        dispatch_id: Some(result.dispatch_id),
        kinds: Some(vec![TraceKind::Decision]),
        ..ReadTraceRequest::default()
    };
    world.handle.read_trace(request).await.unwrap().events
}

#[tokio::test(start_paused = true)]
async fn dispatches_share_the_workers_and_one_alone_has_all() {
    let world = World::with_workers(4);
    let alone = start(&world, &tasks("a", 12, "slow")).await;
    assert_eq!(n_started(&world, "a"), 4);
    let other = start(&world, &tasks("b", 4, "slow")).await;
    assert_eq!(n_started(&world, "b"), 0, "nothing that runs is taken away");
    pass(30_000).await;
    assert_eq!((n_started(&world, "a"), n_started(&world, "b")), (6, 2));
    pass(30_000).await;
    assert_eq!((n_started(&world, "a"), n_started(&world, "b")), (8, 4));
    pass(30_000).await;
    assert_eq!((n_started(&world, "a"), n_started(&world, "b")), (12, 4));
    let result = world.finish(alone).await;
    assert_eq!(result.status, DispatchStatus::Success);
    assert_eq!(world.finish(other).await.status, DispatchStatus::Success);
    assert_eq!(world.agents.running_max.load(std::sync::atomic::Ordering::SeqCst), 4);
    let decisions = decisions(&world, &result).await;
    assert_eq!(decisions[4].data["trigger"], "room_free");
}

#[tokio::test(start_paused = true)]
async fn more_dispatches_than_workers_take_turns() {
    let world = World::with_workers(1);
    let mut ids = Vec::new();
    for prefix in ["a", "b", "c"] {
        ids.push(start(&world, &tasks(prefix, 3, "slow")).await);
    }
    pass(60_000).await;
    assert_eq!(["a", "b", "c"].map(|it| n_started(&world, it)), [1, 1, 1]);
    pass(90_000).await;
    assert_eq!(["a", "b", "c"].map(|it| n_started(&world, it)), [2, 2, 2]);
    for id in ids {
        assert_eq!(world.finish(id).await.status, DispatchStatus::Success);
    }
    assert_eq!(world.agents.running_max.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_cancelled_dispatch_leaves_goes_to_the_others() {
    let world = World::with_workers(2);
    let stuck = start(&world, &tasks("a", 2, "hang")).await;
    let other = start(&world, &tasks("b", 2, "echo")).await;
    assert_eq!(n_started(&world, "b"), 0);
    let request = CancelRequest { dispatch_id: stuck, task_ids: None, reason: None };
    world.handle.cancel(request).await.unwrap();
    assert_eq!(world.finish(other).await.status, DispatchStatus::Success);
}

#[tokio::test(start_paused = true)]
async fn the_workers_of_a_dispatch_are_never_more_than_all_there_are() {
    let world = World::with_workers(3);
    let result = world.run(&tasks("a", 4, "echo")).await;
    let warning = "max_workers is 3, the server's limit, not 4";
    assert!(result.warnings.iter().any(|it| it == warning), "{:?}", result.warnings);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_asks_to_be_left_alone_is_left_alone_by_all_dispatches() {
    let world = World::new().await;
    let first = start(&world, &tasks("a", 1, "later 90000")).await;
    let second = start(&world, &tasks("b", 3, "slow")).await;
    let third = start(&world, &of_android(tasks("c", 3, "echo"))).await;
    assert_eq!(world.finish(third).await.status, DispatchStatus::Success);
    assert_eq!(n_started(&world, "b"), 0);
    for id in [first, second] {
        assert_eq!(world.finish(id).await.status, DispatchStatus::Success);
    }
    let mut starts = starts(&world, "b");
    starts.extend(self::starts(&world, "a0#2"));
    starts.sort_unstable();
    assert!(starts.iter().all(|it| *it >= 90_000), "{starts:?}");
    assert!(starts[1] >= starts[0] + 10_000, "one probe at first: {starts:?}");
    assert!(starts[0] <= 90_600, "{starts:?}");
}

#[tokio::test(start_paused = true)]
async fn in_one_dispatch_the_tasks_of_other_agents_go_on() {
    let world = World::new().await;
    let mut both = tasks("a", 6, "later 5000");
    let other = of_android(tasks("b", 6, "echo"));
    both["tasks"].as_array_mut().unwrap().extend(other["tasks"].as_array().unwrap().clone());
    let result = world.run(&both).await;
    assert_eq!(result.status, DispatchStatus::Success);
    assert!(starts(&world, "b").iter().all(|it| *it < 1_000));
    let again: Vec<_> = starts(&world, "a").into_iter().filter(|it| *it > 100).collect();
    assert!(again.iter().all(|it| *it >= 5_000), "{again:?}");
    assert!(task(&result, "a5").attempts >= 2);
    let decisions = decisions(&world, &result).await;
    let overtaking = decisions.iter().find(|it| it.data.contains_key("overtakes")).unwrap();
    assert!(overtaking.task_id.as_ref().unwrap().as_str().starts_with('b'));
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_was_too_busy_gets_fewer_at_once_and_then_more_again() {
    let world = World::new().await;
    assert_eq!(world.run(&tasks("a", 4, "later 1000")).await.status, DispatchStatus::Success);
    let id = start(&world, &tasks("b", 12, "slow")).await;
    assert_eq!(n_started(&world, "b"), 2, "half of those that were too many");
    assert_eq!(world.finish(id).await.status, DispatchStatus::Success);
    let starts = starts(&world, "b");
    let most = starts.iter().map(|at| starts.iter().filter(|it| *it == at).count()).max();
    assert!(most > Some(2), "{starts:?}");
}
