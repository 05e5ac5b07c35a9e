//! Tasks that are added to a dispatch while it runs: by its caller, or by a task that becomes many.
//!
//! The graph and the limits of what is added are no facts; they stand with the document. Whoever
//! reads a journal back gives them ([`Scheduler::prepare`]) before the fact that they were added.

use std::sync::Arc;

use super::{
    gate::Gate,
    machine::Scheduler,
    message::{Event, Outbox},
    policy::{Policy, Uses},
    state::{Slot, TaskState},
};
use crate::{
    model::{Attempt, TaskIdx},
    plan::{Holders, TaskGraph},
};

/// A dispatch with more tasks than before; those it had stand first, and unchanged, but for the one
/// that became many, which now also depends on what it became.
#[derive(Clone, Debug)]
pub struct Growth {
    /// All tasks.
    pub graph: Arc<TaskGraph>,
    /// The limits of all tasks; how many may run at once stays as it was.
    pub policy: Policy,
}

impl Scheduler {
    /// Says what the next [`Event::TasksAdded`] adds.
    pub fn prepare(&mut self, growth: Arc<Growth>) {
        self.growth = Some(growth);
    }

    /// Adds tasks, those that `parent` becomes where there is one and it waits for that.
    pub(super) fn grow(&mut self, parent: Option<TaskIdx>, growth: Arc<Growth>, out: &mut Outbox) {
        let n_before = self.tasks.len();
        let is_asked = parent.is_none_or(|it| self.is_held(it, Gate::Expansion, true));
        let Ok(n_tasks) = u32::try_from(growth.graph.len()) else { return };
        if !is_asked || growth.graph.len() <= n_before {
            return;
        }
        self.prepare(growth);
        self.record(Event::TasksAdded { n_tasks, parent }, out);
        for task in (n_before..self.tasks.len()).map(TaskIdx::from_usize) {
            self.skip_if_hopeless(task, out);
        }
    }

    /// Whether tasks can be added up to this number now.
    pub(super) fn can_grow(&self, n_tasks: u32, parent: Option<TaskIdx>) -> bool {
        let n_given = self.growth.as_ref().map(|it| it.graph.len());
        n_given == Some(n_tasks as usize)
            && n_given > Some(self.tasks.len())
            && parent.is_none_or(|it| self.is_held(it, Gate::Expansion, true))
    }

    /// Takes the fact that tasks were added.
    pub(super) fn add_tasks(&mut self, parent: Option<TaskIdx>) {
        let Some(growth) = self.growth.take() else { return };
        let n_before = self.tasks.len();
        let Growth { graph, policy } = Arc::unwrap_or_clone(growth);
        let workers_max = self.policy.workers_max;
        self.graph = graph;
        self.policy = Policy { workers_max, ..policy };
        self.uses = Uses::of(&self.policy);
        let blank = Slot { state: TaskState::Blocked, attempt: Attempt(0), n_waiting: 0 };
        self.tasks.resize(self.graph.len(), blank);
        self.n_open += self.tasks.len() - n_before;
        self.reasons.grow(self.tasks.len());
        if let Some(parent) = parent {
            self.set(parent, TaskState::Blocked);
            self.expanded.entry(parent).or_insert_with(|| TaskIdx::from_usize(n_before));
            self.tallies.remove(&parent);
            self.tasks[parent.as_usize()].n_waiting = 0;
        }
        self.extend_pauses();
        self.requeue();
        let graph = Arc::clone(&self.graph);
        for task in (n_before..self.tasks.len()).map(TaskIdx::from_usize) {
            if let Some(parent) = parent {
                self.tasks[parent.as_usize()].n_waiting +=
                    u32::from(graph.dependents(task).contains(&parent));
            }
            self.enter(task, graph.dependencies(task));
        }
    }

    /// What a task became that is given up before all of it has ended.
    pub(super) fn parts_of(&self, task: TaskIdx) -> Vec<TaskIdx> {
        let Some(&first) = self.expanded.get(&task) else { return Vec::new() };
        let parts = self.graph.dependencies(task).iter().copied();
        parts.filter(|it| *it >= first && self.is_open(*it)).collect()
    }

    /// Priorities have changed: all that is ready is put in order anew.
    fn requeue(&mut self) {
        let (graph, tasks) = (Arc::clone(&self.graph), &self.tasks);
        let is = |it: &TaskIdx, state| tasks[it.as_usize()].state == state;
        let is_queued = |it: &TaskIdx| is(it, TaskState::Ready) && !self.pauses.holds(*it);
        let ready: Vec<TaskIdx> = graph.tasks().filter(is_queued).collect();
        let running = graph.tasks().filter(|it| is(it, TaskState::Running));
        self.queue.rebuild(graph.len(), &self.policy.lanes);
        self.holders = Holders::new(&self.policy.claims);
        for task in running {
            self.holders.take(&self.policy.claims, task);
        }
        for task in ready {
            self.queue.insert(task, graph.priority(task));
        }
    }

    fn skip_if_hopeless(&mut self, task: TaskIdx, out: &mut Outbox) {
        let graph = Arc::clone(&self.graph);
        let is_over =
            |it: &&TaskIdx| !self.is_open(**it) && self.state(**it) != TaskState::Succeeded;
        let lost =
            graph.dependencies(task).iter().find(|it| is_over(it) && self.is_hopeless(task, **it));
        if let Some(&because) = lost
            && self.state(task) == TaskState::Blocked
        {
            self.record(Event::TaskSkipped { task, because }, out);
            self.skip_dependents(task, out);
        }
    }
}
