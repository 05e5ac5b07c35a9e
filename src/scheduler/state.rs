//! Where a task stands.

use super::timer::{Timer, TimerKind};
use crate::model::Attempt;

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskState {
    /// Waits for other tasks.
    Blocked,
    /// Waits for an answer at one of its gates.
    Held,
    /// Waits for a worker.
    Ready,
    /// Is with an agent.
    Running,
    /// Waits until it may be tried again, without a worker.
    Backoff,
    /// Ended well.
    Succeeded,
    /// Ended badly.
    Failed,
    /// Never started and never will, because a condition was not met.
    Omitted,
    /// Never started and never will, because of another task.
    Skipped,
    /// Given up by the caller.
    Cancelled,
}

/// What is kept of every task.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) state: TaskState,
    pub(super) attempt: Attempt,
    pub(super) n_waiting: u32,
}

impl TaskState {
    /// Whether the task has not ended.
    pub(super) fn is_open(self) -> bool {
        match self {
            Self::Blocked | Self::Held | Self::Ready | Self::Running | Self::Backoff => true,
            Self::Succeeded | Self::Failed | Self::Omitted | Self::Skipped | Self::Cancelled => {
                false
            }
        }
    }
}

impl Slot {
    /// Whether a timer of the task still matters.
    pub(super) fn minds(self, timer: &Timer) -> bool {
        let is_same = self.attempt == timer.attempt;
        match timer.kind {
            TimerKind::Total => self.state.is_open(),
            TimerKind::Attempt | TimerKind::Idle => is_same && self.state == TaskState::Running,
            TimerKind::Gate => self.state == TaskState::Held,
            TimerKind::Retry => is_same && self.state == TaskState::Backoff,
        }
    }
}
