//! Growth in the simulated world: what tasks become, and what the caller adds.

use std::sync::Arc;

use super::{Event, Gate, GateAnswer, Growth, Input, Policy, TaskPolicy, testing::World};
use crate::{
    model::{Millis, TaskIdx},
    plan::{Edge, TaskGraph},
};

/// A world with more tasks.
pub(super) struct Growing {
    growth: Arc<Growth>,
    parent: Option<TaskIdx>,
    names: Vec<String>,
    edges: Vec<Edge>,
}

impl World {
    /// What a task becomes when it is asked this time.
    pub(super) fn expand(&mut self, task: TaskIdx) -> Input {
        let is_it = |it: &&(Millis, Event)| matches!(it.1, Event::TasksAdded { parent: Some(of), .. } if of == task);
        let n_before = self.journal.iter().filter(is_it).count();
        let n_parts = self.expansions.get(&task).and_then(|it| it.get(n_before)).copied();
        match n_parts {
            None | Some(0) => {
                Input::Answer { task, gate: Gate::Expansion, answer: GateAnswer::Join }
            }
            Some(n) => {
                // What the task itself waited for when it became many first.
                let (first, _) = &self.first;
                let own =
                    if task.as_usize() < first.len() { first.dependencies(task) } else { &[] };
                let growth = self.grow(Some(task), vec![own.to_vec(); n]);
                Input::Grow { parent: Some(task), growth }
            }
        }
    }

    /// The world with these tasks added, each waiting for what stands there.
    pub(super) fn grow(
        &mut self,
        parent: Option<TaskIdx>,
        added: Vec<Vec<TaskIdx>>,
    ) -> Arc<Growth> {
        let (mut names, mut edges) = (self.names.clone(), self.edges.clone());
        let mut policy = self.policy.clone();
        for dependencies in added {
            let dependent = TaskIdx::from_usize(names.len());
            edges.extend(dependencies.into_iter().map(|dependency| Edge { dependency, dependent }));
            let own = self.later_limits[names.len() % self.later_limits.len()];
            let own = match parent {
                None => own,
                Some(parent) => {
                    edges.push(Edge { dependency: dependent, dependent: parent });
                    let TaskPolicy { trigger, .. } = *policy.of(parent);
                    TaskPolicy { trigger, ..own }
                }
            };
            policy.tasks.push((dependent, own));
            names.push(match parent {
                None => format!("n{}", dependent.as_u32()),
                Some(it) => format!("{}.{}", self.names[it.as_usize()], dependent.as_u32()),
            });
        }
        let estimates = (0..names.len()).map(|it| Millis(1 + (it % 7) as u64)).collect();
        let graph = Arc::new(TaskGraph::build(estimates, &edges).unwrap());
        let growth = Arc::new(Growth { graph, policy });
        self.growing = Some(Growing { growth: Arc::clone(&growth), parent, names, edges });
        growth
    }

    /// What was said to grow is durable.
    pub(super) fn adopt_growth(&mut self) {
        let Growing { growth, parent, names, edges } = self.growing.take().unwrap();
        self.graph = Arc::clone(&growth.graph);
        self.policy = Policy { ..growth.policy.clone() };
        self.oracle.grow(Arc::clone(&self.graph), self.policy.clone(), parent);
        self.names = names;
        self.edges = edges;
        self.growths.push(growth);
    }
}
