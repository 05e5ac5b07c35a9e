//! Tasks whose claims overlap never run at the same time: who is ready and must wait for another.
//!
//! What a running task has follows from its state, so a replay knows it too. Who waits is found
//! out anew, when a task's turn comes, and is no fact.

use super::{machine::Scheduler, queue::Next, state::TaskState};
use crate::model::TaskIdx;

impl Scheduler {
    /// Whether the claims of `task` are free of those of all that run.
    pub(super) fn has_room(&self, task: TaskIdx) -> bool {
        !self.uses.claims || self.holders.has_room(&self.policy.claims, task)
    }

    /// Sets the next task aside if it must wait for another one.
    pub(super) fn set_aside(&mut self, next: Next) -> bool {
        if !self.uses.claims {
            return false;
        }
        let task = self.graph.task_of_priority(next.priority);
        let claims = &self.policy.claims;
        if self.holders.may_take(claims, task, next.priority) {
            return false;
        }
        self.queue.remove(task, next.priority);
        self.holders.park(claims, task, next.priority);
        true
    }

    /// Takes a task out of the queue, or from those set aside, as it is ready no longer.
    pub(super) fn dequeue(&mut self, task: TaskIdx) {
        if !(self.uses.claims && self.holders.unpark(&self.policy.claims, task)) {
            self.queue.remove(task, self.graph.priority(task));
        }
    }

    /// Follows a task's way in and out of `TaskState::Ready` and `TaskState::Running`.
    pub(super) fn claim(&mut self, task: TaskIdx, before: TaskState, after: TaskState) {
        if !self.uses.claims {
            return;
        }
        let claims = &self.policy.claims;
        if after == TaskState::Running {
            self.holders.take(claims, task);
        }
        if before == TaskState::Running {
            self.holders.give_back(claims, task);
            self.make_way(task);
        } else if before == TaskState::Ready && after != TaskState::Running {
            self.make_way(task);
        }
    }

    /// Lets those go on who only waited for what `task` had or wanted.
    pub(super) fn make_way(&mut self, task: TaskIdx) {
        if !self.uses.claims {
            return;
        }
        for woken in self.holders.wake(&self.policy.claims, task) {
            self.reasons.made_way(woken, task);
            self.queue.insert(woken, self.graph.priority(woken));
        }
    }
}
