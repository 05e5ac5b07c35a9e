//! A topological order, or the news that there is none.

use petgraph::graph::DiGraph;

use super::{Edge, graph::Rows};
use crate::model::TaskIdx;

/// Orders tasks so that each stands after all that it waits for; `None` if there is a cycle.
///
/// Takes away, over and over, what waits for nothing; what is left of a cycle is never taken.
pub(super) fn topological(dependents: &Rows, dependencies: &Rows) -> Option<Vec<TaskIdx>> {
    let n_tasks = dependents.len();
    let mut waits: Vec<u32> = (0..n_tasks).map(|it| dependencies.n_targets(it)).collect();
    let mut order = Vec::with_capacity(n_tasks);
    order.extend((0..n_tasks).filter(|it| waits[*it] == 0).map(TaskIdx::from_usize));
    let mut n_done = 0;
    while let Some(&task) = order.get(n_done) {
        n_done += 1;
        for &dependent in dependents.of(task) {
            waits[dependent.as_usize()] -= 1;
            if waits[dependent.as_usize()] == 0 {
                order.push(dependent);
            }
        }
    }
    (n_done == n_tasks).then_some(order)
}

/// The graph in petgraph's form, edges from dependency to dependent.
pub(super) fn to_petgraph(n_tasks: usize, edges: &[Edge]) -> DiGraph<(), ()> {
    let mut graph = DiGraph::with_capacity(n_tasks, edges.len());
    (0..n_tasks).for_each(|_| {
        graph.add_node(());
    });
    for it in edges {
        graph.add_edge(it.dependency.as_u32().into(), it.dependent.as_u32().into(), ());
    }
    graph
}
