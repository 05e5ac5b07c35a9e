//! What is due when, soonest first.

use std::{cmp::Reverse, collections::BinaryHeap};

use crate::model::{Attempt, Millis, TaskIdx};

/// Something that is due at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timer {
    pub(super) at: Millis,
    pub(super) task: TaskIdx,
    pub(super) attempt: Attempt,
    pub(super) kind: TimerKind,
}

/// What a timer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TimerKind {
    /// The task must have ended.
    Total,
    /// The attempt must have ended.
    Attempt,
    /// The attempt must have shown progress.
    Idle,
    /// The wait before the next attempt is over.
    Retry,
    /// Somebody must have decided.
    Gate,
}

/// Timers; those that no longer matter are dropped in bulk, so that the heap stays about as large
/// as the number of those that do.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<Packed>>,
    /// How many mattered when the heap was last gone through.
    n_kept: usize,
}

/// A timer as it lies in the heap, which moves and compares many: the time, then task, attempt and
/// kind in one word.
type Packed = (Millis, u64);

impl Timers {
    /// Adds a timer; `is_live` says which of the others still matter.
    ///
    /// Costs O(log n) on average, n being how many matter.
    pub(super) fn add(&mut self, timer: Timer, is_live: impl Fn(&Timer) -> bool) {
        if self.heap.len() > 2 * self.n_kept + 64 {
            self.heap.retain(|it| is_live(&unpack(it.0)));
            self.n_kept = self.heap.len();
        }
        self.heap.push(Reverse(pack(timer)));
    }

    /// The soonest timer, which may matter no longer.
    pub(super) fn first(&self) -> Option<Timer> {
        self.heap.peek().map(|it| unpack(it.0))
    }

    /// Drops the soonest timer.
    pub(super) fn pop(&mut self) {
        self.heap.pop();
    }
}

/// Attempts are far fewer than 2^29: each is a call that was made.
fn pack(timer: Timer) -> Packed {
    let Timer { at, task, attempt, kind } = timer;
    (at, u64::from(task.as_u32()) << 32 | u64::from(attempt.0 << 3) | kind as u64)
}

#[expect(clippy::cast_possible_truncation, reason = "the lower half of the word is meant")]
fn unpack((at, word): Packed) -> Timer {
    let kind = match word & 7 {
        0 => TimerKind::Total,
        1 => TimerKind::Attempt,
        2 => TimerKind::Idle,
        3 => TimerKind::Retry,
        _ => TimerKind::Gate,
    };
    let task = TaskIdx::from_usize((word >> 32) as usize);
    Timer { at, task, attempt: Attempt(word as u32 >> 3), kind }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_come_back_as_they_were_soonest_first() {
        let mut timers = Timers::default();
        let kinds = [
            TimerKind::Total,
            TimerKind::Attempt,
            TimerKind::Idle,
            TimerKind::Retry,
            TimerKind::Gate,
        ];
        let timer = |at: u32| Timer {
            at: Millis(u64::from(at)),
            task: TaskIdx::from_usize(u32::MAX as usize - at as usize),
            attempt: Attempt((1 << 29) - 1 - at),
            kind: kinds[at as usize % 5],
        };
        (0..40).rev().for_each(|it| timers.add(timer(it), |_| true));
        for at in 0..40 {
            assert_eq!(timers.first(), Some(timer(at)));
            timers.pop();
        }
        assert_eq!(timers.first(), None);
    }

    #[test]
    fn timers_that_no_longer_matter_are_dropped_once_they_are_two_thirds_and_more() {
        let mut timers = Timers::default();
        let mut longest = 0;
        for now in 0..1_000 {
            let (task, attempt) = (TaskIdx::from_usize(0), Attempt(1));
            let timer = Timer { at: Millis(now), task, attempt, kind: TimerKind::Attempt };
            timers.add(timer, |it| it.at.0 + 10 >= now);
            longest = longest.max(timers.heap.len());
        }
        // Ten matter at any time: more than 2 * 10 + 64 are gone through before the next is added.
        assert_eq!(longest, 85);
    }
}
