//! A store of which any one commit or read fails, or all from some point on: what was promised
//! stays promised, nothing is promised in vain, and nothing that is done is done again.

use std::{ops::Range, sync::Arc, time::Duration};

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::testing::{Flaky, Registry, World, document, pass, task};
use crate::{
    model::{
        DispatchId, DispatchResult, DispatchStatus, ErrorCode, FailureCode, Refusal, RetryRequest,
        TaskStatus,
    },
    plan::RetryCall,
    ports::StoreError,
};

/// Numbers what is asked of a store, and lets a range of it fail.
#[derive(Debug, Default)]
pub(super) struct Faults(Mutex<(usize, Range<usize>)>);

impl Faults {
    /// Lets what is asked `from`-th from now on, and after it until `until`, fail.
    pub(super) fn fail(&self, range: Range<usize>) {
        *self.0.lock() = (0, range);
    }

    fn heal(&self) {
        self.0.lock().1 = 0..0;
    }

    fn n_asked(&self) -> usize {
        self.0.lock().0
    }

    /// Whether what is asked now is done.
    pub(super) fn next(&self, action: &'static str) -> Result<(), StoreError> {
        let (asked, failing) = &mut *self.0.lock();
        *asked += 1;
        let reason = || "input/output error".into();
        if failing.contains(&(*asked - 1)) {
            Err(StoreError::Unavailable { action, reason: reason() })
        } else {
            Ok(())
        }
    }
}

/// How long something may take that the store stands in the way of.
const A_WHILE: Duration = Duration::from_secs(30);

fn diamond() -> Value {
    let mut document = document("a\nb <- a\nc <- a\nd <- b c");
    document["tasks"][3]["input_data"]["whole"] = json!("${tasks.a.output.input}");
    document
}

async fn world() -> World {
    World::on(Arc::new(Flaky::default()), Arc::new(Registry::default()), 8).await
}

async fn another(world: World) -> World {
    let (store, registry) = (Arc::clone(&world.store), world.owners.registry());
    world.kill().await;
    World::on(store, registry, 8).await
}

/// How many times the store is asked for something in a life without faults.
async fn n_asked() -> usize {
    let world = world().await;
    world.store.faults.fail(0..0);
    let id = world.dispatch(&diamond()).await.unwrap();
    assert!(world.handle.wait(id, A_WHILE).await.unwrap());
    world.handle.result(id).await.unwrap();
    let n_asked = world.store.faults.n_asked();
    assert!(n_asked > 6, "{n_asked}");
    n_asked
}

/// Dispatches a diamond while the store fails; then the store works again.
async fn dispatch_with(world: &World, faults: Range<usize>) -> Option<DispatchId> {
    world.store.faults.fail(faults);
    let answered = world.dispatch(&diamond()).await;
    if let Ok(id) = answered {
        // Errors are no answers; only what is answered must be true.
        let ended = world.handle.wait(id, A_WHILE).await;
        let result = world.handle.result(id).await;
        for error in [ended.err(), result.err()].into_iter().flatten() {
            assert_unavailable(&error);
        }
    }
    world.store.faults.heal();
    answered.inspect_err(assert_unavailable).ok()
}

#[track_caller]
fn assert_unavailable(refusal: &Refusal) {
    assert_eq!(refusal.code(), ErrorCode::StorageUnavailable, "{refusal}");
}

/// What was refused has left nothing, and what was promised comes to its end.
async fn check(world: &World, answered: Option<DispatchId>) {
    match answered {
        Some(id) => check_result(world, &world.finish(id).await).await,
        None => assert_eq!(*world.agents.started.lock(), [""; 0], "started in vain"),
    }
    assert_once(world);
    let again = world.run(&diamond()).await;
    assert_eq!(again.status, DispatchStatus::Success, "it does not work again");
}

/// A task whose dependency's output could not be read fails and says why; a retry mends it.
async fn check_result(world: &World, result: &DispatchResult) {
    let unread = result.results.iter().find(|it| it.status == TaskStatus::Error);
    if let Some(unread) = unread {
        let failure = unread.failure.as_ref().unwrap();
        assert_eq!((unread.task_id.as_str(), failure.code), ("d", FailureCode::Interrupted));
        let dispatch_id = result.dispatch_id;
        let request = RetryRequest {
            dispatch_id,
            task_ids: None,
            overrides: None,
            budget: None,
            wait: None,
            wait_ms: None,
        };
        let ticket = world.handle.retry(RetryCall { request, wait_ms: 0 }, None).await.unwrap();
        let mended = world.finish(ticket.dispatch).await;
        return check_success(&mended);
    }
    check_success(result);
}

fn check_success(result: &DispatchResult) {
    assert_eq!(result.status, DispatchStatus::Success);
    assert_eq!(task(result, "d").output["input"]["whole"], json!({ "fate": "echo" }));
}

/// No task was called twice under one attempt.
fn assert_once(world: &World) {
    let mut started = world.agents.started.lock();
    started.sort();
    assert!(started.is_sorted_by(|a, b| a < b), "{started:?}");
    started.clear();
}

#[tokio::test(start_paused = true)]
async fn any_one_fault_of_the_store_breaks_no_promise() {
    for n in 0..=n_asked().await {
        let world = world().await;
        let answered = dispatch_with(&world, n..n + 1).await;
        check(&world, answered).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_from_any_point_on_breaks_no_promise_and_heals() {
    for n in 0..=n_asked().await {
        let world = world().await;
        let answered = dispatch_with(&world, n..usize::MAX).await;
        check(&world, answered).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_of_a_process_whose_store_fails_from_any_point_on_breaks_no_promise() {
    for n in 0..=n_asked().await {
        let world = world().await;
        let answered = dispatch_with(&world, n..usize::MAX - 1).await;
        let before = world.agents.started.lock().clone();
        let world = another(world).await;
        if let Some(id) = answered {
            let result = world.finish(id).await;
            let after = world.agents.started.lock().clone();
            assert!(after.iter().all(|it| !before.contains(it)), "{before:?}, then {after:?}");
            check_result(&world, &result).await;
        }
        world.agents.started.lock().clear();
        check(&world, None).await;
    }
}

/// The process that takes over meets the fault; the one after it does not.
#[tokio::test(start_paused = true)]
async fn any_one_fault_in_a_takeover_breaks_no_promise() {
    for n in 0..12 {
        let world = world().await;
        let id = world.dispatch(&document("a\nb !gate <- a\nc <- b")).await.unwrap();
        world.agents.wait_for_start("b#1").await;
        world.store.faults.fail(n..n + 1);
        let world = another(world).await;
        pass(A_WHILE).await;
        world.store.faults.heal();
        let world = another(world).await;
        world.agents.gate.send_replace(true);
        let result = world.finish(id).await;
        assert_eq!(result.status, DispatchStatus::Success);
        let started = world.agents.started.lock();
        assert!(started.iter().all(|it| !it.starts_with('a')), "{started:?}");
        let attempts = task(&result, "b").attempts;
        assert!((2..=3).contains(&attempts), "{attempts}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_result_that_cannot_be_looked_for_lets_the_task_run() {
    let mut document = diamond();
    document["config"] = json!({ "cache": "reuse" });
    let (mut n, mut n_run) = (0, 0);
    loop {
        let world = world().await;
        assert_eq!(world.run(&document).await.status, DispatchStatus::Success);
        world.store.faults.fail(n..n + 1);
        let answered = world.dispatch(&document).await;
        if let Ok(id) = answered {
            let _unavailable = world.handle.wait(id, A_WHILE).await;
            world.store.faults.heal();
            let result = world.finish(id).await;
            assert_eq!(result.status, DispatchStatus::Success, "with fault {n}");
            let n_again = world.agents.started.lock().len() - 4;
            assert_eq!(n_again, 4 - result.summary.reused, "with fault {n}");
            n_run += n_again;
        }
        if world.store.faults.n_asked() <= n {
            break;
        }
        n += 1;
    }
    assert!(n_run > 0, "no fault was met by a look");
}
