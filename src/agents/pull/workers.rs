//! The board as workers reach it, shared by all agents whose workers pull.

use std::{collections::BTreeMap, pin::pin, sync::Arc};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::Notify;
use uuid::Uuid;

use super::{
    agent::PullAgent,
    board::{Board, Standing, Ticket, Work, traced},
};
use crate::{
    model::{AgentName, ClaimedTask, Failure, HandedIn, LeaseId, LeaseReport, Millis, Timestamp},
    ports::{AgentBackend, Claim, Clock, Heartbeat, WorkBoard},
};

/// The agents whose workers pull, and the attempts that wait for these; clones are the same one.
#[derive(Clone, Debug)]
pub struct PullWorkers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// How often each agent's workers are to show up.
    heartbeats: BTreeMap<AgentName, Millis>,
    clock: Arc<dyn Clock>,
    /// Guards the board for the time of one step of it.
    board: Mutex<Board<Signal>>,
    /// Fires whenever an attempt begins to wait.
    offered: Notify,
}

/// What hears of one attempt on the board.
#[derive(Debug)]
struct Signal {
    /// Fires when somebody claims it, or ends it.
    changed: Arc<Notify>,
    /// Shows the attempt's progress to whoever started it.
    heartbeat: Heartbeat,
}

/// An attempt on the board; it is taken off when this is dropped.
#[derive(Debug)]
pub(super) struct Offered<'a> {
    workers: &'a PullWorkers,
    ticket: Ticket,
    changed: Arc<Notify>,
}

impl PullWorkers {
    /// Serves these agents, with how often each one's workers are to show up. Nothing waits yet.
    pub fn new(heartbeats: BTreeMap<AgentName, Millis>, clock: Arc<dyn Clock>) -> Self {
        let (board, offered) = (Mutex::new(Board::new()), Notify::new());
        Self(Arc::new(Inner { heartbeats, clock, board, offered }))
    }

    /// What serves `agent`, where its workers pull.
    pub fn bind(&self, agent: &AgentName) -> Option<Arc<dyn AgentBackend>> {
        let heartbeat = *self.0.heartbeats.get(agent)?;
        Some(Arc::new(PullAgent::new(agent, heartbeat, self.clone())))
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        &*self.0.clock
    }

    /// Puts an attempt up for workers.
    pub(super) fn offer(&self, work: Work, heartbeat: Heartbeat) -> Offered<'_> {
        let changed = Arc::new(Notify::new());
        let signal = Signal { changed: Arc::clone(&changed), heartbeat };
        let ticket = self.0.board.lock().offer(work, signal);
        self.0.offered.notify_waiters();
        Offered { workers: self, ticket, changed }
    }

    fn try_claim(&self, claim: &Claim) -> Option<ClaimedTask> {
        let lease = LeaseId::new(Uuid::new_v4());
        let (work, until) = {
            let mut board = self.0.board.lock();
            let now = self.0.clock.now();
            let (work, until, signal) = board.claim((lease, &claim.worker), &claim.agents, now)?;
            signal.heartbeat.beat();
            signal.changed.notify_one();
            (work, until)
        };
        Some(ClaimedTask {
            dispatch_id: work.dispatch_id,
            task_id: work.task_id.clone(),
            attempt: work.attempt,
            lease,
            agent: work.agent.clone(),
            description: (*work.description).to_owned(),
            input: work.input.clone(),
            lease_until: Timestamp(until),
            heartbeat_seconds: work.heartbeat.seconds(),
            deadline: Timestamp(work.deadline),
            trace: traced(work.trace.as_ref(), lease).0,
        })
    }

    async fn wait_and_claim(&self, claim: Claim) -> Option<ClaimedTask> {
        let wait = u64::try_from(claim.wait.as_millis()).unwrap_or(u64::MAX);
        let mut over = self.0.clock.sleep_until(self.0.clock.now() + Millis(wait));
        loop {
            let mut offered = pin!(self.0.offered.notified());
            // From here on nothing is missed, whatever happens before the wait.
            offered.as_mut().enable();
            if let Some(task) = self.try_claim(&claim) {
                return Some(task);
            }
            tokio::select! {
                biased;
                () = offered => (),
                () = &mut over => return None,
            }
        }
    }
}

impl Offered<'_> {
    /// Waits for how the attempt stands next, as long as it only waits or is with a worker.
    pub(super) async fn next(&self) -> Standing {
        let PullWorkers(inner) = self.workers;
        loop {
            let standing = inner.board.lock().look(self.ticket, inner.clock.now());
            match standing {
                Standing::Waiting => self.changed.notified().await,
                Standing::Leased(until) => tokio::select! {
                    biased;
                    () = self.changed.notified() => (),
                    // A heartbeat may have moved it by then, which the next look sees.
                    () = inner.clock.sleep_until(until) => (),
                },
                Standing::Requeued(lease) => {
                    inner.offered.notify_waiters();
                    return Standing::Requeued(lease);
                }
                ended @ (Standing::Ended(..) | Standing::Gone) => return ended,
            }
        }
    }

    /// Takes the attempt off the board; answers who had it.
    pub(super) fn withdraw(&self) -> Option<super::board::Lease> {
        self.workers.0.board.lock().withdraw(self.ticket)
    }
}

impl Drop for Offered<'_> {
    fn drop(&mut self) {
        self.withdraw();
    }
}

impl WorkBoard for PullWorkers {
    fn agents(&self) -> Vec<AgentName> {
        self.0.heartbeats.keys().cloned().collect()
    }

    fn claim(&self, claim: Claim) -> BoxFuture<'_, Option<ClaimedTask>> {
        Box::pin(self.wait_and_claim(claim))
    }

    fn n_waiting(&self, agents: &[AgentName]) -> usize {
        self.0.board.lock().n_waiting(agents)
    }

    fn heartbeat(&self, lease: LeaseId) -> Option<LeaseReport> {
        let mut board = self.0.board.lock();
        let (work, until, signal) = board.beat(lease, self.0.clock.now())?;
        signal.heartbeat.beat();
        let heartbeat_seconds = work.heartbeat.seconds();
        Some(LeaseReport { lease_until: Timestamp(until), heartbeat_seconds })
    }

    fn hand_in(&self, lease: LeaseId, result: Result<Value, Failure>) -> Option<HandedIn> {
        let mut board = self.0.board.lock();
        let (work, signal) = board.end(lease, result, self.0.clock.now())?;
        signal.changed.notify_one();
        Some(HandedIn {
            dispatch_id: work.dispatch_id,
            task_id: work.task_id.clone(),
            attempt: work.attempt,
            status: None,
        })
    }
}
