//! What each start is decided on, kept for explanations only: nothing is decided by it.

use rustc_hash::FxHashMap;

use super::message::Decision;
use crate::model::{Attempt, Millis, TaskIdx};

/// Since when tasks are ready, because of whom, and whose workers are free.
#[derive(Debug)]
pub(super) struct Reasons {
    /// By task.
    readiness: Vec<Readiness>,
    /// Whose ends gave workers back while all had been busy, in this round.
    freed: Vec<TaskIdx>,
    /// Who made way for tasks that were set aside.
    made_way: FxHashMap<TaskIdx, TaskIdx>,
    /// Whether starts of this round are due to what was allowed from outside.
    is_allowed: bool,
    /// Whether a pause was lifted in this round.
    is_resumed: bool,
    /// Whether starts of this round are due to the budget.
    is_funded: bool,
}

/// Since when a task is ready, and because of which dependency.
#[derive(Clone, Copy, Debug, Default)]
struct Readiness {
    at: Millis,
    released_by: Option<TaskIdx>,
}

impl Reasons {
    pub(super) fn new(n_tasks: usize) -> Self {
        let readiness = vec![Readiness::default(); n_tasks];
        Self {
            readiness,
            freed: Vec::new(),
            made_way: FxHashMap::default(),
            is_allowed: false,
            is_resumed: false,
            is_funded: false,
        }
    }

    /// There are more tasks.
    pub(super) fn grow(&mut self, n_tasks: usize) {
        self.readiness.resize(n_tasks, Readiness::default());
    }

    /// Tasks that wait for nothing are ready from `now` on, since the dispatch starts only now.
    pub(super) fn start(&mut self, now: Millis) {
        let fresh = self.readiness.iter_mut().filter(|it| it.at == Millis(0));
        fresh.for_each(|it| it.at = now);
    }

    /// After a replay: all that is ready is so from `at` on.
    pub(super) fn restart(&mut self, at: Millis) {
        self.readiness.iter_mut().for_each(|it| it.at = at);
    }

    /// A dependency that ended was the last that `task` waited for.
    pub(super) fn released(&mut self, task: TaskIdx, by: TaskIdx) {
        self.readiness[task.as_usize()].released_by = Some(by);
    }

    pub(super) fn ready(&mut self, task: TaskIdx, now: Millis) {
        self.readiness[task.as_usize()].at = now;
    }

    /// A task that was set aside for its claims may go on, as another one ended.
    pub(super) fn made_way(&mut self, task: TaskIdx, by: TaskIdx) {
        self.made_way.insert(task, by);
    }

    /// More may start than before.
    pub(super) fn allowed(&mut self) {
        self.is_allowed = true;
    }

    /// A pause was lifted.
    pub(super) fn resumed(&mut self) {
        self.is_resumed = true;
    }

    /// The budget leaves more than before.
    pub(super) fn funded(&mut self) {
        self.is_funded = true;
    }

    /// A worker came free while `n_running` ran; it counts only where none was free before.
    pub(super) fn worker_freed(&mut self, task: TaskIdx, n_running: u32, workers_max: u32) {
        if n_running as usize + self.freed.len() >= workers_max as usize {
            self.freed.push(task);
        }
    }

    pub(super) fn end_round(&mut self) {
        self.freed.clear();
        self.is_allowed = false;
        self.is_resumed = false;
        self.is_funded = false;
    }

    /// Says why the first of the ready tasks starts now.
    pub(super) fn explain(
        &mut self,
        (task, attempt): (TaskIdx, Attempt),
        now: Millis,
        (n_ready, overtakes): (u32, bool),
    ) -> Decision {
        let Readiness { at, released_by } = self.readiness[task.as_usize()];
        Decision {
            n_ready,
            waited: now.since(at),
            released_by: released_by.filter(|_| attempt == Attempt(1)),
            worker_from: self.freed.pop(),
            claim_from: self.made_way.remove(&task),
            overtakes,
            is_allowed: self.is_allowed,
            is_resumed: self.is_resumed,
            is_funded: self.is_funded,
        }
    }
}
