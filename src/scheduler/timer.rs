//! The deadlines of running attempts, soonest first.

use std::{cmp::Reverse, collections::BinaryHeap};

use crate::model::{Attempt, Millis, TaskIdx};

/// What must have ended at its deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Deadline {
    pub(super) at: Millis,
    pub(super) task: TaskIdx,
    pub(super) attempt: Attempt,
}

/// Deadlines; those of attempts that ended before are dropped in bulk, so that the heap stays
/// about as large as the number of running attempts.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    heap: BinaryHeap<Reverse<Deadline>>,
}

impl Deadlines {
    /// Adds a deadline; `is_running` says which of the others still matter.
    ///
    /// Costs O(log running) on average.
    pub(super) fn add(
        &mut self,
        deadline: Deadline,
        n_running: usize,
        is_running: impl Fn(&Deadline) -> bool,
    ) {
        if self.heap.len() > 2 * n_running + 64 {
            self.heap.retain(|it| is_running(&it.0));
        }
        self.heap.push(Reverse(deadline));
    }

    /// The soonest deadline, which may be of an attempt that has ended.
    pub(super) fn first(&self) -> Option<Deadline> {
        self.heap.peek().map(|it| it.0)
    }

    /// Drops the soonest deadline.
    pub(super) fn pop(&mut self) {
        self.heap.pop();
    }
}
