//! The state of one dispatch and the rules that change it.

use std::sync::Arc;

use super::{
    message::{Action, Decision, Event, Input, Outbox},
    ready::ReadySet,
    timer::{Deadline, Deadlines},
};
use crate::{
    model::{
        Attempt, AttemptResult, DispatchStatus, Failure, FailureCode, Millis, OnFailure, TaskIdx,
    },
    plan::TaskGraph,
};

/// The limits a dispatch runs under.
#[derive(Clone, Debug)]
pub struct Policy {
    /// How many attempts may run at once; at least 1.
    pub workers_max: u32,
    /// What a failed task means for the others.
    pub on_failure: OnFailure,
    /// How long one attempt may take.
    pub timeout: Millis,
    /// The timeouts of tasks that have their own, sorted by task.
    pub task_timeouts: Vec<(TaskIdx, Millis)>,
}

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskState {
    /// Waits for other tasks.
    Blocked,
    /// Waits for a worker.
    Ready,
    /// Is with an agent.
    Running,
    /// Ended well.
    Succeeded,
    /// Ended badly.
    Failed,
    /// Never started and never will, because of another task.
    Skipped,
    /// Given up by the caller.
    Cancelled,
}

/// The state of one dispatch.
///
/// Invariant: `ready` holds exactly the priorities of the tasks in `TaskState::Ready`; the counters
/// agree with the states.
#[derive(Debug)]
pub struct Scheduler {
    graph: Arc<TaskGraph>,
    policy: Policy,
    tasks: Vec<Slot>,
    ready: ReadySet,
    n_ready: u32,
    /// Only for explanations; by task.
    readiness: Vec<Readiness>,
    /// Whose ends gave workers back while all had been busy, in this round.
    freed: Vec<TaskIdx>,
    now: Millis,
    deadlines: Deadlines,
    n_running: u32,
    n_open: usize,
    n_succeeded: usize,
    is_started: bool,
    is_cancelled: bool,
    is_ended: bool,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    state: TaskState,
    attempt: Attempt,
    n_waiting: u32,
}

/// Since when a task is ready, and because of which dependency.
#[derive(Clone, Copy, Debug, Default)]
struct Readiness {
    at: Millis,
    released_by: Option<TaskIdx>,
}

impl Scheduler {
    /// Sets up a dispatch of `graph`; nothing runs before [`Input::Start`].
    pub fn new(graph: Arc<TaskGraph>, policy: Policy) -> Self {
        let blank = Slot { state: TaskState::Blocked, attempt: Attempt(0), n_waiting: 0 };
        let mut this = Self {
            policy,
            tasks: vec![blank; graph.len()],
            ready: ReadySet::new(graph.len()),
            n_ready: 0,
            readiness: vec![Readiness::default(); graph.len()],
            freed: Vec::new(),
            now: Millis(0),
            deadlines: Deadlines::default(),
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

    /// How often `task` was tried, the running attempt included.
    pub fn attempt(&self, task: TaskIdx) -> Attempt {
        self.tasks[task.as_usize()].attempt
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
        self.deadlines.first().map(|it| it.at)
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
                self.start();
                self.interrupt_running(out);
            }
            Input::AttemptEnded { task, attempt, result } => {
                if self.is_current(task, attempt) {
                    self.end_attempt(task, result, out);
                }
            }
            Input::Cancel => self.cancel_all(out),
            Input::CancelTasks { tasks } => self.cancel_tasks(&tasks, out),
        }
        self.advance(now, out);
    }

    /// Takes the passing of time up to `now`.
    pub fn handle_timeout(&mut self, now: Millis, out: &mut Outbox) {
        self.now = now;
        while let Some(due) = self.deadlines.first()
            && due.at <= now
        {
            self.deadlines.pop();
            if self.is_current(due.task, due.attempt) {
                out.actions.push(Action::StopAttempt { task: due.task, attempt: due.attempt });
                let failure = Failure::new(FailureCode::Timeout, "the attempt passed its deadline");
                self.end_attempt(due.task, Err(failure), out);
            }
        }
        self.advance(now, out);
    }

    /// Takes a fact of the journal, and when it was written.
    pub fn replay(&mut self, at: Millis, event: &Event) {
        if self.now == Millis(0) {
            self.readiness.iter_mut().for_each(|it| it.at = at);
        }
        self.now = at;
        self.apply(event);
        self.freed.clear();
    }

    /// Changes the state by one fact. Live running and replay both come through here.
    pub fn apply(&mut self, event: &Event) {
        match *event {
            Event::AttemptStarted { task, attempt, deadline, .. } => {
                self.set(task, TaskState::Running);
                self.tasks[task.as_usize()].attempt = attempt;
                let (deadlines, tasks) = (&mut self.deadlines, &self.tasks);
                let deadline = Deadline { at: deadline, task, attempt };
                deadlines.add(deadline, self.n_running as usize, |it| {
                    let slot = tasks[it.task.as_usize()];
                    slot.state == TaskState::Running && slot.attempt == it.attempt
                });
            }
            Event::TaskKept { task } | Event::AttemptEnded { task, result: Ok(()), .. } => {
                self.set(task, TaskState::Succeeded);
                self.release_dependents(task);
            }
            Event::AttemptEnded { task, result: Err(_), .. } => {
                self.set(task, TaskState::Failed);
                if self.policy.on_failure == OnFailure::Continue {
                    self.release_dependents(task);
                }
            }
            Event::AttemptInterrupted { task, .. } => self.set(task, TaskState::Ready),
            Event::TaskSkipped { task, .. } => self.set(task, TaskState::Skipped),
            Event::TaskCancelled { task } => self.set(task, TaskState::Cancelled),
            Event::DispatchCancelled => self.is_cancelled = true,
            Event::DispatchEnded { .. } => self.is_ended = true,
        }
    }

    /// Starts what can start, and ends the dispatch when nothing is left.
    fn advance(&mut self, now: Millis, out: &mut Outbox) {
        if !self.is_started {
            return;
        }
        while self.n_running < self.policy.workers_max
            && let Some(priority) = self.ready.first()
        {
            let task = self.graph.task_of_priority(priority);
            let attempt = Attempt(self.attempt(task).0 + 1);
            let deadline = now + self.timeout(task);
            let decision = self.explain(task, attempt);
            self.record(Event::AttemptStarted { task, attempt, deadline, decision }, out);
            out.actions.push(Action::StartAttempt { task, attempt, deadline });
        }
        self.freed.clear();
        if self.n_open == 0 && !self.is_ended {
            let status = self.verdict();
            self.record(Event::DispatchEnded { status }, out);
            out.actions.push(Action::Finish { status });
        }
    }

    /// Says why the first of the ready tasks starts now.
    fn explain(&mut self, task: TaskIdx, attempt: Attempt) -> Decision {
        let Readiness { at, released_by } = self.readiness[task.as_usize()];
        Decision {
            n_ready: self.n_ready,
            waited: self.now.since(at),
            released_by: released_by.filter(|_| attempt == Attempt(1)),
            worker_from: self.freed.pop(),
        }
    }

    /// Lets tasks start; those that wait for nothing are ready from now on.
    fn start(&mut self) {
        if !std::mem::replace(&mut self.is_started, true) {
            let fresh = self.readiness.iter_mut().filter(|it| it.at == Millis(0));
            fresh.for_each(|it| it.at = self.now);
        }
    }

    fn verdict(&self) -> DispatchStatus {
        match self.n_succeeded {
            _ if self.is_cancelled => DispatchStatus::Cancelled,
            n if n == self.tasks.len() => DispatchStatus::Success,
            0 => DispatchStatus::Failure,
            _ => DispatchStatus::Partial,
        }
    }

    fn end_attempt(&mut self, task: TaskIdx, result: AttemptResult, out: &mut Outbox) {
        let is_failed = result.is_err();
        let attempt = self.attempt(task);
        self.record(Event::AttemptEnded { task, attempt, result }, out);
        if is_failed {
            match self.policy.on_failure {
                OnFailure::SkipDependents => self.skip_dependents(task, out),
                OnFailure::FailFast => self.give_up(task, out),
                OnFailure::Continue => (),
            }
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

    /// Stops what runs and skips what waits.
    fn give_up(&mut self, because: TaskIdx, out: &mut Outbox) {
        for task in self.graph.tasks() {
            match self.state(task) {
                TaskState::Running => self.stop(task, out),
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
        matches!(self.state(task), TaskState::Blocked | TaskState::Ready | TaskState::Running)
    }

    fn timeout(&self, task: TaskIdx) -> Millis {
        let own = self.policy.task_timeouts.binary_search_by_key(&task, |it| it.0);
        own.map_or(self.policy.timeout, |at| self.policy.task_timeouts[at].1)
    }

    fn release_dependents(&mut self, task: TaskIdx) {
        let graph = Arc::clone(&self.graph);
        for &dependent in graph.dependents(task) {
            let slot = &mut self.tasks[dependent.as_usize()];
            slot.n_waiting = slot.n_waiting.saturating_sub(1);
            if slot.n_waiting == 0 && slot.state == TaskState::Blocked {
                self.readiness[dependent.as_usize()].released_by = Some(task);
                self.set(dependent, TaskState::Ready);
            }
        }
    }

    /// The one place a state is written, so that set and counters always agree with it.
    fn set(&mut self, task: TaskIdx, state: TaskState) {
        let before = std::mem::replace(&mut self.tasks[task.as_usize()].state, state);
        let priority = self.graph.priority(task);
        match before {
            TaskState::Ready => {
                self.ready.remove(priority);
                self.n_ready -= 1;
            }
            TaskState::Running => {
                // Only where no worker was free before this round.
                if self.n_running as usize + self.freed.len() >= self.policy.workers_max as usize {
                    self.freed.push(task);
                }
                self.n_running -= 1;
            }
            TaskState::Blocked
            | TaskState::Succeeded
            | TaskState::Failed
            | TaskState::Skipped
            | TaskState::Cancelled => (),
        }
        match state {
            TaskState::Ready => {
                self.ready.insert(priority);
                self.n_ready += 1;
                self.readiness[task.as_usize()].at = self.now;
            }
            TaskState::Running => self.n_running += 1,
            TaskState::Succeeded => {
                self.n_open -= 1;
                self.n_succeeded += 1;
            }
            TaskState::Failed | TaskState::Skipped | TaskState::Cancelled => self.n_open -= 1,
            TaskState::Blocked => (),
        }
    }
}
