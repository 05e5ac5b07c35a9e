//! The state of one dispatch and the rules that change it.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::{
    message::{Action, Event, Input, Outbox},
    policy::Policy,
    queue::{Next, Queue},
    reasons::Reasons,
    retry::{self, Trial},
    state::{Slot, TaskState},
    timer::{Timer, TimerKind, Timers},
};
use crate::{
    model::{
        Attempt, AttemptResult, DispatchStatus, Failure, FailureCode, Millis, OnFailure, TaskIdx,
    },
    plan::TaskGraph,
};

/// The state of one dispatch.
///
/// Invariant: `queue` holds exactly the priorities of the tasks in `TaskState::Ready`; the counters
/// agree with the states.
#[derive(Debug)]
pub struct Scheduler {
    graph: Arc<TaskGraph>,
    pub(super) policy: Policy,
    tasks: Vec<Slot>,
    pub(super) queue: Queue,
    reasons: Reasons,
    now: Millis,
    timers: Timers,
    /// Only of tasks that were tried again or have limits over all their attempts.
    trials: FxHashMap<TaskIdx, Trial>,
    n_running: u32,
    pub(super) n_open: usize,
    n_succeeded: usize,
    pub(super) is_started: bool,
    is_cancelled: bool,
    is_ended: bool,
}

impl Scheduler {
    /// Sets up a dispatch of `graph`; nothing runs before [`Input::Start`].
    pub fn new(graph: Arc<TaskGraph>, policy: Policy) -> Self {
        let blank = Slot { state: TaskState::Blocked, attempt: Attempt(0), n_waiting: 0 };
        let mut this = Self {
            queue: Queue::new(graph.len(), &policy.lanes),
            policy,
            tasks: vec![blank; graph.len()],
            reasons: Reasons::new(graph.len()),
            now: Millis(0),
            timers: Timers::default(),
            trials: FxHashMap::default(),
            n_running: 0,
            n_open: graph.len(),
            n_succeeded: 0,
            is_started: false,
            is_cancelled: false,
            is_ended: false,
            graph,
        };
        for task in this.graph.tasks() {
            let n_waiting = this.graph.dependencies(task).len();
            this.tasks[task.as_usize()].n_waiting = u32::try_from(n_waiting).unwrap_or(u32::MAX);
            if n_waiting == 0 {
                this.set(task, TaskState::Ready);
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
        self.timers.first().filter(|_| self.is_started).map(|it| it.at)
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
            }
            Input::AttemptEnded { task, attempt, result } => {
                if self.is_current(task, attempt) {
                    self.end_attempt(now, task, result, out);
                }
            }
            Input::Heartbeat { task, attempt } => self.hear(now, task, attempt),
            Input::Allow { starts, lanes } => {
                self.queue.allow(starts, &lanes);
                if self.is_started {
                    self.reasons.allowed();
                }
            }
            Input::Cancel => self.cancel_all(out),
            Input::CancelTasks { tasks } => self.cancel_tasks(&tasks, out),
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

    /// Changes the state by one fact. Live running and replay both come through here.
    pub fn apply(&mut self, event: &Event) {
        match *event {
            Event::AttemptStarted { task, attempt, deadline, total_deadline, .. } => {
                self.set(task, TaskState::Running);
                self.tasks[task.as_usize()].attempt = attempt;
                self.add_timer(Timer { at: deadline, task, attempt, kind: TimerKind::Attempt });
                if let Some(at) = total_deadline {
                    self.limit_total(task, at);
                }
            }
            Event::TaskKept { task } | Event::AttemptEnded { task, result: Ok(()), .. } => {
                self.set(task, TaskState::Succeeded);
                self.release_dependents(task);
            }
            Event::AttemptEnded { task, attempt, result: Err(ref failure), retry_at: Some(at) } => {
                self.set(task, TaskState::Backoff);
                self.trials.entry(task).or_default().count(failure.code, at);
                self.add_timer(Timer { at, task, attempt, kind: TimerKind::Retry });
            }
            Event::AttemptEnded { task, result: Err(_), retry_at: None, .. }
            | Event::TaskExpired { task } => {
                self.set(task, TaskState::Failed);
                if self.policy.on_failure == OnFailure::Continue {
                    self.release_dependents(task);
                }
            }
            Event::RetryDue { task } | Event::AttemptInterrupted { task, .. } => {
                self.set(task, TaskState::Ready);
            }
            Event::TaskSkipped { task, .. } => self.set(task, TaskState::Skipped),
            Event::TaskCancelled { task } => self.set(task, TaskState::Cancelled),
            Event::DispatchCancelled => self.is_cancelled = true,
            Event::DispatchEnded { .. } => self.is_ended = true,
        }
    }

    /// Starts what can start, and ends the dispatch when nothing is left.
    fn advance(&mut self, now: Millis, out: &mut Outbox) {
        while self.n_running < self.policy.workers_max
            && let Some(next) = self.queue.next()
        {
            self.start_attempt(now, next, out);
        }
        self.queue.lapse();
        self.reasons.end_round();
        if self.n_open == 0 && !self.is_ended {
            let status = self.verdict();
            self.record(Event::DispatchEnded { status }, out);
            out.actions.push(Action::Finish { status });
        }
    }

    fn start_attempt(&mut self, now: Millis, next: Next, out: &mut Outbox) {
        let task = self.graph.task_of_priority(next.priority);
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
        let started = Event::AttemptStarted { task, attempt, deadline, total_deadline, decision };
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
        self.end_attempt(now, task, Err(failure), out);
    }

    fn verdict(&self) -> DispatchStatus {
        match self.n_succeeded {
            _ if self.is_cancelled => DispatchStatus::Cancelled,
            n if n == self.tasks.len() => DispatchStatus::Success,
            0 => DispatchStatus::Failure,
            _ => DispatchStatus::Partial,
        }
    }

    fn end_attempt(&mut self, now: Millis, task: TaskIdx, result: AttemptResult, out: &mut Outbox) {
        let attempt = self.attempt(task);
        let is_failed = result.is_err();
        let retry_at = result.as_ref().err().and_then(|failure| {
            let trial = self.trials.get(&task).copied().unwrap_or_default();
            retry::next_try(&self.policy, &trial, (task, attempt), failure, now)
        });
        self.record(Event::AttemptEnded { task, attempt, result, retry_at }, out);
        if is_failed && retry_at.is_none() {
            self.react_to_failure(task, out);
        }
    }

    fn react_to_failure(&mut self, task: TaskIdx, out: &mut Outbox) {
        match self.policy.on_failure {
            OnFailure::SkipDependents => self.skip_dependents(task, out),
            OnFailure::FailFast => self.give_up(task, out),
            OnFailure::Continue => (),
        }
    }

    /// Skips all that waits for `task`, directly or through others.
    fn skip_dependents(&mut self, because: TaskIdx, out: &mut Outbox) {
        let graph = Arc::clone(&self.graph);
        let mut pending = vec![because];
        while let Some(task) = pending.pop() {
            for &dependent in graph.dependents(task) {
                if self.state(dependent) == TaskState::Blocked {
                    self.record(Event::TaskSkipped { task: dependent, because }, out);
                    pending.push(dependent);
                }
            }
        }
    }

    /// Stops what was begun and skips what was not.
    fn give_up(&mut self, because: TaskIdx, out: &mut Outbox) {
        for task in self.graph.tasks() {
            match self.state(task) {
                TaskState::Running | TaskState::Backoff => self.stop(task, out),
                TaskState::Ready if self.attempt(task).0 > 0 => self.stop(task, out),
                TaskState::Blocked | TaskState::Ready => {
                    self.record(Event::TaskSkipped { task, because }, out);
                }
                TaskState::Succeeded
                | TaskState::Failed
                | TaskState::Skipped
                | TaskState::Cancelled => (),
            }
        }
    }

    fn cancel_all(&mut self, out: &mut Outbox) {
        if self.n_open == 0 {
            return;
        }
        self.record(Event::DispatchCancelled, out);
        for task in self.graph.tasks() {
            if self.is_open(task) {
                self.stop(task, out);
            }
        }
    }

    fn cancel_tasks(&mut self, tasks: &[TaskIdx], out: &mut Outbox) {
        for &task in tasks {
            if self.is_open(task) {
                self.stop(task, out);
                self.skip_dependents(task, out);
            }
        }
    }

    /// Cancels an open task, stopping its attempt if one runs.
    fn stop(&mut self, task: TaskIdx, out: &mut Outbox) {
        if self.state(task) == TaskState::Running {
            out.actions.push(Action::StopAttempt { task, attempt: self.attempt(task) });
        }
        self.record(Event::TaskCancelled { task }, out);
    }

    fn keep(&mut self, tasks: &[TaskIdx], out: &mut Outbox) {
        for &task in tasks {
            if matches!(self.state(task), TaskState::Blocked | TaskState::Ready) {
                self.record(Event::TaskKept { task }, out);
            }
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

    fn record(&mut self, event: Event, out: &mut Outbox) {
        self.apply(&event);
        out.events.push(event);
    }

    fn is_current(&self, task: TaskIdx, attempt: Attempt) -> bool {
        let slot = self.tasks.get(task.as_usize());
        slot.is_some_and(|it| it.state == TaskState::Running && it.attempt == attempt)
    }

    fn is_open(&self, task: TaskIdx) -> bool {
        self.state(task).is_open()
    }

    fn add_timer(&mut self, timer: Timer) {
        let (timers, tasks) = (&mut self.timers, &self.tasks);
        timers.add(timer, |it| tasks[it.task.as_usize()].minds(it));
    }

    /// Keeps the first total deadline of a task; later attempts only repeat it.
    fn limit_total(&mut self, task: TaskIdx, at: Millis) {
        let trial = self.trials.entry(task).or_default();
        if trial.total_deadline.replace(at).is_none() {
            let attempt = self.attempt(task);
            self.add_timer(Timer { at, task, attempt, kind: TimerKind::Total });
        }
    }

    fn release_dependents(&mut self, task: TaskIdx) {
        let graph = Arc::clone(&self.graph);
        for &dependent in graph.dependents(task) {
            let slot = &mut self.tasks[dependent.as_usize()];
            slot.n_waiting = slot.n_waiting.saturating_sub(1);
            if slot.n_waiting == 0 && slot.state == TaskState::Blocked {
                self.reasons.released(dependent, task);
                self.set(dependent, TaskState::Ready);
            }
        }
    }

    /// The one place a state is written, so that set and counters always agree with it.
    fn set(&mut self, task: TaskIdx, state: TaskState) {
        let before = std::mem::replace(&mut self.tasks[task.as_usize()].state, state);
        let priority = self.graph.priority(task);
        match before {
            TaskState::Ready => self.queue.remove(task, priority),
            TaskState::Running => {
                self.queue.end(task);
                self.reasons.worker_freed(task, self.n_running, self.policy.workers_max);
                self.n_running -= 1;
            }
            TaskState::Blocked
            | TaskState::Backoff
            | TaskState::Succeeded
            | TaskState::Failed
            | TaskState::Skipped
            | TaskState::Cancelled => (),
        }
        match state {
            TaskState::Ready => {
                self.queue.insert(task, priority);
                self.reasons.ready(task, self.now);
            }
            TaskState::Running => {
                self.queue.start(task, self.now);
                self.n_running += 1;
            }
            TaskState::Succeeded => {
                self.n_open -= 1;
                self.n_succeeded += 1;
            }
            TaskState::Failed | TaskState::Skipped | TaskState::Cancelled => self.n_open -= 1,
            TaskState::Blocked | TaskState::Backoff => (),
        }
        if !state.is_open() {
            self.trials.remove(&task);
        }
    }
}
