//! The state of one dispatch and the rules that change it.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::{
    budget::Ledger,
    gate::Stage,
    grow::Growth,
    message::{Action, Event, Input, Outbox},
    pause::Pauses,
    policy::{Policy, Uses},
    queue::{Next, Queue},
    reasons::Reasons,
    retry::{self, Trial},
    state::{Slot, TaskState},
    timer::{Timer, TimerKind, Timers},
    trigger::Tally,
};
use crate::{
    model::{Attempt, AttemptResult, DispatchStatus, Failure, FailureCode, Millis, TaskIdx, Usage},
    plan::{Holders, TaskGraph},
};

/// The state of one dispatch.
///
/// Invariant: `queue` holds exactly the priorities of the tasks in `TaskState::Ready` that are not
/// paused by name, nor set aside for the claims of others; the counters agree with the states.
#[derive(Debug)]
pub struct Scheduler {
    pub(super) graph: Arc<TaskGraph>,
    pub(super) policy: Policy,
    pub(super) tasks: Vec<Slot>,
    pub(super) queue: Queue,
    pub(super) reasons: Reasons,
    pub(super) now: Millis,
    pub(super) timers: Timers,
    /// Only of tasks that were tried again or have limits over all their attempts.
    pub(super) trials: FxHashMap<TaskIdx, Trial>,
    /// Only of tasks that do not simply wait for success of all.
    pub(super) tallies: FxHashMap<TaskIdx, Tally>,
    /// Of the tasks in `TaskState::Held`.
    pub(super) stages: FxHashMap<TaskIdx, Stage>,
    /// What must not start.
    pub(super) pauses: Pauses,
    /// What is never looked at, because no task uses it.
    pub(super) uses: Uses,
    pub(super) holders: Holders,
    /// Those that have become many, with the first of what they became; all of that stands behind.
    pub(super) expanded: FxHashMap<TaskIdx, TaskIdx>,
    /// What the next growth adds.
    pub(super) growth: Option<Arc<Growth>>,
    pub(super) ledger: Ledger,
    /// Held tasks whose question is to be asked.
    pub(super) asks: Vec<TaskIdx>,
    pub(super) n_running: u32,
    pub(super) n_open: usize,
    pub(super) n_succeeded: usize,
    pub(super) n_omitted: usize,
    pub(super) is_started: bool,
    pub(super) is_cancelled: bool,
    pub(super) is_ended: bool,
}

impl Scheduler {
    /// Sets up a dispatch of `graph`; nothing runs before [`Input::Start`].
    pub fn new(graph: Arc<TaskGraph>, policy: Policy) -> Self {
        let blank = Slot { state: TaskState::Blocked, attempt: Attempt(0), n_waiting: 0 };
        let mut this = Self {
            queue: Queue::new(graph.len(), &policy.lanes),
            tasks: vec![blank; graph.len()],
            reasons: Reasons::new(graph.len()),
            now: Millis(0),
            timers: Timers::default(),
            trials: FxHashMap::default(),
            tallies: FxHashMap::default(),
            stages: FxHashMap::default(),
            pauses: Pauses::default(),
            uses: Uses::of(&policy),
            holders: Holders::new(&policy.claims),
            expanded: FxHashMap::default(),
            growth: None,
            ledger: Ledger::new(&policy.funds),
            asks: Vec::new(),
            n_running: 0,
            n_open: graph.len(),
            n_succeeded: 0,
            n_omitted: 0,
            is_started: false,
            is_cancelled: false,
            is_ended: false,
            policy,
            graph,
        };
        let graph = Arc::clone(&this.graph);
        for task in graph.tasks() {
            let n_waiting = graph.dependencies(task).len();
            this.tasks[task.as_usize()].n_waiting = u32::try_from(n_waiting).unwrap_or(u32::MAX);
            if n_waiting == 0 {
                this.open(task);
            }
        }
        this
    }

    /// Where `task` stands.
    pub fn state(&self, task: TaskIdx) -> TaskState {
        self.tasks[task.as_usize()].state
    }

    /// How many tasks there are.
    pub fn n_tasks(&self) -> usize {
        self.tasks.len()
    }

    /// How often `task` was tried, the running attempt included.
    pub fn attempt(&self, task: TaskIdx) -> Attempt {
        self.tasks[task.as_usize()].attempt
    }

    /// When `task` is tried again, if it waits for that.
    pub fn retry_at(&self, task: TaskIdx) -> Option<Millis> {
        let trial = self.trials.get(&task).filter(|_| self.state(task) == TaskState::Backoff);
        trial.and_then(|it| it.retry_at)
    }

    /// How many attempts run.
    pub fn n_running(&self) -> u32 {
        self.n_running
    }

    /// Whether nothing is left to do.
    pub fn is_ended(&self) -> bool {
        self.is_ended
    }

    /// When [`Self::handle_timeout`] wants to be called, if nothing else happens before.
    pub fn poll_timeout(&self) -> Option<Millis> {
        let timer = self.timers.first().map(|it| it.at);
        let due = timer.into_iter().chain(self.budget_due()).min();
        due.filter(|_| self.is_started)
    }

    /// Takes one input at the time `now`.
    pub fn handle(&mut self, now: Millis, input: Input, out: &mut Outbox) {
        if self.is_ended {
            return;
        }
        self.now = now;
        match input {
            Input::Keep { tasks } => self.keep(&tasks, out),
            Input::Start => {
                if !std::mem::replace(&mut self.is_started, true) {
                    self.reasons.start(now);
                }
                self.interrupt_running(out);
                self.ask_again();
            }
            Input::Answer { task, gate, answer } => self.answer(task, gate, answer, out),
            Input::AttemptEnded { task, attempt, result, usage } => {
                if self.is_current(task, attempt) {
                    self.end_attempt(now, task, (result, usage), out);
                }
            }
            Input::Heartbeat { task, attempt } => self.hear(now, task, attempt),
            Input::Allow { starts, lanes } => {
                self.queue.allow(starts, &lanes);
                if self.is_started {
                    self.reasons.allowed();
                }
            }
            Input::Grow { parent, growth } => self.grow(parent, growth, out),
            Input::SetBudget { budget } => {
                self.reasons.funded();
                self.record(Event::BudgetChanged { budget }, out);
            }
            Input::Charge { task, spend, tasks } => {
                self.record(Event::NestedSpent { task, spend, tasks }, out);
            }
            Input::Fund { nested, left } => self.fund(nested, left),
            Input::Overdraw { what } => self.overdraw(what, out),
            Input::Cancel => self.cancel_all(out),
            Input::CancelTasks { tasks } => self.cancel_tasks(&tasks, out),
            Input::Pause { tasks } => self.pause(&tasks, out),
            Input::Resume { tasks } => self.resume(&tasks, out),
            Input::SetWorkers { workers_max } => self.set_workers(workers_max, out),
        }
        // After the input: what is reported at the last moment still counts.
        self.handle_timeout(now, out);
    }

    /// Takes the passing of time up to `now`.
    pub fn handle_timeout(&mut self, now: Millis, out: &mut Outbox) {
        self.now = now;
        if !self.is_started {
            return;
        }
        while let Some(due) = self.timers.first()
            && due.at <= now
        {
            self.timers.pop();
            if self.tasks[due.task.as_usize()].minds(&due) {
                self.fire(now, due, out);
            }
        }
        if self.ledger.budget.is_some() {
            self.check_budget(now, out);
        }
        self.advance(now, out);
    }

    /// Takes a fact of the journal, and when it was written.
    pub fn replay(&mut self, at: Millis, event: &Event) {
        if self.now == Millis(0) {
            self.reasons.restart(at);
        }
        self.now = at;
        self.apply(event);
        self.reasons.end_round();
    }

    /// Starts what can start, and ends the dispatch when nothing is left.
    fn advance(&mut self, now: Millis, out: &mut Outbox) {
        if !self.asks.is_empty() {
            self.ask(now, out);
        }
        while !self.pauses.is_whole()
            && !self.ledger.is_closed()
            && self.n_running < self.policy.workers_max
            && let Some(next) = self.queue.next()
        {
            if self.set_aside(next) {
                continue;
            }
            let task = self.graph.task_of_priority(next.priority);
            if self.ledger.is_bounded() && !self.affords(task, out) {
                break;
            }
            self.start_attempt(now, (next, task), out);
        }
        self.queue.lapse();
        self.reasons.end_round();
        if self.n_open == 0 && !self.is_ended {
            let status = self.verdict();
            self.record(Event::DispatchEnded { status }, out);
            out.actions.push(Action::Finish { status });
        }
    }

    fn start_attempt(&mut self, now: Millis, (next, task): (Next, TaskIdx), out: &mut Outbox) {
        let attempt = Attempt(self.attempt(task).0 + 1);
        let own = self.policy.of(task);
        let idle_timeout = own.idle_timeout;
        let deadline = now + own.timeout.unwrap_or(self.policy.timeout);
        let total_deadline = own.total_timeout.map(|it| {
            let earlier = self.trials.get(&task).and_then(|it| it.total_deadline);
            earlier.unwrap_or(now + it)
        });
        let chosen = (self.queue.n_ready(), next.overtakes);
        let decision = self.reasons.explain((task, attempt), now, chosen);
        let reserve = self.reserve_for(task);
        let started =
            Event::AttemptStarted { task, attempt, deadline, decision, total_deadline, reserve };
        self.record(started, out);
        out.actions.push(Action::StartAttempt { task, attempt, deadline });
        if let Some(idle) = idle_timeout {
            // No fact, and so not in `apply`: what is replayed does not run.
            let at = now + idle;
            self.trials.entry(task).or_default().idle_deadline = Some(at);
            self.add_timer(Timer { at, task, attempt, kind: TimerKind::Idle });
        }
    }

    /// Takes a sign of progress. The timer stays where it is and is set anew when it fires.
    fn hear(&mut self, now: Millis, task: TaskIdx, attempt: Attempt) {
        if self.is_current(task, attempt)
            && let Some(idle) = self.policy.of(task).idle_timeout
        {
            self.trials.entry(task).or_default().idle_deadline = Some(now + idle);
        }
    }

    /// Does what a timer is for; it matters still.
    fn fire(&mut self, now: Millis, due: Timer, out: &mut Outbox) {
        let Timer { task, kind, .. } = due;
        match kind {
            TimerKind::Retry => self.record(Event::RetryDue { task }, out),
            TimerKind::Gate => self.lapse_gate(task, out),
            TimerKind::Attempt => {
                self.time_out(now, task, "the attempt passed its deadline".to_owned(), out);
            }
            TimerKind::Idle => match self.trials.get(&task).and_then(|it| it.idle_deadline) {
                Some(at) if at > now => self.add_timer(Timer { at, ..due }),
                Some(_) | None => {
                    let span = self.policy.of(task).idle_timeout.unwrap_or_default().0;
                    let message = format!(
                        "the agent showed no progress for {span} ms, its idle_timeout_seconds"
                    );
                    self.time_out(now, task, message, out);
                }
            },
            TimerKind::Total if self.state(task) == TaskState::Running => {
                let span = self.policy.of(task).total_timeout.unwrap_or_default().0;
                let message =
                    format!("the task took more than {span} ms in all, its total_timeout_seconds");
                self.time_out(now, task, message, out);
            }
            TimerKind::Total => {
                self.record(Event::TaskExpired { task }, out);
                self.react_to_failure(task, out);
            }
        }
    }

    fn time_out(&mut self, now: Millis, task: TaskIdx, message: String, out: &mut Outbox) {
        out.actions.push(Action::StopAttempt { task, attempt: self.attempt(task) });
        let failure = Failure::new(FailureCode::Timeout, message);
        self.end_attempt(now, task, (Err(failure), None), out);
    }

    fn verdict(&self) -> DispatchStatus {
        match self.n_succeeded {
            _ if self.is_cancelled => DispatchStatus::Cancelled,
            n if n + self.n_omitted == self.tasks.len() => DispatchStatus::Success,
            0 => DispatchStatus::Failure,
            _ => DispatchStatus::Partial,
        }
    }

    pub(super) fn end_attempt(
        &mut self,
        now: Millis,
        task: TaskIdx,
        (result, usage): (AttemptResult, Option<Usage>),
        out: &mut Outbox,
    ) {
        let attempt = self.attempt(task);
        let is_failed = result.is_err();
        let may_retry = !self.ledger.is_over();
        if self.ledger.is_waiting {
            self.reasons.funded();
        }
        let failure = result.as_ref().err().filter(|_| may_retry);
        let retry_at = failure.and_then(|failure| {
            let trial = self.trials.get(&task).copied().unwrap_or_default();
            retry::next_try(&self.policy, &trial, (task, attempt), failure, now)
        });
        self.record(Event::AttemptEnded { task, attempt, result, retry_at, usage }, out);
        if is_failed && retry_at.is_none() {
            self.react_to_failure(task, out);
        }
    }

    /// After a replay: attempts that ran when the former process died will be started anew.
    fn interrupt_running(&mut self, out: &mut Outbox) {
        if self.n_running == 0 {
            return;
        }
        for task in self.graph.tasks() {
            if self.state(task) == TaskState::Running {
                let attempt = self.attempt(task);
                self.record(Event::AttemptInterrupted { task, attempt }, out);
            }
        }
    }

    pub(super) fn record(&mut self, event: Event, out: &mut Outbox) {
        self.apply(&event);
        out.events.push(event);
    }

    fn is_current(&self, task: TaskIdx, attempt: Attempt) -> bool {
        let slot = self.tasks.get(task.as_usize());
        slot.is_some_and(|it| it.state == TaskState::Running && it.attempt == attempt)
    }

    pub(super) fn is_open(&self, task: TaskIdx) -> bool {
        self.state(task).is_open()
    }
}
