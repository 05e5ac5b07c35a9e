//! A world for the scheduler: time that jumps, agents that obey a script, a journal in memory.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    sync::Arc,
};

use expect_test::Expect;

use super::{
    Action, Decision, Event, Input, Outbox, Policy, RetryPolicy, Scheduler, TaskPolicy, TaskState,
    oracle::Oracle,
};
use crate::{
    model::{
        Attempt, AttemptResult, DispatchStatus, Failure, FailureCode, Millis, OnFailure, RetrySpec,
        TaskIdx,
    },
    plan::{
        Edge, TaskGraph,
        testing::{Drawing, parse},
    },
};

/// Runs the graph in `text` with two workers, each attempt taking 10 ms unless its fate says
/// otherwise: `!fail`, `!hang`; `!fail CODE N` fails the first N attempts only.
#[track_caller]
pub(super) fn check(text: &str, on_failure: OnFailure, expected: &Expect) {
    check_with(text, on_failure, |_| (), expected);
}

/// Like [`check`], with a world that was prepared.
#[track_caller]
pub(super) fn check_with(
    text: &str,
    on_failure: OnFailure,
    prepare: impl FnOnce(&mut World),
    expected: &Expect,
) {
    expected.assert_eq(&run(text, on_failure, prepare).join("\n"));
}

/// What happens to the graph in `text`, a line each.
pub(super) fn run(
    text: &str,
    on_failure: OnFailure,
    prepare: impl FnOnce(&mut World),
) -> Vec<String> {
    let mut world = World::new(parse(text), policy(2, on_failure));
    prepare(&mut world);
    world.run(scripted(text));
    world.log
}

/// Runs the graph in `text` like [`check`], but from 7 ms on and with crashes after these steps,
/// and shows what each start was decided on.
#[track_caller]
pub(super) fn check_decisions(text: &str, crash_after: &[u64], expected: &Expect) {
    let mut world = World::new(parse(text), policy(2, OnFailure::SkipDependents));
    (world.now, world.crash_after) = (Millis(7), crash_after.to_vec());
    world.run(scripted(text));
    let name = |it: TaskIdx| &world.names[it.as_usize()];
    let lines = world.journal.iter().filter_map(|(_, event)| {
        let Event::AttemptStarted { task, decision, .. } = event else { return None };
        let Decision { n_ready, waited, released_by, worker_from, .. } = *decision;
        let parts = [
            Some(format!("{}: of {n_ready} ready", name(*task))),
            (waited > Millis(0)).then(|| format!("waited {}", waited.0)),
            released_by.map(|it| format!("released by {}", name(it))),
            worker_from.map(|it| format!("worker of {}", name(it))),
        ];
        Some(parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
    });
    expected.assert_eq(&lines.collect::<Vec<_>>().join("\n"));
}

/// What becomes of the attempts at each task in `text`.
fn scripted(text: &str) -> impl Fn(TaskIdx, Attempt) -> Fate {
    let fates: Vec<_> = text.lines().map(|it| it.split_once('!').map_or("", |it| it.1)).collect();
    move |task, attempt| read_fate(fates[task.as_usize()], attempt)
}

fn read_fate(fate: &str, attempt: Attempt) -> Fate {
    let words: Vec<_> = fate.split_whitespace().collect();
    match words.as_slice() {
        ["hang", ..] => Fate::default(),
        ["beat", ..] => Fate { beats: vec![Millis(20), Millis(40)], ..Fate::default() },
        ["fail"] | ["fail", "<-", ..] => Fate::end(10, failed(FailureCode::AgentError)),
        ["fail", code, n, ..] if attempt.0 <= n.parse().unwrap() => {
            let code = RetrySpec::CODES.into_iter().find(|it| it.as_str() == *code).unwrap();
            Fate::end(10, failed(code))
        }
        _ => Fate::end(10, Ok(())),
    }
}

/// Runs a random graph with random limits, fates, cancels and crashes, and checks what must hold
/// at every step.
pub(super) fn simulate(seed: u64) {
    let mut rng = Rng(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let workers_max = u32::try_from(1 + rng.below(5)).unwrap();
    let on_failure = [OnFailure::SkipDependents, OnFailure::FailFast, OnFailure::Continue]
        [usize::try_from(rng.below(3)).unwrap()];
    let drawing = random_graph(&mut rng);
    let n_tasks = drawing.names.len();
    let mut policy = policy(workers_max, on_failure);
    policy.seed = seed;
    let tasks = (0..n_tasks).map(TaskIdx::from_usize).filter(|_| rng.below(3) > 0);
    let tasks: Vec<_> = tasks.collect();
    policy.tasks = tasks.into_iter().map(|it| (it, random_limits(&mut rng))).collect();
    let n_lanes = 1 + rng.below(3);
    policy.lanes = (0..n_tasks).map(|_| u16::try_from(rng.below(n_lanes)).unwrap()).collect();
    let mut world = World::new(drawing, policy);
    let task = TaskIdx::from_usize(usize::try_from(rng.below(n_tasks as u64)).unwrap());
    world.cancel_at = match rng.below(8) {
        0 => Some((Millis(rng.below(3_000)), None)),
        1 | 2 => Some((Millis(rng.below(1_000)), Some(task))),
        _ => None,
    };
    if rng.below(5) == 0 {
        world.kept = world.graph.tasks().filter(|_| rng.below(3) == 0).collect();
    }
    world.crash_after = (0..rng.below(4)).map(|_| rng.below(60)).collect();
    world.crash_before = (0..rng.below(4)).map(|_| rng.below(60)).collect();
    world.run(|_, _| random_fate(&mut rng));
}

/// What becomes of an attempt, if nobody stops it.
#[derive(Default)]
pub(super) struct Fate {
    /// When it ends, from its start; never if absent.
    end: Option<(Millis, AttemptResult)>,
    /// When it shows progress.
    beats: Vec<Millis>,
}

impl Fate {
    fn end(span: u64, result: AttemptResult) -> Self {
        Self { end: Some((Millis(span), result)), beats: Vec::new() }
    }
}

/// What an agent says.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Report {
    Beat,
    End,
}

/// A dispatch, its journal and its agents.
pub(super) struct World {
    pub(super) cancel_at: Option<(Millis, Option<TaskIdx>)>,
    pub(super) kept: Vec<TaskIdx>,
    /// After which steps the process dies.
    pub(super) crash_after: Vec<u64>,
    /// After which steps it dies before what they led to is durable.
    pub(super) crash_before: Vec<u64>,
    names: Vec<String>,
    graph: Arc<TaskGraph>,
    policy: Policy,
    scheduler: Scheduler,
    now: Millis,
    oracle: Oracle,
    reports: BinaryHeap<Reverse<(Millis, TaskIdx, Attempt, Report)>>,
    results: BTreeMap<(TaskIdx, Attempt), AttemptResult>,
    journal: Vec<(Millis, Event)>,
    finals: BTreeMap<TaskIdx, TaskState>,
    log: Vec<String>,
    is_cancelled: bool,
    finished: Option<DispatchStatus>,
}

impl World {
    fn new(drawing: Drawing, policy: Policy) -> Self {
        let graph = TaskGraph::build(drawing.estimates, &drawing.edges).unwrap();
        let graph = Arc::new(graph);
        Self {
            cancel_at: None,
            kept: Vec::new(),
            crash_after: Vec::new(),
            crash_before: Vec::new(),
            names: drawing.names,
            scheduler: Scheduler::new(Arc::clone(&graph), policy.clone()),
            graph,
            oracle: Oracle::new(policy.clone()),
            policy,
            now: Millis(0),
            reports: BinaryHeap::new(),
            results: BTreeMap::new(),
            journal: Vec::new(),
            finals: BTreeMap::new(),
            log: Vec::new(),
            is_cancelled: false,
            finished: None,
        }
    }

    /// Gives every task these limits.
    pub(super) fn limit(&mut self, limits: TaskPolicy) {
        self.policy.tasks = self.graph.tasks().map(|it| (it, limits)).collect();
        self.scheduler = Scheduler::new(Arc::clone(&self.graph), self.policy.clone());
        self.oracle = Oracle::new(self.policy.clone());
    }

    fn run(&mut self, mut fate: impl FnMut(TaskIdx, Attempt) -> Fate) {
        let mut out = Outbox::default();
        let tasks = self.kept.clone();
        self.scheduler.handle(self.now, Input::Keep { tasks }, &mut out);
        self.scheduler.handle(self.now, Input::Start, &mut out);
        self.carry_out(&mut out, &mut fate);
        for step in 0..10_000 {
            if let Some(status) = self.finished {
                return self.assert_end(status);
            }
            if self.crash_after.contains(&step) {
                self.crash(&mut out, &mut fate);
                continue;
            }
            self.step(&mut out);
            if self.crash_before.contains(&step) {
                out = Outbox::default();
                self.restart(&mut out, &mut fate);
                continue;
            }
            self.carry_out(&mut out, &mut fate);
        }
        panic!("the dispatch does not end");
    }

    fn step(&mut self, out: &mut Outbox) {
        let report_at = self.reports.peek().map(|it| it.0.0);
        let next = [report_at, self.scheduler.poll_timeout(), self.cancel_at.map(|it| it.0)];
        self.now = next.into_iter().flatten().min().expect("the dispatch is stuck").max(self.now);
        if let Some((at, task)) = self.cancel_at
            && at <= self.now
        {
            self.cancel_at = None;
            let input = task.map_or(Input::Cancel, |it| Input::CancelTasks { tasks: vec![it] });
            self.scheduler.handle(self.now, input, out);
        } else if report_at.is_some_and(|at| at <= self.now) {
            let Reverse((_, task, attempt, report)) = self.reports.pop().unwrap();
            let input = match report {
                Report::Beat => {
                    self.oracle.hear_beat(self.now, task, attempt);
                    Input::Heartbeat { task, attempt }
                }
                Report::End => {
                    let result = self.results[&(task, attempt)].clone();
                    Input::AttemptEnded { task, attempt, result }
                }
            };
            self.scheduler.handle(self.now, input, out);
        } else {
            self.scheduler.handle_timeout(self.now, out);
        }
    }

    fn carry_out(&mut self, out: &mut Outbox, fate: &mut impl FnMut(TaskIdx, Attempt) -> Fate) {
        self.assert_explained(&out.events);
        for event in out.events.drain(..) {
            let said = if let Event::AttemptEnded { task, attempt, .. } = &event {
                self.results.get(&(*task, *attempt))
            } else {
                None
            };
            self.oracle.take(self.now, &event, said);
            self.is_cancelled |= event == Event::DispatchCancelled;
            if let Event::TaskSkipped { task, because } = event {
                let (task, because) =
                    (&self.names[task.as_usize()], &self.names[because.as_usize()]);
                self.log.push(format!("{} skip {task} because {because}", self.now.0));
            }
            self.journal.push((self.now, event));
        }
        self.assert_invariants();
        for action in out.actions.drain(..) {
            let (verb, text) = match action {
                Action::StartAttempt { task, attempt, .. } => {
                    self.assert_may_start(task);
                    let Fate { end, beats } = fate(task, attempt);
                    let beats = beats.into_iter().map(|it| (it, Report::Beat));
                    let ends = end.iter().map(|it| (it.0, Report::End));
                    for (span, report) in beats.chain(ends) {
                        self.reports.push(Reverse((self.now + span, task, attempt, report)));
                    }
                    self.results.extend(end.map(|it| ((task, attempt), it.1)));
                    ("start", format!("{}#{}", self.names[task.as_usize()], attempt.0))
                }
                Action::StopAttempt { task, attempt } => {
                    ("stop", format!("{}#{}", self.names[task.as_usize()], attempt.0))
                }
                Action::Finish { status } => {
                    self.finished = Some(status);
                    ("finish", format!("{status:?}"))
                }
            };
            self.log.push(format!("{} {verb} {text}", self.now.0));
        }
    }

    /// Loses all but the journal; the agents of the dead process report late, and are ignored.
    fn crash(&mut self, out: &mut Outbox, fate: &mut impl FnMut(TaskIdx, Attempt) -> Fate) {
        self.assert_replay_agrees();
        self.restart(out, fate);
    }

    fn restart(&mut self, out: &mut Outbox, fate: &mut impl FnMut(TaskIdx, Attempt) -> Fate) {
        self.scheduler = self.replay();
        let n_running = self.scheduler.n_running();
        self.scheduler.handle(self.now, Input::Start, out);
        let is_interrupt = |it: &&Event| matches!(it, Event::AttemptInterrupted { .. });
        let n_interrupted = out.events.iter().filter(is_interrupt).count();
        assert_eq!(n_interrupted, n_running as usize);
        self.carry_out(out, fate);
    }

    fn replay(&self) -> Scheduler {
        let mut replayed = Scheduler::new(Arc::clone(&self.graph), self.policy.clone());
        for (at, event) in &self.journal {
            assert!(replayed.can_follow(event), "a scheduler wrote what it cannot: {event:?}");
            replayed.replay(*at, event);
        }
        replayed
    }

    fn assert_invariants(&mut self) {
        let n_running = self.graph.tasks().filter(|&it| self.is(it, TaskState::Running)).count();
        assert_eq!(n_running, self.scheduler.n_running() as usize);
        assert!(n_running <= self.policy.workers_max as usize);
        for task in self.graph.tasks() {
            let state = self.scheduler.state(task);
            if let Some(before) = self.finals.get(&task) {
                assert_eq!(*before, state, "a final state changed");
            }
            if !state.is_open() {
                self.finals.insert(task, state);
            }
            self.oracle.assert_nothing_is_due(self.now, task, &self.scheduler);
        }
        let is_idle = n_running < self.policy.workers_max as usize;
        let has_ready = self.graph.tasks().any(|it| self.is(it, TaskState::Ready));
        assert!(!(is_idle && has_ready), "a ready task waits although a worker is free");
    }

    fn assert_may_start(&self, task: TaskIdx) {
        for &it in self.graph.dependencies(task) {
            let state = self.scheduler.state(it);
            let may_fail = self.policy.on_failure == OnFailure::Continue;
            assert!(state == TaskState::Succeeded || (may_fail && state == TaskState::Failed));
        }
        assert!(!self.is_cancelled, "a cancelled dispatch started a task");
        assert!(!self.kept.contains(&task), "a kept task ran again");
    }

    /// Each start says how many were ready, and names only tasks that ended just now: the last of
    /// its dependencies, unless it waited for a worker, and one whose worker it takes over.
    fn assert_explained(&self, events: &[Event]) {
        let has_ended_now = |task: TaskIdx| {
            let mut events = events.iter();
            events.any(|it| match it {
                Event::AttemptEnded { task: it, .. }
                | Event::AttemptInterrupted { task: it, .. }
                | Event::TaskCancelled { task: it }
                | Event::TaskKept { task: it } => *it == task,
                Event::AttemptStarted { .. }
                | Event::RetryDue { .. }
                | Event::TaskExpired { .. }
                | Event::TaskSkipped { .. }
                | Event::DispatchCancelled
                | Event::DispatchEnded { .. } => false,
            })
        };
        for event in events {
            let Event::AttemptStarted { task, attempt, decision, .. } = event else { continue };
            let Decision { n_ready, waited, released_by, worker_from, .. } = *decision;
            assert!(n_ready >= 1 && waited <= self.now);
            let is_dependency = |it| self.graph.dependencies(*task).contains(&it);
            assert!(released_by.is_none_or(is_dependency));
            let has_dependencies = !self.graph.dependencies(*task).is_empty();
            assert_eq!(released_by.is_some(), *attempt == Attempt(1) && has_dependencies);
            assert!(worker_from.is_none_or(has_ended_now));
            let is_new = released_by.is_some_and(has_ended_now);
            let may_crash = !self.crash_after.is_empty() || !self.crash_before.is_empty();
            assert!(is_new || waited == Millis(0) || worker_from.is_some() || may_crash);
        }
    }

    fn assert_end(&self, status: DispatchStatus) {
        let n_succeeded =
            self.graph.tasks().filter(|&it| self.is(it, TaskState::Succeeded)).count();
        let has_cancelled_event = self.journal.iter().any(|it| it.1 == Event::DispatchCancelled);
        let expected = match n_succeeded {
            _ if has_cancelled_event => DispatchStatus::Cancelled,
            n if n == self.graph.len() => DispatchStatus::Success,
            0 => DispatchStatus::Failure,
            _ => DispatchStatus::Partial,
        };
        assert_eq!(status, expected);
        let n_open = self.graph.len() - self.finals.len();
        assert_eq!(n_open, 0, "the dispatch ended with open tasks");
        self.assert_replay_agrees();
    }

    fn assert_replay_agrees(&self) {
        let replayed = self.replay();
        for task in self.graph.tasks() {
            assert_eq!(replayed.state(task), self.scheduler.state(task));
            assert_eq!(replayed.attempt(task), self.scheduler.attempt(task));
            assert_eq!(replayed.retry_at(task), self.scheduler.retry_at(task));
        }
        assert_eq!(replayed.is_ended(), self.scheduler.is_ended());
    }

    fn is(&self, task: TaskIdx, state: TaskState) -> bool {
        self.scheduler.state(task) == state
    }
}

pub(super) fn policy(workers_max: u32, on_failure: OnFailure) -> Policy {
    Policy {
        workers_max,
        on_failure,
        timeout: Millis(1_000),
        tasks: Vec::new(),
        lanes: Vec::new(),
        seed: 0,
    }
}

fn failed(code: FailureCode) -> AttemptResult {
    Err(Failure::new(code, "as scripted"))
}

fn random_limits(rng: &mut Rng) -> TaskPolicy {
    let mut maybe = |from: u64, to: u64| {
        let is_set = rng.below(3) == 0;
        is_set.then(|| Millis(from + rng.below(to - from)))
    };
    let (timeout, total_timeout, idle_timeout) =
        (maybe(50, 1_500), maybe(100, 4_000), maybe(20, 700));
    let backoff = Millis(rng.below(300));
    let retry = RetryPolicy {
        attempts_max: u32::try_from(1 + rng.below(5)).unwrap(),
        backoff,
        backoff_max: backoff + Millis(rng.below(600)),
        on: RetrySpec::CODES.into_iter().filter(|_| rng.below(4) > 0).collect(),
    };
    TaskPolicy { timeout, total_timeout, idle_timeout, retry }
}

fn random_fate(rng: &mut Rng) -> Fate {
    let beats = (0..rng.below(6)).map(|_| Millis(rng.below(1_000))).collect();
    let end = match rng.below(12) {
        0 => None,
        1..=3 => {
            let at = usize::try_from(rng.below(8)).unwrap();
            let failure = Failure::new(RetrySpec::CODES[at], "as scripted");
            Some((Millis(rng.below(2_000)), Err(failure)))
        }
        4 | 5 => {
            let retry_after_ms = (rng.below(2) == 0).then(|| rng.below(1_500));
            let failure = Failure::new(FailureCode::RateLimited, "too much");
            Some((Millis(rng.below(20)), Err(Failure { retry_after_ms, ..failure })))
        }
        _ => Some((Millis(rng.below(500)), Ok(()))),
    };
    Fate { end, beats }
}

pub(super) fn random_graph(rng: &mut Rng) -> Drawing {
    let n_tasks = usize::try_from(1 + rng.below(30)).unwrap();
    let mut edges = Vec::new();
    for at in 1..n_tasks {
        for _ in 0..rng.below(4) {
            let dependency = usize::try_from(rng.below(at as u64)).unwrap();
            edges.push(Edge {
                dependency: TaskIdx::from_usize(dependency),
                dependent: TaskIdx::from_usize(at),
            });
        }
    }
    Drawing {
        names: (0..n_tasks).map(|it| format!("t{it}")).collect(),
        estimates: (0..n_tasks).map(|_| Millis(rng.below(100))).collect(),
        edges,
    }
}

/// xorshift64: small, seeded, the same on every machine.
pub(super) struct Rng(pub(super) u64);

impl Rng {
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}
