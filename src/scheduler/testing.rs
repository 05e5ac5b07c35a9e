//! A world for the scheduler: time that jumps, agents that obey a script, a journal in memory.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, VecDeque},
    sync::Arc,
};

use expect_test::Expect;

use super::{
    Action, Decision, Event, Gate, GateAnswer, Input, Outbox, Policy, Scheduler, TaskPolicy,
    TaskState, oracle::Oracle,
};
use crate::{
    model::{
        Attempt, AttemptResult, DispatchStatus, Failure, FailureCode, Millis, OnFailure, RetrySpec,
        TaskIdx,
    },
    plan::{
        TaskGraph,
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
    let fates: Vec<&str> =
        text.lines().map(|it| it.split_once('!').map_or("", |it| it.1)).collect();
    let mut world = World::new(parse(text), policy(2, on_failure));
    prepare(&mut world);
    world.run(|task, attempt| scripted(fates[task.as_usize()], attempt));
    world.log
}

/// Runs the graph in `text` like [`check`], and shows what each start was decided on.
#[track_caller]
pub(super) fn check_decisions(text: &str, expected: &Expect) {
    let mut world = World::new(parse(text), policy(2, OnFailure::SkipDependents));
    world.run(|_, _| Fate::end(10, Ok(())));
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

fn scripted(fate: &str, attempt: Attempt) -> Fate {
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

/// What becomes of an attempt, if nobody stops it.
#[derive(Default)]
pub(super) struct Fate {
    /// When it ends, from its start; never if absent.
    pub(super) end: Option<(Millis, AttemptResult)>,
    /// When it shows progress.
    pub(super) beats: Vec<Millis>,
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
    Answer(Gate),
    End,
}

/// A dispatch, its journal and its agents.
pub(super) struct World {
    pub(super) cancel_at: Option<(Millis, Option<TaskIdx>)>,
    /// What else is wished, soonest first.
    pub(super) wishes: VecDeque<(Millis, Input)>,
    pub(super) kept: Vec<TaskIdx>,
    /// After which steps the process dies.
    pub(super) crash_after: Vec<u64>,
    /// After which steps it dies before what they led to is durable.
    pub(super) crash_before: Vec<u64>,
    /// What is found out at the gates, and how long that takes; else they are passed after 1 ms.
    pub(super) answers: BTreeMap<(TaskIdx, Gate), (Millis, GateAnswer)>,
    names: Vec<String>,
    pub(super) graph: Arc<TaskGraph>,
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
    pub(super) fn new(drawing: Drawing, policy: Policy) -> Self {
        let graph = TaskGraph::build(drawing.estimates, &drawing.edges).unwrap();
        let graph = Arc::new(graph);
        Self {
            cancel_at: None,
            wishes: VecDeque::new(),
            kept: Vec::new(),
            crash_after: Vec::new(),
            crash_before: Vec::new(),
            answers: BTreeMap::new(),
            names: drawing.names,
            scheduler: Scheduler::new(Arc::clone(&graph), policy.clone()),
            oracle: Oracle::new(policy.clone(), Arc::clone(&graph)),
            graph,
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
        self.set_limits(self.graph.tasks().map(|it| (it, limits)).collect());
    }

    /// Gives these tasks, in order, limits of their own.
    pub(super) fn set_limits(&mut self, tasks: Vec<(TaskIdx, TaskPolicy)>) {
        self.policy.tasks = tasks;
        self.scheduler = Scheduler::new(Arc::clone(&self.graph), self.policy.clone());
        self.oracle = Oracle::new(self.policy.clone(), Arc::clone(&self.graph));
    }

    pub(super) fn run(&mut self, mut fate: impl FnMut(TaskIdx, Attempt) -> Fate) {
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
        let wish_at = self.wishes.front().map(|it| it.0);
        let cancel_at = self.cancel_at.map(|it| it.0);
        let next = [report_at, self.scheduler.poll_timeout(), cancel_at, wish_at];
        let Some(next) = next.into_iter().flatten().min() else {
            // A pause ends only when somebody lifts it.
            let is_paused = self.graph.tasks().any(|it| self.oracle.is_paused(it));
            assert!(is_paused, "the dispatch is stuck");
            self.scheduler.handle(self.now, Input::Resume { tasks: Vec::new() }, out);
            return;
        };
        self.now = next.max(self.now);
        if wish_at.is_some_and(|at| at <= self.now) {
            let (_, input) = self.wishes.pop_front().unwrap();
            self.scheduler.handle(self.now, input, out);
        } else if let Some((at, task)) = self.cancel_at
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
                Report::Answer(gate) => {
                    let answer = self.found(task, gate).1;
                    Input::Answer { task, gate, answer }
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
            self.log_event(&event);
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
                Action::Ask { task, gate } => {
                    let at = self.now + self.found(task, gate).0;
                    self.reports.push(Reverse((at, task, Attempt(0), Report::Answer(gate))));
                    ("ask", format!("{} {gate:?}", self.names[task.as_usize()]))
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

    fn log_event(&mut self, event: &Event) {
        let name = |it: &TaskIdx| &self.names[it.as_usize()];
        let names =
            |all: &[TaskIdx]| all.iter().map(|it| name(it).as_str()).collect::<Vec<_>>().join(" ");
        let line = match event {
            Event::TaskSkipped { task, because } => {
                format!("skip {} because {}", name(task), name(because))
            }
            Event::TaskOmitted { task, because: Some(because), .. } => {
                format!("omit {} because {}", name(task), name(because))
            }
            Event::TaskOmitted { task, reason, .. } => format!("omit {}: {reason}", name(task)),
            Event::TaskReused { task } => format!("reuse {}", name(task)),
            Event::DispatchPaused => "pause".to_owned(),
            Event::DispatchResumed => "resume".to_owned(),
            Event::TasksPaused { tasks } => format!("pause {}", names(tasks)),
            Event::TasksResumed { tasks } => format!("resume {}", names(tasks)),
            Event::WorkersChanged { workers_max } => format!("workers {workers_max}"),
            Event::GateFailed { task, failure, .. } => {
                format!("fail {}: {}", name(task), failure.message)
            }
            _ => return,
        };
        self.log.push(format!("{} {line}", self.now.0));
    }

    fn found(&self, task: TaskIdx, gate: Gate) -> (Millis, GateAnswer) {
        self.answers.get(&(task, gate)).cloned().unwrap_or((Millis(1), GateAnswer::Pass))
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
        let is_idle = n_running < self.oracle.workers_max as usize;
        let is_startable =
            |it: TaskIdx| self.is(it, TaskState::Ready) && !self.oracle.is_paused(it);
        let has_ready = self.graph.tasks().any(is_startable);
        assert!(!(is_idle && has_ready), "a ready task waits although a worker is free");
    }

    fn assert_may_start(&self, task: TaskIdx) {
        let before = self.graph.dependencies(task).iter().map(|it| self.scheduler.state(*it));
        self.oracle.assert_triggered(task, &before.collect::<Vec<_>>());
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
                | Event::TaskReused { task: it }
                | Event::GateFailed { task: it, .. }
                | Event::TaskOmitted { task: it, .. }
                | Event::TaskSkipped { task: it, .. }
                | Event::TaskExpired { task: it }
                | Event::TaskKept { task: it } => *it == task,
                Event::GatePassed { .. }
                | Event::GateReached { .. }
                | Event::AttemptStarted { .. }
                | Event::RetryDue { .. }
                | Event::DispatchPaused
                | Event::DispatchResumed
                | Event::TasksPaused { .. }
                | Event::TasksResumed { .. }
                | Event::WorkersChanged { .. }
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
            let has_passed =
                |it: &Event| matches!(it, Event::GatePassed { task: of, .. } if of == task);
            let is_new = released_by.is_some_and(has_ended_now) || events.iter().any(has_passed);
            let may_crash = !self.crash_after.is_empty() || !self.crash_before.is_empty();
            let has_more = events.iter().any(|it| matches!(it, Event::WorkersChanged { .. }));
            let is_let = decision.is_resumed || has_more;
            assert!(is_new || waited == Millis(0) || worker_from.is_some() || is_let || may_crash);
        }
    }

    fn assert_end(&self, status: DispatchStatus) {
        let n_succeeded =
            self.graph.tasks().filter(|&it| self.is(it, TaskState::Succeeded)).count();
        let n_omitted = self.graph.tasks().filter(|&it| self.is(it, TaskState::Omitted)).count();
        let has_cancelled_event = self.journal.iter().any(|it| it.1 == Event::DispatchCancelled);
        let expected = match n_succeeded {
            _ if has_cancelled_event => DispatchStatus::Cancelled,
            n if n + n_omitted == self.graph.len() => DispatchStatus::Success,
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
            assert_eq!(replayed.gate(task), self.scheduler.gate(task));
            assert_eq!(replayed.attempt(task), self.scheduler.attempt(task));
            assert_eq!(replayed.retry_at(task), self.scheduler.retry_at(task));
        }
        assert_eq!(replayed.is_ended(), self.scheduler.is_ended());
        assert_eq!(replayed.is_paused(), self.scheduler.is_paused());
        assert!(replayed.paused_tasks().eq(self.scheduler.paused_tasks()));
        assert_eq!(replayed.workers_max(), self.scheduler.workers_max());
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
