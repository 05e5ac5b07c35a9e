//! What must not start until it is resumed, and how many may run at once from now on.
//!
//! Whoever pauses tasks pauses what depends on them, too, however those before end. A pause ends
//! only when it is lifted; times go on meanwhile.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    machine::Scheduler,
    message::{Event, Outbox},
    state::TaskState,
};
use crate::model::TaskIdx;

/// What is paused.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    /// Whether nothing of the dispatch starts.
    is_whole: bool,
    /// The tasks that were named.
    roots: BTreeSet<TaskIdx>,
    /// By task, whether it is one of those or depends on one; empty where none is named.
    held: Vec<bool>,
}

impl Pauses {
    /// Whether nothing of the dispatch starts.
    pub(super) fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Whether the task does not start although others may.
    pub(super) fn holds(&self, task: TaskIdx) -> bool {
        self.held.get(task.as_usize()).copied().unwrap_or(false)
    }
}

impl Scheduler {
    /// Whether the whole dispatch is paused.
    pub fn is_paused(&self) -> bool {
        self.pauses.is_whole
    }

    /// The tasks that were paused by name, in order; what depends on them is paused with them.
    pub fn paused_tasks(&self) -> impl Iterator<Item = TaskIdx> {
        self.pauses.roots.iter().copied()
    }

    /// Takes the wish that nothing new starts of these tasks and of what depends on them; of the
    /// whole dispatch if there are none.
    pub(super) fn pause(&mut self, tasks: &[TaskIdx], out: &mut Outbox) {
        if tasks.is_empty() {
            if !self.pauses.is_whole {
                self.record(Event::DispatchPaused, out);
            }
            return;
        }
        let known = tasks.iter().filter(|it| it.as_usize() < self.n_tasks());
        let news = known.filter(|it| !self.pauses.roots.contains(it)).copied();
        let tasks: Vec<_> = news.collect::<BTreeSet<_>>().into_iter().collect();
        if !tasks.is_empty() {
            self.record(Event::TasksPaused { tasks }, out);
        }
    }

    /// Takes the wish that these tasks go on; that all goes on if there are none.
    pub(super) fn resume(&mut self, tasks: &[TaskIdx], out: &mut Outbox) {
        if tasks.is_empty() {
            if self.has_pauses() {
                self.record(Event::DispatchResumed, out);
            }
            return;
        }
        let paused = tasks.iter().filter(|it| self.pauses.roots.contains(it)).copied();
        let tasks: Vec<_> = paused.collect::<BTreeSet<_>>().into_iter().collect();
        if !tasks.is_empty() {
            self.record(Event::TasksResumed { tasks }, out);
        }
    }

    /// Takes the wish that another number of attempts may run at once. What runs goes on.
    pub(super) fn set_workers(&mut self, workers_max: u32, out: &mut Outbox) {
        if self.can_have_workers(workers_max) {
            self.record(Event::WorkersChanged { workers_max }, out);
        }
    }

    /// Takes the fact that the whole dispatch was paused.
    pub(super) fn apply_pause(&mut self) {
        self.pauses.is_whole = true;
    }

    /// Takes the fact that every pause was lifted.
    pub(super) fn apply_resume(&mut self) {
        self.pauses.is_whole = false;
        self.reasons.resumed();
        self.change_roots(BTreeSet::new());
    }

    /// Takes the fact that these tasks were paused, too.
    pub(super) fn apply_pause_of(&mut self, tasks: &[TaskIdx]) {
        let roots = self.pauses.roots.iter().chain(tasks).copied().collect();
        self.change_roots(roots);
    }

    /// Takes the fact that these tasks are no longer paused by name.
    pub(super) fn apply_resume_of(&mut self, tasks: &[TaskIdx]) {
        let stay = self.pauses.roots.iter().filter(|it| !tasks.contains(it));
        let roots = stay.copied().collect();
        self.reasons.resumed();
        self.change_roots(roots);
    }

    /// Whether a scheduler could have recorded now that tasks were paused.
    pub(super) fn can_pause(&self, tasks: &[TaskIdx]) -> bool {
        self.is_list(tasks) && !tasks.iter().any(|it| self.pauses.roots.contains(it))
    }

    /// Whether it could have recorded now that they go on.
    pub(super) fn can_resume(&self, tasks: &[TaskIdx]) -> bool {
        self.is_list(tasks) && tasks.iter().all(|it| self.pauses.roots.contains(it))
    }

    fn is_list(&self, tasks: &[TaskIdx]) -> bool {
        let is_known = tasks.iter().all(|it| it.as_usize() < self.n_tasks());
        is_known && !tasks.is_empty() && tasks.is_sorted_by(|a, b| a < b)
    }

    /// There are other tasks: what depends on the paused ones is found anew.
    pub(super) fn extend_pauses(&mut self) {
        self.pauses.held = self.reach(&self.pauses.roots);
    }

    /// Whether a task may be handed to an agent as far as pauses go.
    pub(super) fn may_start(&self, task: TaskIdx) -> bool {
        !self.pauses.is_whole && !self.pauses.holds(task)
    }

    pub(super) fn can_have_workers(&self, workers_max: u32) -> bool {
        workers_max > 0 && workers_max != self.policy.workers_max
    }

    /// Whether anything is paused.
    pub(super) fn has_pauses(&self) -> bool {
        self.pauses.is_whole || !self.pauses.roots.is_empty()
    }

    /// Pauses these by name and no others. Costs O(tasks and dependencies), for it is rare.
    fn change_roots(&mut self, roots: BTreeSet<TaskIdx>) {
        let held = self.reach(&roots);
        let before = std::mem::replace(&mut self.pauses.held, held);
        self.pauses.roots = roots;
        if before.is_empty() && self.pauses.held.is_empty() {
            return;
        }
        let graph = Arc::clone(&self.graph);
        for task in graph.tasks() {
            if self.state(task) != TaskState::Ready {
                continue;
            }
            let was_held = before.get(task.as_usize()).copied().unwrap_or(false);
            match (was_held, self.pauses.holds(task)) {
                (false, true) => {
                    self.dequeue(task);
                    self.make_way(task);
                }
                (true, false) => self.queue.insert(task, graph.priority(task)),
                (true, true) | (false, false) => (),
            }
        }
    }

    /// By task, whether it is one of `roots` or depends on one; empty if there are none.
    fn reach(&self, roots: &BTreeSet<TaskIdx>) -> Vec<bool> {
        if roots.is_empty() {
            return Vec::new();
        }
        let mut held = vec![false; self.n_tasks()];
        let mut pending: Vec<TaskIdx> = roots.iter().copied().collect();
        while let Some(task) = pending.pop() {
            if !std::mem::replace(&mut held[task.as_usize()], true) {
                pending.extend(self.graph.dependents(task));
                pending.extend(self.parts_of(task));
            }
        }
        held
    }
}
