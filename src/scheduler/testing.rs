//! A world for the scheduler: time that jumps, agents that obey a script, a journal in memory.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    sync::Arc,
};

use expect_test::Expect;

use super::{Action, Decision, Event, Input, Outbox, Policy, Scheduler, TaskState};
use crate::{
    model::{
        Attempt, AttemptResult, DispatchStatus, Failure, FailureCode, Millis, OnFailure, TaskIdx,
    },
    plan::{
        Edge, TaskGraph,
        testing::{Drawing, parse},
    },
};

/// Runs the graph in `text` with two workers, each attempt taking 10 ms unless its fate says
/// otherwise: `!fail`, `!hang`.
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
    let fates: Vec<&str> =
        text.lines().map(|it| it.split_once('!').map_or("", |it| it.1)).collect();
    let mut world = World::new(parse(text), policy(2, on_failure));
    prepare(&mut world);
    world.run(|task, _| match fates[task.as_usize()].split_whitespace().next() {
        Some("fail") => Some((Millis(10), failed())),
        Some("hang") => None,
        _ => Some((Millis(10), Ok(()))),
    });
    expected.assert_eq(&world.log.join("\n"));
}

/// Runs the graph in `text` like [`check`], and shows what each start was decided on.
#[track_caller]
pub(super) fn check_decisions(text: &str, expected: &Expect) {
    let mut world = World::new(parse(text), policy(2, OnFailure::SkipDependents));
    world.run(|_, _| Some((Millis(10), Ok(()))));
    let name = |it: TaskIdx| &world.names[it.as_usize()];
    let lines = world.journal.iter().filter_map(|(_, event)| {
        let Event::AttemptStarted { task, decision, .. } = event else { return None };
        let Decision { n_ready, waited, released_by, worker_from } = *decision;
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

/// Runs a random graph with random fates, cancels and crashes, and checks what must hold at every
/// step.
pub(super) fn simulate(seed: u64) {
    let mut rng = Rng(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let workers_max = u32::try_from(1 + rng.below(5)).unwrap();
    let on_failure = [OnFailure::SkipDependents, OnFailure::FailFast, OnFailure::Continue]
        [usize::try_from(rng.below(3)).unwrap()];
    let drawing = random_graph(&mut rng);
    let n_tasks = drawing.names.len() as u64;
    let mut world = World::new(drawing, policy(workers_max, on_failure));
    let task = TaskIdx::from_usize(usize::try_from(rng.below(n_tasks)).unwrap());
    world.cancel_at = match rng.below(8) {
        0 | 1 => Some((Millis(rng.below(3_000)), None)),
        2 | 3 => Some((Millis(rng.below(1_000)), Some(task))),
        _ => None,
    };
    if rng.below(5) == 0 {
        world.kept = world.graph.tasks().filter(|_| rng.below(3) == 0).collect();
    }
    world.crash_after = (0..rng.below(4)).map(|_| rng.below(40)).collect();
    world.run(|_, _| match rng.below(10) {
        0 => None,
        1 => Some((Millis(rng.below(2_000)), failed())),
        _ => Some((Millis(rng.below(500)), Ok(()))),
    });
}

/// A dispatch, its journal and its agents.
pub(super) struct World {
    pub(super) cancel_at: Option<(Millis, Option<TaskIdx>)>,
    pub(super) kept: Vec<TaskIdx>,
    /// After which steps the process dies.
    pub(super) crash_after: Vec<u64>,
    names: Vec<String>,
    graph: Arc<TaskGraph>,
    policy: Policy,
    scheduler: Scheduler,
    now: Millis,
    reports: BinaryHeap<Reverse<(Millis, TaskIdx, Attempt)>>,
    results: BTreeMap<(TaskIdx, Attempt), AttemptResult>,
    journal: Vec<(Millis, Event)>,
    finals: BTreeMap<TaskIdx, TaskState>,
    log: Vec<String>,
    n_crashes: u32,
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
            names: drawing.names,
            scheduler: Scheduler::new(Arc::clone(&graph), policy.clone()),
            graph,
            policy,
            now: Millis(0),
            reports: BinaryHeap::new(),
            results: BTreeMap::new(),
            journal: Vec::new(),
            finals: BTreeMap::new(),
            log: Vec::new(),
            n_crashes: 0,
            is_cancelled: false,
            finished: None,
        }
    }

    fn run(&mut self, mut fate: impl FnMut(TaskIdx, Attempt) -> Option<(Millis, AttemptResult)>) {
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
            self.is_cancelled |= task.is_none();
            let input = task.map_or(Input::Cancel, |it| Input::CancelTasks { tasks: vec![it] });
            self.scheduler.handle(self.now, input, out);
        } else if report_at.is_some_and(|at| at <= self.now) {
            let Reverse((_, task, attempt)) = self.reports.pop().unwrap();
            let result = self.results[&(task, attempt)].clone();
            self.scheduler.handle(self.now, Input::AttemptEnded { task, attempt, result }, out);
        } else {
            self.scheduler.handle_timeout(self.now, out);
        }
    }

    fn carry_out(
        &mut self,
        out: &mut Outbox,
        fate: &mut impl FnMut(TaskIdx, Attempt) -> Option<(Millis, AttemptResult)>,
    ) {
        out.events.iter().for_each(|it| self.assert_own_verdict(it));
        self.assert_explained(&out.events);
        for event in out.events.drain(..) {
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
                    if let Some((span, result)) = fate(task, attempt) {
                        self.reports.push(Reverse((self.now + span, task, attempt)));
                        self.results.insert((task, attempt), result);
                    }
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
    fn crash(
        &mut self,
        out: &mut Outbox,
        fate: &mut impl FnMut(TaskIdx, Attempt) -> Option<(Millis, AttemptResult)>,
    ) {
        self.assert_replay_agrees();
        self.scheduler = self.replay();
        self.n_crashes += 1;
        let n_running = self.scheduler.n_running();
        self.scheduler.handle(self.now, Input::Start, out);
        let is_interrupt = |it: &&Event| matches!(it, Event::AttemptInterrupted { .. });
        let n_interrupted = out.events.iter().filter(is_interrupt).count();
        assert_eq!(n_interrupted, n_running as usize);
        self.carry_out(out, fate);
    }

    fn replay(&self) -> Scheduler {
        let mut replayed = Scheduler::new(Arc::clone(&self.graph), self.policy.clone());
        self.journal.iter().for_each(|it| replayed.replay(it.0, &it.1));
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
            if !matches!(state, TaskState::Blocked | TaskState::Ready | TaskState::Running) {
                self.finals.insert(task, state);
            }
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
                | Event::TaskSkipped { .. }
                | Event::DispatchCancelled
                | Event::DispatchEnded { .. } => false,
            })
        };
        for event in events {
            let Event::AttemptStarted { task, attempt, decision, .. } = event else { continue };
            let Decision { n_ready, waited, released_by, worker_from } = *decision;
            assert!(n_ready >= 1 && waited <= self.now);
            let is_dependency = |it| self.graph.dependencies(*task).contains(&it);
            assert!(released_by.is_none_or(is_dependency));
            let has_dependencies = !self.graph.dependencies(*task).is_empty();
            assert_eq!(released_by.is_some(), *attempt == Attempt(1) && has_dependencies);
            assert!(worker_from.is_none_or(has_ended_now));
            let is_new = released_by.is_some_and(has_ended_now);
            assert!(is_new || waited == Millis(0) || worker_from.is_some() || self.n_crashes > 0);
        }
    }

    /// An attempt ends with what its own agent said, or at its own deadline.
    fn assert_own_verdict(&self, event: &Event) {
        let Event::AttemptEnded { task, attempt, result } = event else { return };
        let is_timeout = |it: &Failure| it.code == FailureCode::Timeout;
        if result.as_ref().is_err_and(is_timeout) {
            let deadline = self.journal.iter().rev().find_map(|(_, it)| {
                let Event::AttemptStarted { task: t, attempt: a, deadline, .. } = it else {
                    return None;
                };
                ((t, a) == (task, attempt)).then_some(*deadline)
            });
            assert!(deadline.unwrap() <= self.now, "stopped before its own deadline");
        } else {
            assert_eq!(self.results[&(*task, *attempt)], *result);
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
        let attempts = self.graph.tasks().map(|it| self.scheduler.attempt(it).0);
        assert!(attempts.max().unwrap_or_default() <= 1 + self.n_crashes);
        self.assert_replay_agrees();
    }

    fn assert_replay_agrees(&self) {
        let replayed = self.replay();
        for task in self.graph.tasks() {
            assert_eq!(replayed.state(task), self.scheduler.state(task));
            assert_eq!(replayed.attempt(task), self.scheduler.attempt(task));
        }
        assert_eq!(replayed.is_ended(), self.scheduler.is_ended());
    }

    fn is(&self, task: TaskIdx, state: TaskState) -> bool {
        self.scheduler.state(task) == state
    }
}

fn policy(workers_max: u32, on_failure: OnFailure) -> Policy {
    Policy { workers_max, on_failure, timeout: Millis(1_000), task_timeouts: Vec::new() }
}

fn failed() -> AttemptResult {
    Err(Failure::new(FailureCode::AgentError, "as scripted"))
}

fn random_graph(rng: &mut Rng) -> Drawing {
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
struct Rng(u64);

impl Rng {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}
