//! Whether a fact can follow those before it: a journal that somebody else changed is refused
//! before it is replayed.

use super::{machine::Scheduler, message::Event, state::TaskState};
use crate::model::{Attempt, TaskIdx};

impl Scheduler {
    /// Whether a scheduler of this dispatch could have recorded `event` now.
    ///
    /// Costs O(1), but for the end of the dispatch, which is compared with all its tasks.
    pub fn can_follow(&self, event: &Event) -> bool {
        !self.is_ended() && self.fits(event)
    }

    fn fits(&self, event: &Event) -> bool {
        match *event {
            Event::TaskKept { task } => {
                self.is_in(task, &[TaskState::Blocked, TaskState::Ready])
                    && self.attempt(task) == Attempt(0)
            }
            Event::AttemptStarted { task, attempt, .. } => {
                self.is_in(task, &[TaskState::Ready])
                    && self.attempt(task).0.checked_add(1) == Some(attempt.0)
            }
            Event::AttemptEnded { task, attempt, .. }
            | Event::AttemptInterrupted { task, attempt } => {
                self.is_in(task, &[TaskState::Running]) && self.attempt(task) == attempt
            }
            Event::RetryDue { task } => self.is_in(task, &[TaskState::Backoff]),
            Event::TaskExpired { task } => {
                self.is_in(task, &[TaskState::Ready, TaskState::Backoff])
            }
            Event::TaskSkipped { task, because } => {
                because.as_usize() < self.n_tasks()
                    && self.is_in(task, &[TaskState::Blocked, TaskState::Ready])
            }
            Event::TaskCancelled { task } => self.is_known(task) && self.state(task).is_open(),
            Event::DispatchCancelled => true,
            Event::DispatchEnded { .. } => {
                let mut tasks = (0..self.n_tasks()).map(TaskIdx::from_usize);
                tasks.all(|it| !self.state(it).is_open())
            }
        }
    }

    fn is_in(&self, task: TaskIdx, states: &[TaskState]) -> bool {
        self.is_known(task) && states.contains(&self.state(task))
    }

    fn is_known(&self, task: TaskIdx) -> bool {
        task.as_usize() < self.n_tasks()
    }
}
