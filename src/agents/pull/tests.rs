//! Agents and their workers, in time that only moves when everybody waits.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use serde_json::{Value, json};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, advance, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::PullWorkers;
use crate::{
    agents::tool::testing::attempt_call,
    model::{
        AgentName, Attempt, ClaimedTask, Failure, FailureCode, LeaseId, Millis, TaskId, Timestamp,
        UpstreamCall,
    },
    ports::{AttemptCall, Claim, Clock, Heartbeat, WorkBoard as _},
};

/// How often workers are to show up.
const HEARTBEAT: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct TokioClock(Instant);

impl Clock for TokioClock {
    fn now(&self) -> Millis {
        Millis(self.0.elapsed().as_millis().try_into().unwrap())
    }

    fn sleep_until(&self, at: Millis) -> BoxFuture<'static, ()> {
        Box::pin(sleep_until(self.0 + Duration::from_millis(at.0)))
    }
}

/// The agents `coder` and `reviewer`, and attempts at them.
struct Place(PullWorkers);

/// An attempt that runs.
struct Running {
    ended: JoinHandle<Result<Value, Failure>>,
    noted: mpsc::UnboundedReceiver<UpstreamCall>,
    heartbeat: Heartbeat,
    cancelled: CancellationToken,
}

impl Place {
    fn new() -> Self {
        let beat = Millis(HEARTBEAT.as_millis().try_into().unwrap());
        let heartbeats: BTreeMap<_, _> =
            ["coder", "reviewer"].map(|it| (AgentName::new(it), beat)).into();
        Self(PullWorkers::new(heartbeats, Arc::new(TokioClock(Instant::now()))))
    }

    /// Starts an attempt that may take so many seconds, and lets it get to the board.
    async fn start(&self, task: &str, agent: &str, seconds: u64) -> Running {
        let (calls, noted) = mpsc::unbounded_channel();
        let call = AttemptCall {
            task_id: TaskId::new(task),
            agent: AgentName::new(agent),
            timeout: Duration::from_secs(seconds),
            heartbeat: Heartbeat::heard(),
            ..attempt_call(calls)
        };
        let (heartbeat, cancelled) = (call.heartbeat.clone(), call.cancelled.clone());
        let backend = self.0.bind(&AgentName::new(agent)).unwrap();
        let ended = tokio::spawn(async move { backend.run(call).await });
        tokio::task::yield_now().await;
        Running { ended, noted, heartbeat, cancelled }
    }

    async fn claim(&self, worker: &str, agents: &[&str], seconds: u64) -> Option<ClaimedTask> {
        let agents = agents.iter().map(|it| AgentName::new(it)).collect();
        let wait = Duration::from_secs(seconds);
        self.0.claim(Claim { worker: worker.to_owned(), agents, wait }).await
    }

    fn complete(&self, lease: LeaseId) -> bool {
        self.0.hand_in(lease, Ok(json!({ "done": true }))).is_some()
    }
}

impl Running {
    async fn end(self) -> Result<Value, Failure> {
        self.ended.await.unwrap()
    }

    /// What was noted so far: who worked, for how long, and what went wrong.
    fn notes(&mut self) -> Vec<(String, u64, Option<String>)> {
        let mut notes = Vec::new();
        while let Ok(it) = self.noted.try_recv() {
            assert_eq!((it.upstream.as_str(), it.ok), ("workers", it.error.is_none()));
            notes.push((it.tool, it.duration_ms, it.error));
        }
        notes
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_gets_what_an_agent_is_asked_and_its_output_is_the_agents() {
    let place = Place::new();
    let mut running = place.start("t-1", "coder", 100).await;
    let task = place.claim("one", &[], 0).await.unwrap();
    assert_eq!((task.task_id.as_str(), task.attempt), ("t-1", Attempt(3)));
    assert_eq!((task.agent.as_str(), task.description.as_str()), ("coder", "write it"));
    assert_eq!(Value::Object(task.input), json!({ "node_type": "Effect", "n": [1] }));
    assert_eq!(task.lease_until, Timestamp(Millis(10_000)));
    assert_eq!(task.deadline, Timestamp(Millis(100_000)));
    running.heartbeat.beaten().await;
    advance(Duration::from_secs(9)).await;
    let report = place.0.heartbeat(task.lease).unwrap();
    assert_eq!(report.lease_until, Timestamp(Millis(19_000)));
    running.heartbeat.beaten().await;
    advance(Duration::from_secs(9)).await;
    assert!(place.complete(task.lease));
    assert!(!place.complete(task.lease), "it was taken twice");
    let notes = async {
        let ended = (&mut running.ended).await.unwrap();
        assert_eq!(ended, Ok(json!({ "done": true })));
        running.notes()
    };
    assert_eq!(notes.await, [("one".to_owned(), 18_000, None)]);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_not_heard_of_loses_its_task_to_the_next() {
    let place = Place::new();
    let mut running = place.start("t-1", "coder", 100).await;
    let first = place.claim("one", &["coder"], 0).await.unwrap();
    // Whoever waits gets it the moment the lease lapses.
    let second = place.claim("two", &["coder"], 60).await.unwrap();
    assert_eq!(second.lease_until, Timestamp(Millis(20_000)));
    assert_eq!((&second.task_id, second.attempt), (&first.task_id, first.attempt));
    assert_ne!(first.lease, second.lease);
    assert!(place.0.heartbeat(first.lease).is_none() && !place.complete(first.lease));
    assert!(place.complete(second.lease));
    assert_eq!((&mut running.ended).await.unwrap(), Ok(json!({ "done": true })));
    let notes = running.notes();
    let lapsed = Some("the lease lapsed: no heartbeat came in time".to_owned());
    assert_eq!(notes, [("one".to_owned(), 10_000, lapsed), ("two".to_owned(), 0, None)]);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_workers_drop_thrice_fails() {
    let place = Place::new();
    let running = place.start("t-1", "coder", 100).await;
    for worker in ["one", "two", "three"] {
        assert!(place.claim(worker, &[], 60).await.is_some());
    }
    let failure = running.end().await.unwrap_err();
    assert_eq!(failure.code, FailureCode::Interrupted);
    let expected = "3 workers claimed it and were not heard of again, \"three\" last";
    assert_eq!(&*failure.message, expected);
    assert_eq!(place.0.n_waiting(&[]), 0);
}

#[tokio::test(start_paused = true)]
async fn what_a_worker_says_of_a_failure_is_the_attempts() {
    let place = Place::new();
    let mut running = place.start("t-1", "coder", 100).await;
    let task = place.claim("one", &[], 0).await.unwrap();
    let failure = Failure::new(FailureCode::CheckFailed, "no tests");
    let handed_in = place.0.hand_in(task.lease, Err(failure.clone())).unwrap();
    assert_eq!((handed_in.task_id.as_str(), handed_in.attempt), ("t-1", Attempt(3)));
    assert_eq!((&mut running.ended).await.unwrap(), Err(failure));
    assert_eq!(running.notes(), [("one".to_owned(), 0, Some("no tests".to_owned()))]);
}

#[tokio::test(start_paused = true)]
async fn time_ends_an_attempt_whether_anybody_has_it_or_not() {
    let place = Place::new();
    let failure = place.start("t-1", "coder", 30).await.end().await.unwrap_err();
    assert_eq!(failure.code, FailureCode::Timeout);
    assert_eq!(&*failure.message, "no worker claimed it, or none that stayed, within 30 s");
    let running = place.start("t-2", "coder", 7).await;
    let task = place.claim("o\"ne\u{7}", &[], 0).await.unwrap();
    let failure = running.end().await.unwrap_err();
    let expected = "worker \"o\"ne\\u{7}\" claimed it and was not done after 7 s in all";
    assert_eq!(&*failure.message, expected);
    assert!(!place.complete(task.lease));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_is_given_up_is_nobodys() {
    let place = Place::new();
    let mut cancelled = place.start("t-1", "coder", 100).await;
    let task = place.claim("one", &[], 0).await.unwrap();
    cancelled.cancelled.cancel();
    let failure = (&mut cancelled.ended).await.unwrap().unwrap_err();
    assert_eq!(failure.code, FailureCode::Cancelled);
    assert!(place.0.heartbeat(task.lease).is_none() && !place.complete(task.lease));
    assert_eq!(cancelled.notes().len(), 1);
    let dropped = place.start("t-2", "coder", 100).await;
    assert_eq!(place.0.n_waiting(&[]), 1);
    dropped.ended.abort();
    assert!(dropped.ended.await.unwrap_err().is_cancelled());
    assert_eq!(place.0.n_waiting(&[]), 0);
    assert!(place.claim("two", &[], 60).await.is_none(), "there is nothing to claim");
}

#[tokio::test(start_paused = true)]
async fn workers_wait_for_tasks_of_their_agents_only() {
    let place = Place::new();
    let started = Instant::now();
    assert!(place.claim("one", &[], 20).await.is_none());
    assert_eq!(started.elapsed().as_secs(), 20);
    let (reviewer, any) = tokio::join!(place.claim("one", &["reviewer"], 60), async {
        let _coder = place.start("t-1", "coder", 100).await;
        let _reviewer = place.start("t-2", "reviewer", 100).await;
        place.claim("two", &[], 60).await
    });
    assert_eq!(reviewer.unwrap().task_id.as_str(), "t-2");
    assert_eq!(any.unwrap().task_id.as_str(), "t-1");
    let given_up = tokio::time::timeout(Duration::from_secs(1), place.claim("one", &[], 60));
    assert!(given_up.await.is_err());
    let _later = place.start("t-3", "coder", 100).await;
    assert!(place.claim("two", &[], 0).await.is_some(), "who gave up takes nothing");
}

#[tokio::test]
async fn agents_that_nobody_pulls_for_are_not_bound_here() {
    let place = Place::new();
    assert!(place.0.bind(&AgentName::new("debug")).is_none());
    let backend = place.0.bind(&AgentName::new("agent_coder")).unwrap();
    assert_eq!(backend.lane(), "workers/coder");
    assert_eq!(place.0.agents(), ["coder", "reviewer"].map(AgentName::new));
}
