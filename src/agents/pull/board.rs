//! Which attempts wait for a worker, and which worker has which: a state machine without a clock.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::model::{
    AgentName, Attempt, DispatchId, Failure, FailureCode, LeaseId, Lineage, Millis, SpanId, TaskId,
    TraceContext, text,
};

/// How many workers may let their leases of one attempt lapse; the last one ends it.
pub(super) const LAPSES_MAX: u32 = 3;
/// How many heartbeats may be missed before a lease lapses.
const MISSED_MAX: u64 = 2;

/// An attempt on the board, in the order in which they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

/// What a worker is given to do.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Work {
    pub(super) dispatch_id: DispatchId,
    pub(super) task_id: TaskId,
    pub(super) attempt: Attempt,
    pub(super) agent: AgentName,
    pub(super) description: Arc<str>,
    pub(super) input: Map<String, Value>,
    /// How often a heartbeat is expected.
    pub(super) heartbeat: Millis,
    /// When the attempt ends by itself.
    pub(super) deadline: Millis,
    /// The trace that the attempt belongs to.
    pub(super) trace: Option<Lineage>,
}

/// A worker's claim on an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) id: LeaseId,
    pub(super) worker: Box<str>,
    pub(super) since: Millis,
    /// In force before this time only.
    pub(super) until: Millis,
}

/// How an attempt stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Standing {
    /// For the next worker.
    Waiting,
    /// The same, since just now: this lease has lapsed.
    Requeued(Lease),
    /// With a worker, until then unless it shows up before.
    Leased(Millis),
    /// Ended under this lease; it is no longer on the board.
    Ended(Lease, Result<Value, Failure>),
    /// Not on the board.
    Gone,
}

/// The attempts that are open. `S` is whatever hears of changes to one of them.
///
/// Invariant: `waiting` holds the tickets of the offers in [`State::Waiting`], and `leases` those
/// in [`State::Leased`].
#[derive(Debug)]
pub(super) struct Board<S> {
    offers: BTreeMap<Ticket, Offer<S>>,
    waiting: BTreeMap<AgentName, BTreeSet<Ticket>>,
    leases: BTreeMap<LeaseId, Ticket>,
    next: Ticket,
}

#[derive(Debug)]
struct Offer<S> {
    work: Arc<Work>,
    state: State,
    n_lapsed: u32,
    signal: S,
}

#[derive(Debug)]
enum State {
    Waiting,
    Leased(Lease),
    Ended(Lease, Result<Value, Failure>),
}

impl<S> Board<S> {
    pub(super) fn new() -> Self {
        Self {
            offers: BTreeMap::new(),
            waiting: BTreeMap::new(),
            leases: BTreeMap::new(),
            next: Ticket(0),
        }
    }

    /// Puts an attempt up for workers.
    pub(super) fn offer(&mut self, work: Work, signal: S) -> Ticket {
        let ticket = self.next;
        self.next = Ticket(ticket.0 + 1);
        let offer = Offer { work: Arc::new(work), state: State::Waiting, n_lapsed: 0, signal };
        self.queue(&offer.work.agent.clone(), ticket);
        self.offers.insert(ticket, offer);
        ticket
    }

    /// Gives the attempt of these agents that came first to a worker; of all agents where none are
    /// named. One that lapsed kept its place.
    pub(super) fn claim(
        &mut self,
        (id, worker): (LeaseId, &str),
        agents: &[AgentName],
        now: Millis,
    ) -> Option<(Arc<Work>, Millis, &S)> {
        let (agent, ticket) = self
            .queues(agents)
            .filter_map(|(agent, queue)| Some((agent, *queue.first()?)))
            .min_by_key(|it| it.1)
            .map(|(agent, ticket)| (agent.clone(), ticket))?;
        self.unqueue(&agent, ticket);
        self.leases.insert(id, ticket);
        let offer = self.offers.get_mut(&ticket)?;
        let until = term(&offer.work, now);
        offer.state = State::Leased(Lease { id, worker: worker.into(), since: now, until });
        Some((Arc::clone(&offer.work), until, &offer.signal))
    }

    /// Renews a lease that is in force.
    pub(super) fn beat(&mut self, id: LeaseId, now: Millis) -> Option<(Arc<Work>, Millis, &S)> {
        let ticket = self.in_force(id, now)?;
        let offer = self.offers.get_mut(&ticket)?;
        let renewed = term(&offer.work, now);
        if let State::Leased(lease) = &mut offer.state {
            lease.until = renewed;
        }
        Some((Arc::clone(&offer.work), renewed, &offer.signal))
    }

    /// Ends the attempt of a lease that is in force.
    pub(super) fn end(
        &mut self,
        id: LeaseId,
        result: Result<Value, Failure>,
        now: Millis,
    ) -> Option<(Arc<Work>, &S)> {
        let ticket = self.in_force(id, now)?;
        self.leases.remove(&id);
        let offer = self.offers.get_mut(&ticket)?;
        if let State::Leased(lease) = std::mem::replace(&mut offer.state, State::Waiting) {
            offer.state = State::Ended(lease, result);
        }
        Some((Arc::clone(&offer.work), &offer.signal))
    }

    /// Says how an attempt stands, after putting it back where its lease has lapsed.
    pub(super) fn look(&mut self, ticket: Ticket, now: Millis) -> Standing {
        let Some(offer) = self.offers.get_mut(&ticket) else { return Standing::Gone };
        match &offer.state {
            State::Waiting => Standing::Waiting,
            State::Leased(lease) if now < lease.until => Standing::Leased(lease.until),
            State::Leased(lease) => {
                let (lease, agent) = (lease.clone(), offer.work.agent.clone());
                offer.n_lapsed += 1;
                self.leases.remove(&lease.id);
                if offer.n_lapsed >= LAPSES_MAX {
                    let failure = Failure::new(FailureCode::Interrupted, given_up(&lease));
                    self.offers.remove(&ticket);
                    return Standing::Ended(lease, Err(failure));
                }
                offer.state = State::Waiting;
                self.queue(&agent, ticket);
                Standing::Requeued(lease)
            }
            State::Ended(..) => match self.offers.remove(&ticket).map(|it| it.state) {
                Some(State::Ended(lease, result)) => Standing::Ended(lease, result),
                Some(State::Waiting | State::Leased(_)) | None => Standing::Gone,
            },
        }
    }

    /// Takes an attempt off the board, whoever has it; answers who had.
    pub(super) fn withdraw(&mut self, ticket: Ticket) -> Option<Lease> {
        let offer = self.offers.remove(&ticket)?;
        match offer.state {
            State::Waiting => {
                self.unqueue(&offer.work.agent, ticket);
                None
            }
            State::Leased(lease) => {
                self.leases.remove(&lease.id);
                Some(lease)
            }
            State::Ended(lease, _) => Some(lease),
        }
    }

    /// How many attempts of these agents wait; of all agents where none are named.
    pub(super) fn n_waiting(&self, agents: &[AgentName]) -> usize {
        self.queues(agents).map(|it| it.1.len()).sum()
    }

    /// Checks the invariant; `said` is what led here.
    #[cfg(test)]
    #[track_caller]
    pub(super) fn assert_consistent(&self, said: &str) {
        let Self { offers, waiting, leases, .. } = self;
        for (ticket, offer) in offers {
            let queue = waiting.get(&offer.work.agent);
            let is_queued = queue.is_some_and(|it| it.contains(ticket));
            assert_eq!(is_queued, matches!(offer.state, State::Waiting), "{said}");
            let holder = leases.iter().find(|it| it.1 == ticket).map(|it| *it.0);
            let State::Leased(lease) = &offer.state else {
                assert_eq!(holder, None, "{said}");
                continue;
            };
            assert_eq!(holder, Some(lease.id), "{said}");
        }
        let n_known = waiting.values().map(BTreeSet::len).sum::<usize>() + leases.len();
        assert!(n_known <= offers.len(), "{said}");
    }

    fn in_force(&self, id: LeaseId, now: Millis) -> Option<Ticket> {
        let ticket = *self.leases.get(&id)?;
        let State::Leased(lease) = &self.offers.get(&ticket)?.state else { return None };
        (now < lease.until).then_some(ticket)
    }

    fn queues(
        &self,
        agents: &[AgentName],
    ) -> impl Iterator<Item = (&AgentName, &BTreeSet<Ticket>)> {
        self.waiting.iter().filter(move |it| agents.is_empty() || agents.contains(it.0))
    }

    fn queue(&mut self, agent: &AgentName, ticket: Ticket) {
        self.waiting.entry(agent.clone()).or_default().insert(ticket);
    }

    fn unqueue(&mut self, agent: &AgentName, ticket: Ticket) {
        if let Some(queue) = self.waiting.get_mut(agent) {
            queue.remove(&ticket);
        }
    }
}

/// What a worker under this lease goes on with, and the span that its work is. Its name is of a
/// digest, for a lease is a secret.
pub(super) fn traced(
    trace: Option<&Lineage>,
    lease: LeaseId,
) -> (Option<TraceContext>, Option<SpanId>) {
    let own = SpanId::new(&Sha256::digest(lease.as_bytes()));
    trace.map(|it| it.of_call(own)).map_or((None, None), |(context, span)| (Some(context), span))
}

/// When a lease lapses that was given or renewed at `now`.
fn term(work: &Work, now: Millis) -> Millis {
    now + Millis(work.heartbeat.0.saturating_mul(MISSED_MAX))
}

fn given_up(last: &Lease) -> String {
    let worker = text::escape(&last.worker);
    format!("{LAPSES_MAX} workers claimed it and were not heard of again, \"{worker}\" last")
}
