//! What a dispatch runs and could run, as those see it who share workers out.

use super::machine::Scheduler;
use crate::model::Millis;

impl Scheduler {
    /// How many attempts may ever run at once.
    pub fn workers_max(&self) -> u32 {
        self.policy.workers_max.min(u32::try_from(self.n_open).unwrap_or(u32::MAX))
    }

    /// How many attempts may run at once by its own limit, however many tasks are left.
    pub fn workers_limit(&self) -> u32 {
        self.policy.workers_max
    }

    /// How many workers of its own have nothing to do; 0 before the start, while it is paused, and
    /// where the budget lets nothing start.
    pub fn n_idle(&self) -> u32 {
        let is_held_up = self.is_paused() || self.ledger.is_closed() || self.ledger.is_waiting;
        if !self.is_started || is_held_up {
            return 0;
        }
        self.policy.workers_max.saturating_sub(self.n_running())
    }

    /// How many attempts could start now if the lanes had these rooms; lanes not named have what
    /// they were allowed.
    pub fn startable(&self, rooms: &[(u16, u32)]) -> u32 {
        self.n_idle().min(self.queue.startable(rooms))
    }

    /// Of a lane, how many tasks are ready, how many attempts run, and how many ever started.
    pub fn count(&self, lane: u16) -> (u32, u32, u64) {
        self.queue.count(lane)
    }

    /// How many attempts ever started.
    pub fn n_started(&self) -> u64 {
        self.queue.n_started()
    }

    /// When the last attempt started.
    pub fn last_start(&self) -> Millis {
        self.queue.last_start()
    }
}
