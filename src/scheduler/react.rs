//! What one end means for the other tasks: who is skipped, given up, cancelled or kept.

use std::sync::Arc;

use super::{
    machine::Scheduler,
    message::{Action, Event, Outbox},
    state::TaskState,
};
use crate::model::{OnFailure, TaskIdx};

impl Scheduler {
    /// Carries out what a failure that is final means for the others.
    pub(super) fn react_to_failure(&mut self, task: TaskIdx, out: &mut Outbox) {
        match self.policy.on_failure {
            OnFailure::FailFast => self.give_up(task, out),
            // Where others go on without it, those with rules of their own may never run.
            OnFailure::SkipDependents | OnFailure::Continue => self.skip_dependents(task, out),
        }
    }

    /// Skips all that waits in vain, now that `because` ended, directly or through others.
    pub(super) fn skip_dependents(&mut self, because: TaskIdx, out: &mut Outbox) {
        let graph = Arc::clone(&self.graph);
        let mut pending = vec![because];
        while let Some(task) = pending.pop() {
            for &dependent in graph.dependents(task) {
                if self.state(dependent) != TaskState::Blocked || !self.is_hopeless(dependent, task)
                {
                    continue;
                }
                let event = if self.is_omitted_with(dependent, task) {
                    let (because, reason) = (Some(because), Box::default());
                    Event::TaskOmitted { task: dependent, because, reason }
                } else {
                    Event::TaskSkipped { task: dependent, because }
                };
                self.record(event, out);
                pending.push(dependent);
            }
        }
    }

    /// Stops what was begun and skips what was not.
    fn give_up(&mut self, because: TaskIdx, out: &mut Outbox) {
        for task in self.graph.tasks() {
            match self.state(task) {
                TaskState::Running | TaskState::Backoff => self.stop(task, out),
                TaskState::Ready if self.attempt(task).0 > 0 => self.stop(task, out),
                TaskState::Blocked | TaskState::Held | TaskState::Ready => {
                    self.record(Event::TaskSkipped { task, because }, out);
                }
                TaskState::Succeeded
                | TaskState::Failed
                | TaskState::Omitted
                | TaskState::Skipped
                | TaskState::Cancelled => (),
            }
        }
    }

    pub(super) fn cancel_all(&mut self, out: &mut Outbox) {
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

    pub(super) fn cancel_tasks(&mut self, tasks: &[TaskIdx], out: &mut Outbox) {
        for &task in tasks {
            if self.is_open(task) {
                let parts = self.parts_of(task);
                self.stop(task, out);
                for it in parts {
                    self.stop(it, out);
                }
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

    pub(super) fn keep(&mut self, tasks: &[TaskIdx], out: &mut Outbox) {
        for &task in tasks {
            if matches!(self.state(task), TaskState::Blocked | TaskState::Held | TaskState::Ready) {
                self.record(Event::TaskKept { task }, out);
            }
        }
    }
}
