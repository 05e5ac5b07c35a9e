//! What each fact changes; live running and replay both come through here.

use super::{
    machine::Scheduler,
    message::Event,
    state::TaskState,
    timer::{Timer, TimerKind},
};
use crate::model::{Attempt, Millis, TaskIdx};

impl Scheduler {
    /// Changes the state by one fact. Live running and replay both come through here.
    pub fn apply(&mut self, event: &Event) {
        if let Event::AttemptEnded { task, usage, ref result, .. } = *event {
            self.ledger.settle(task, usage, result);
        }
        match *event {
            Event::AttemptStarted { task, attempt, deadline, total_deadline, reserve, .. } => {
                self.ledger.start(task, attempt == Attempt(1), reserve);
                self.set(task, TaskState::Running);
                self.tasks[task.as_usize()].attempt = attempt;
                self.add_timer(Timer { at: deadline, task, attempt, kind: TimerKind::Attempt });
                if let Some(at) = total_deadline {
                    self.limit_total(task, at);
                }
            }
            Event::TaskKept { task }
            | Event::TaskReused { task, .. }
            | Event::TaskJoined { task }
            | Event::AttemptEnded { task, result: Ok(()), .. } => {
                self.end(task, TaskState::Succeeded);
            }
            Event::AttemptEnded {
                task,
                attempt,
                result: Err(ref failure),
                retry_at: Some(at),
                ..
            } => {
                self.set(task, TaskState::Backoff);
                self.trials.entry(task).or_default().count(failure.code, at);
                self.add_timer(Timer { at, task, attempt, kind: TimerKind::Retry });
            }
            Event::AttemptEnded { task, result: Err(_), retry_at: None, .. }
            | Event::GateFailed { task, .. }
            | Event::TaskExpired { task } => self.end(task, TaskState::Failed),
            Event::RetryDue { task } | Event::AttemptInterrupted { task, .. } => {
                self.set(task, TaskState::Ready);
            }
            Event::TasksAdded { parent, .. } => self.add_tasks(parent),
            Event::GateReached { task, until, .. } => self.reach_gate(task, until),
            Event::GatePassed { task, gate } => self.go_on(task, Some(gate)),
            Event::TaskOmitted { task, .. } => self.end(task, TaskState::Omitted),
            Event::TaskSkipped { task, .. } => self.end(task, TaskState::Skipped),
            Event::TaskCancelled { task } => self.end(task, TaskState::Cancelled),
            Event::DispatchPaused => self.apply_pause(),
            Event::DispatchResumed => self.apply_resume(),
            Event::TasksPaused { ref tasks } => self.apply_pause_of(tasks),
            Event::TasksResumed { ref tasks } => self.apply_resume_of(tasks),
            Event::WorkersChanged { workers_max } => self.policy.workers_max = workers_max,
            Event::TaskDropped { task, .. } => self.end(task, self.dropped(task)),
            Event::NestedSpent { spend, tasks, .. } => self.ledger.charge(spend, tasks),
            Event::BudgetExceeded { what } => self.ledger.exceeded = Some(what),
            Event::BudgetChanged { budget } => self.ledger.change(budget),
            Event::DispatchCancelled => self.is_cancelled = true,
            Event::DispatchEnded { .. } => self.is_ended = true,
        }
    }

    pub(super) fn add_timer(&mut self, timer: Timer) {
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

    fn end(&mut self, task: TaskIdx, state: TaskState) {
        self.set(task, state);
        self.release_dependents(task);
    }

    /// The one place a state is written, so that set and counters always agree with it.
    pub(super) fn set(&mut self, task: TaskIdx, state: TaskState) {
        let before = std::mem::replace(&mut self.tasks[task.as_usize()].state, state);
        let priority = self.graph.priority(task);
        match before {
            TaskState::Ready if self.pauses.holds(task) => (),
            TaskState::Ready => self.dequeue(task),
            TaskState::Running => {
                self.ledger.give_up(task);
                self.queue.end(task);
                self.reasons.worker_freed(task, self.n_running, self.policy.workers_max);
                self.n_running -= 1;
            }
            TaskState::Held => {
                self.stages.remove(&task);
            }
            TaskState::Blocked
            | TaskState::Backoff
            | TaskState::Succeeded
            | TaskState::Failed
            | TaskState::Omitted
            | TaskState::Skipped
            | TaskState::Cancelled => (),
        }
        match state {
            TaskState::Ready => {
                if !self.pauses.holds(task) {
                    self.queue.insert(task, priority);
                }
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
            TaskState::Omitted => {
                self.n_open -= 1;
                self.n_omitted += 1;
            }
            TaskState::Failed | TaskState::Skipped | TaskState::Cancelled => self.n_open -= 1,
            TaskState::Blocked | TaskState::Held | TaskState::Backoff => (),
        }
        self.claim(task, before, state);
        if !self.trials.is_empty() && !state.is_open() {
            self.trials.remove(&task);
        }
    }
}
