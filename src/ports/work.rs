//! Where workers get tasks that they do themselves: the board that agents which wait for workers
//! put their attempts on.

use std::{fmt::Debug, time::Duration};

use futures::future::BoxFuture;
use serde_json::Value;

use crate::model::{AgentName, ClaimedTask, Failure, HandedIn, LeaseId, LeaseReport};

/// What a worker asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// What it is called.
    pub worker: String,
    /// The agents that it serves; all where there are none.
    pub agents: Vec<AgentName>,
    /// How long it waits for a task.
    pub wait: Duration,
}

/// The attempts of this process that wait for a worker or are with one.
///
/// A lease is in force from its claim until it lapses, the attempt ends, or the process does; what
/// is said under another one has no effect and is answered `None`.
pub trait WorkBoard: Debug + Send + Sync {
    /// The agents whose workers pull.
    fn agents(&self) -> Vec<AgentName>;

    /// Takes the attempt that has waited longest, after a wait for one if there is none. Dropping
    /// the future takes nothing.
    fn claim(&self, claim: Claim) -> BoxFuture<'_, Option<ClaimedTask>>;

    /// How many attempts wait for a worker of these agents; of all where none are named.
    fn n_waiting(&self, agents: &[AgentName]) -> usize;

    /// Renews a lease.
    fn heartbeat(&self, lease: LeaseId) -> Option<LeaseReport>;

    /// Ends the attempt of a lease, and the lease with it.
    fn hand_in(&self, lease: LeaseId, result: Result<Value, Failure>) -> Option<HandedIn>;
}
