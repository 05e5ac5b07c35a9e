//! A world for the scheduler: time that jumps, agents that obey a script, a journal in memory.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, VecDeque},
    sync::Arc,
};

use expect_test::Expect;

use super::{
    Action, Decision, Event, Funds, Gate, GateAnswer, Growth, Input, Outbox, Policy, Scheduler,
    TaskPolicy, TaskState, growing::Growing, oracle::Oracle,
};
use crate::{
    model::{
        Attempt, AttemptResult, Budget, DispatchStatus, Failure, FailureCode, MicroUsd, Millis,
        OnFailure, RetrySpec, TaskIdx, Usage,
    },
    plan::{
        ClaimTable, Edge, TaskGraph,
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
    let (scripted, failing) = (scripted(text), world.failing.clone());
    world.run(|task, attempt| {
        if failing.contains(&task.as_u32()) {
            return Fate::end(10, failed(FailureCode::AgentError));
        }
        scripted(task, attempt)
    });
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
pub(super) fn scripted(text: &str) -> impl Fn(TaskIdx, Attempt) -> Fate {
    let fates: Vec<_> = text.lines().map(|it| it.split_once('!').map_or("", |it| it.1)).collect();
    move |task, attempt| read_fate(fates.get(task.as_usize()).unwrap_or(&""), attempt)
}

fn read_fate(fate: &str, attempt: Attempt) -> Fate {
    let words: Vec<_> = fate.split_whitespace().collect();
    match words.as_slice() {
        ["hang", ..] => Fate::default(),
        ["beat", ..] => Fate { beats: vec![Millis(20), Millis(40)], ..Fate::default() },
        ["use", tokens, ..] => {
            let total_tokens = tokens.parse().ok();
            let usage = Some(Usage { total_tokens, ..Usage::default() });
            Fate { usage, ..Fate::end(10, Ok(())) }
        }
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
    /// What its agent says that it used.
    pub(super) usage: Option<Usage>,
}

impl Fate {
    fn end(span: u64, result: AttemptResult) -> Self {
        Self { end: Some((Millis(span), result)), ..Self::default() }
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
    /// Tasks of those that come later that fail, by number.
    pub(super) failing: Vec<u32>,
    /// How many tasks a task becomes, each time that it is asked.
    pub(super) expansions: BTreeMap<TaskIdx, Vec<usize>>,
    /// What the caller adds, and when: for each task, what it waits for.
    pub(super) added: Option<(Millis, Vec<Vec<TaskIdx>>)>,
    /// The limits of what is added, over and over.
    pub(super) later_limits: Vec<TaskPolicy>,
    pub(super) edges: Vec<Edge>,
    /// What was said to grow, and is not durable yet.
    pub(super) growing: Option<Growing>,
    pub(super) growths: Vec<Arc<Growth>>,
    pub(super) first: (Arc<TaskGraph>, Policy),
    pub(super) names: Vec<String>,
    pub(super) graph: Arc<TaskGraph>,
    pub(super) policy: Policy,
    pub(super) scheduler: Scheduler,
    pub(super) now: Millis,
    pub(super) oracle: Oracle,
    reports: BinaryHeap<Reverse<(Millis, TaskIdx, Attempt, Report)>>,
    pub(super) results: BTreeMap<(TaskIdx, Attempt), AttemptResult>,
    pub(super) usages: BTreeMap<(TaskIdx, Attempt), Usage>,
    /// The budget that the caller gives, and when; else more each time that it is stuck.
    pub(super) budget_at: Option<(Millis, Budget)>,
    pub(super) journal: Vec<(Millis, Event)>,
    pub(super) finals: BTreeMap<TaskIdx, TaskState>,
    pub(super) log: Vec<String>,
    pub(super) is_cancelled: bool,
    pub(super) finished: Option<DispatchStatus>,
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
            failing: Vec::new(),
            expansions: BTreeMap::new(),
            added: None,
            later_limits: vec![TaskPolicy::default()],
            edges: drawing.edges,
            growing: None,
            growths: Vec::new(),
            first: (Arc::clone(&graph), policy.clone()),
            names: drawing.names,
            scheduler: Scheduler::new(Arc::clone(&graph), policy.clone()),
            oracle: Oracle::new(policy.clone(), Arc::clone(&graph)),
            graph,
            policy,
            now: Millis(0),
            reports: BinaryHeap::new(),
            results: BTreeMap::new(),
            usages: BTreeMap::new(),
            budget_at: None,
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

    /// Gives the dispatch a budget.
    pub(super) fn fund(&mut self, funds: Funds) {
        self.policy.funds = funds;
        self.set_limits(self.policy.tasks.clone());
    }

    /// Lets the tasks claim.
    pub(super) fn claim(&mut self, claims: Arc<ClaimTable>) {
        self.policy.claims = claims;
        self.set_limits(self.policy.tasks.clone());
    }

    /// Gives these tasks, in order, limits of their own.
    pub(super) fn set_limits(&mut self, tasks: Vec<(TaskIdx, TaskPolicy)>) {
        self.policy.tasks = tasks;
        self.first.1 = self.policy.clone();
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
        let added_at = self.added.as_ref().map(|it| it.0);
        let budget_at = self.budget_at.map(|it| it.0);
        let asked = [cancel_at, wish_at, added_at, budget_at];
        let next = [report_at, self.scheduler.poll_timeout()].into_iter().chain(asked);
        let Some(next) = next.flatten().min() else {
            // A pause ends only when somebody lifts it.
            let is_paused = self.graph.tasks().any(|it| self.oracle.is_paused(it));
            if !is_paused {
                return self.raise_budget(out);
            }
            self.scheduler.handle(self.now, Input::Resume { tasks: Vec::new() }, out);
            return;
        };
        self.now = next.max(self.now);
        if let Some((_, budget)) = self.budget_at.take_if(|it| it.0 <= self.now) {
            self.scheduler.handle(self.now, Input::SetBudget { budget }, out);
        } else if wish_at.is_some_and(|at| at <= self.now) {
            let (_, input) = self.wishes.pop_front().unwrap();
            self.scheduler.handle(self.now, input, out);
        } else if let Some((at, task)) = self.cancel_at
            && at <= self.now
        {
            self.cancel_at = None;
            let input = task.map_or(Input::Cancel, |it| Input::CancelTasks { tasks: vec![it] });
            self.scheduler.handle(self.now, input, out);
        } else if let Some((_, tasks)) = self.added.take_if(|it| it.0 <= self.now) {
            let growth = self.grow(None, tasks);
            self.scheduler.handle(self.now, Input::Grow { parent: None, growth }, out);
        } else if report_at.is_some_and(|at| at <= self.now) {
            let Reverse((_, task, attempt, report)) = self.reports.pop().unwrap();
            let input = match report {
                Report::Beat => {
                    self.oracle.hear_beat(self.now, task, attempt);
                    Input::Heartbeat { task, attempt }
                }
                Report::Answer(Gate::Expansion) => self.expand(task),
                Report::Answer(gate) => {
                    let answer = self.found(task, gate).1;
                    Input::Answer { task, gate, answer }
                }
                Report::End => {
                    let result = self.results[&(task, attempt)].clone();
                    let usage = self.usages.get(&(task, attempt)).copied();
                    Input::AttemptEnded { task, attempt, result, usage }
                }
            };
            self.scheduler.handle(self.now, input, out);
        } else {
            self.scheduler.handle_timeout(self.now, out);
        }
    }

    /// Only a budget that pauses the dispatch can hold it up for ever.
    fn raise_budget(&mut self, out: &mut Outbox) {
        assert!(self.scheduler.exceeded().is_some(), "the dispatch is stuck");
        let is_raise = |it: &&(Millis, Event)| matches!(it.1, Event::BudgetChanged { .. });
        let n_before = self.journal.iter().filter(is_raise).count() as u64;
        let before = self.scheduler.budget().unwrap();
        let more = |it: Option<u64>| it.filter(|_| n_before < 4).map(|it| it * 2);
        let budget = Budget {
            tokens: more(before.tokens),
            cost: more(before.cost.map(|it| it.0)).map(MicroUsd),
            wall: more(before.wall.map(|it| it.0)).map(Millis),
            tasks: before.tasks.map(|it| it + 5),
            ..before
        };
        self.log.push(format!("{} raise the budget", self.now.0));
        self.scheduler.handle(self.now, Input::SetBudget { budget }, out);
    }

    fn carry_out(&mut self, out: &mut Outbox, fate: &mut impl FnMut(TaskIdx, Attempt) -> Fate) {
        if out.events.iter().any(|it| matches!(it, Event::TasksAdded { .. })) {
            self.adopt_growth();
        }
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
                    let Fate { end, beats, usage } = fate(task, attempt);
                    self.usages.extend(usage.map(|it| ((task, attempt), it)));
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
            Event::TaskReused { task, .. } => format!("reuse {}", name(task)),
            Event::TaskJoined { task } => format!("join {}", name(task)),
            Event::TasksAdded { parent: Some(task), n_tasks } => {
                format!("expand {} up to {n_tasks} tasks", name(task))
            }
            Event::TasksAdded { n_tasks, .. } => format!("grow to {n_tasks} tasks"),
            Event::DispatchPaused => "pause".to_owned(),
            Event::DispatchResumed => "resume".to_owned(),
            Event::TasksPaused { tasks } => format!("pause {}", names(tasks)),
            Event::TasksResumed { tasks } => format!("resume {}", names(tasks)),
            Event::WorkersChanged { workers_max } => format!("workers {workers_max}"),
            Event::NestedSpent { task, .. } => format!("charge {}", name(task)),
            Event::BudgetExceeded { what } => format!("exceed {}", what.as_str()),
            Event::TaskDropped { task, .. } => format!("drop {}", name(task)),
            Event::GateFailed { task, failure, .. } => {
                format!("fail {}: {}", name(task), failure.message)
            }
            Event::TaskKept { .. }
            | Event::BudgetChanged { .. }
            | Event::GateReached { .. }
            | Event::GatePassed { .. }
            | Event::AttemptStarted { .. }
            | Event::AttemptEnded { .. }
            | Event::RetryDue { .. }
            | Event::TaskExpired { .. }
            | Event::AttemptInterrupted { .. }
            | Event::TaskCancelled { .. }
            | Event::DispatchCancelled
            | Event::DispatchEnded { .. } => return,
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

    pub(super) fn replay(&self) -> Scheduler {
        let (graph, policy) = self.first.clone();
        let mut replayed = Scheduler::new(graph, policy);
        let mut growths = self.growths.iter();
        for (at, event) in &self.journal {
            if let Event::TasksAdded { .. } = event {
                replayed.prepare(Arc::clone(growths.next().unwrap()));
            }
            assert!(replayed.can_follow(event), "a scheduler wrote what it cannot: {event:?}");
            replayed.replay(*at, event);
        }
        replayed
    }

    pub(super) fn is(&self, task: TaskIdx, state: TaskState) -> bool {
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
        claims: Arc::default(),
        funds: Funds::default(),
        seed: 0,
    }
}

fn failed(code: FailureCode) -> AttemptResult {
    Err(Failure::new(code, "as scripted"))
}
