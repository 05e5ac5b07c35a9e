//! A topological order, or the news that there is none.

use petgraph::{algo, graph::DiGraph};

use super::Edge;
use crate::model::TaskIdx;

/// Orders tasks so that each stands after all that it waits for; `None` if there is a cycle.
pub(super) fn topological(n_tasks: usize, edges: &[Edge]) -> Option<Vec<TaskIdx>> {
    let order = algo::toposort(&to_petgraph(n_tasks, edges), None).ok()?;
    Some(order.into_iter().map(|it| TaskIdx::from_usize(it.index())).collect())
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
