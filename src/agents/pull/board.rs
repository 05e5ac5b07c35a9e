//! Which attempts wait for a worker, and which worker has which: a state machine without a clock.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::{Map, Value};

use crate::model::{
    AgentName, Attempt, DispatchId, Failure, FailureCode, LeaseId, Millis, TaskId, text,
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

/// When a lease lapses that was given or renewed at `now`.
fn term(work: &Work, now: Millis) -> Millis {
    now + Millis(work.heartbeat.0.saturating_mul(MISSED_MAX))
}

fn given_up(last: &Lease) -> String {
    let worker = text::escape(&last.worker);
    format!("{LAPSES_MAX} workers claimed it and were not heard of again, \"{worker}\" last")
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use uuid::Uuid;

    use super::*;

    /// A board, and what happens to it: leases are named by numbers, times are milliseconds. A
    /// heartbeat is expected every 10 ms.
    struct Scene {
        board: Board<()>,
        tickets: BTreeMap<String, Ticket>,
        said: String,
    }

    fn lease(number: u128) -> LeaseId {
        LeaseId::new(Uuid::from_u128(number))
    }

    fn work(task: &str, agent: &str) -> Work {
        Work {
            dispatch_id: DispatchId::new(Uuid::nil()),
            task_id: TaskId::new(task),
            attempt: Attempt(1),
            agent: AgentName::new(agent),
            description: "do it".into(),
            input: Map::new(),
            heartbeat: Millis(10),
            deadline: Millis(1_000),
        }
    }

    impl Scene {
        fn play(&mut self, line: &str) -> String {
            let words: Vec<&str> = line.split_whitespace().collect();
            let number = |at: usize| words[at].parse::<u64>().unwrap();
            let id = |at: usize| lease(u128::from(number(at)));
            let board = &mut self.board;
            match words[0] {
                "offer" => {
                    let ticket = board.offer(work(words[1], words[2]), ());
                    self.tickets.insert(words[1].to_owned(), ticket);
                    String::new()
                }
                "claim" => {
                    let agents: Vec<_> = words[3..].iter().map(|it| AgentName::new(it)).collect();
                    match board.claim((id(1), "w"), &agents, Millis(number(2))) {
                        Some((work, until, ())) => format!("{} until {}", work.task_id, until.0),
                        None => "nothing".to_owned(),
                    }
                }
                "beat" => match board.beat(id(1), Millis(number(2))) {
                    Some((work, until, ())) => format!("{} until {}", work.task_id, until.0),
                    None => "lost".to_owned(),
                },
                "end" => match board.end(id(1), Ok(words[3].into()), Millis(number(2))) {
                    Some((work, ())) => format!("{} ended", work.task_id),
                    None => "lost".to_owned(),
                },
                "look" => {
                    let ticket = self.tickets[words[1]];
                    match board.look(ticket, Millis(number(2))) {
                        Standing::Leased(until) => format!("leased until {}", until.0),
                        Standing::Requeued(it) => {
                            format!("requeued, was claimed at {}", it.since.0)
                        }
                        Standing::Ended(_, Ok(output)) => format!("ended with {output}"),
                        Standing::Ended(_, Err(failure)) => {
                            format!("{}: {}", failure.code.as_str(), failure.message)
                        }
                        other @ (Standing::Waiting | Standing::Gone) => format!("{other:?}"),
                    }
                }
                "withdraw" => {
                    let had = board.withdraw(self.tickets[words[1]]);
                    had.map_or_else(
                        || "nobody had it".to_owned(),
                        |it| format!("{} had it", it.worker),
                    )
                }
                "waiting" => {
                    let agents: Vec<_> = words[1..].iter().map(|it| AgentName::new(it)).collect();
                    board.n_waiting(&agents).to_string()
                }
                other => panic!("{other}?"),
            }
        }

        fn is_consistent(&self) {
            let Board { offers, waiting, leases, .. } = &self.board;
            for (ticket, offer) in offers {
                let queue = waiting.get(&offer.work.agent);
                let is_queued = queue.is_some_and(|it| it.contains(ticket));
                assert_eq!(is_queued, matches!(offer.state, State::Waiting), "{}", self.said);
                let holder = leases.iter().find(|it| it.1 == ticket).map(|it| *it.0);
                let State::Leased(lease) = &offer.state else {
                    assert_eq!(holder, None, "{}", self.said);
                    continue;
                };
                assert_eq!(holder, Some(lease.id), "{}", self.said);
            }
            let n_known = waiting.values().map(BTreeSet::len).sum::<usize>() + leases.len();
            assert!(n_known <= offers.len(), "{}", self.said);
        }
    }

    #[track_caller]
    fn check(lines: &str, expected: &Expect) {
        let (board, tickets) = (Board::new(), BTreeMap::new());
        let mut scene = Scene { board, tickets, said: String::new() };
        for line in lines.lines().map(str::trim).filter(|it| !it.is_empty()) {
            let answer = scene.play(line);
            let arrow = if answer.is_empty() { "" } else { " -> " };
            scene.said.extend([line, arrow, answer.as_str(), "\n"]);
            scene.is_consistent();
        }
        expected.assert_eq(&scene.said);
    }

    #[test]
    fn who_came_first_is_served_first_and_only_to_workers_of_its_agent() {
        check(
            "offer a coder
             offer b tester
             offer c coder
             waiting
             waiting coder
             claim 1 0 tester nobody
             claim 2 0 tester
             claim 3 0
             claim 4 0 tester coder
             claim 5 0
             waiting",
            &expect![[r"
                offer a coder
                offer b tester
                offer c coder
                waiting -> 3
                waiting coder -> 2
                claim 1 0 tester nobody -> b until 20
                claim 2 0 tester -> nothing
                claim 3 0 -> a until 20
                claim 4 0 tester coder -> c until 20
                claim 5 0 -> nothing
                waiting -> 0
            "]],
        );
    }

    #[test]
    fn heartbeats_keep_a_lease_and_its_end_ends_it() {
        check(
            "offer a coder
             look a 0
             claim 1 0
             beat 1 19
             look a 38
             end 1 38 done
             end 1 38 again
             beat 1 38
             look a 1000
             look a 1000",
            &expect![[r#"
                offer a coder
                look a 0 -> Waiting
                claim 1 0 -> a until 20
                beat 1 19 -> a until 39
                look a 38 -> leased until 39
                end 1 38 done -> a ended
                end 1 38 again -> lost
                beat 1 38 -> lost
                look a 1000 -> ended with "done"
                look a 1000 -> Gone
            "#]],
        );
    }

    #[test]
    fn a_lease_lapses_whether_anybody_looks_or_not_and_its_holder_is_fenced() {
        check(
            "offer a coder
             offer b coder
             claim 1 0
             beat 1 20
             end 1 20 late
             look a 20
             beat 1 20
             claim 2 25
             end 1 26 late
             beat 2 26
             end 2 27 done
             look a 27
             claim 3 30",
            &expect![[r#"
                offer a coder
                offer b coder
                claim 1 0 -> a until 20
                beat 1 20 -> lost
                end 1 20 late -> lost
                look a 20 -> requeued, was claimed at 0
                beat 1 20 -> lost
                claim 2 25 -> a until 45
                end 1 26 late -> lost
                beat 2 26 -> a until 46
                end 2 27 done -> a ended
                look a 27 -> ended with "done"
                claim 3 30 -> b until 50
            "#]],
        );
    }

    #[test]
    fn the_third_lapse_ends_the_attempt() {
        check(
            "offer a coder
             claim 1 0
             look a 20
             claim 2 20
             look a 39
             look a 40
             claim 3 40
             look a 60
             look a 60
             claim 4 60
             beat 3 60
             waiting",
            &expect![[r#"
                offer a coder
                claim 1 0 -> a until 20
                look a 20 -> requeued, was claimed at 0
                claim 2 20 -> a until 40
                look a 39 -> leased until 40
                look a 40 -> requeued, was claimed at 20
                claim 3 40 -> a until 60
                look a 60 -> interrupted: 3 workers claimed it and were not heard of again, "w" last
                look a 60 -> Gone
                claim 4 60 -> nothing
                beat 3 60 -> lost
                waiting -> 0
            "#]],
        );
    }

    #[test]
    fn what_is_withdrawn_is_nobodys() {
        check(
            "offer a coder
             offer b coder
             claim 1 0
             withdraw a
             beat 1 1
             end 1 1 done
             look a 1
             withdraw b
             withdraw b
             claim 2 1
             offer c coder
             claim 3 1
             end 3 2 done
             withdraw c
             look c 2",
            &expect![[r"
                offer a coder
                offer b coder
                claim 1 0 -> a until 20
                withdraw a -> w had it
                beat 1 1 -> lost
                end 1 1 done -> lost
                look a 1 -> Gone
                withdraw b -> nobody had it
                withdraw b -> nobody had it
                claim 2 1 -> nothing
                offer c coder
                claim 3 1 -> c until 21
                end 3 2 done -> c ended
                withdraw c -> w had it
                look c 2 -> Gone
            "]],
        );
    }
}
