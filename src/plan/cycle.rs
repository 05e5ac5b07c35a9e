//! Names the cycles of a graph that should have none.

use std::collections::VecDeque;

use petgraph::{algo, graph::NodeIndex};

use super::{Edge, order};
use crate::model::TaskIdx;

/// The knots of a graph: groups of tasks that wait for each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cycles {
    /// One shortest cycle through the first task of each knot, in document order, in waiting
    /// order: each task depends on the next, and the last on the first.
    pub named: Vec<Vec<TaskIdx>>,
    /// How many knots there are; more than `named` if there are very many.
    pub count: usize,
}

/// Finds the knots and names a cycle in each of the first `named_max`.
///
/// Costs O(tasks + edges) for each named one.
pub fn find_cycles(n_tasks: usize, edges: &[Edge], named_max: usize) -> Cycles {
    let graph = order::to_petgraph(n_tasks, edges);
    let mut knot_of = vec![usize::MAX; n_tasks];
    let mut firsts = Vec::new();
    for (knot, members) in algo::kosaraju_scc(&graph).into_iter().enumerate() {
        for it in &members {
            knot_of[it.index()] = knot;
        }
        if let Some(&first) = members.iter().min()
            && (members.len() > 1 || graph.contains_edge(first, first))
        {
            firsts.push(first);
        }
    }
    firsts.sort_unstable();
    let name = |&first: &NodeIndex| {
        let neighbours = |of: NodeIndex| {
            let incoming = graph.neighbors_directed(of, petgraph::Direction::Incoming);
            incoming.filter(|it| knot_of[it.index()] == knot_of[first.index()])
        };
        shortest_way_back(n_tasks, first, neighbours)
    };
    let named = firsts.iter().take(named_max).map(name).collect();
    Cycles { named, count: firsts.len() }
}

/// A breadth-first walk from `first` until it meets `first` again.
fn shortest_way_back<I: Iterator<Item = NodeIndex>>(
    n_tasks: usize,
    first: NodeIndex,
    neighbours: impl Fn(NodeIndex) -> I,
) -> Vec<TaskIdx> {
    let mut came_from = vec![u32::MAX; n_tasks];
    let mut pending = VecDeque::from([first]);
    while let Some(node) = pending.pop_front() {
        for next in neighbours(node) {
            if next == first {
                return walk_back(&came_from, first, node);
            }
            if came_from[next.index()] == u32::MAX {
                came_from[next.index()] = TaskIdx::from_usize(node.index()).as_u32();
                pending.push_back(next);
            }
        }
    }
    Vec::new()
}

fn walk_back(came_from: &[u32], first: NodeIndex, last: NodeIndex) -> Vec<TaskIdx> {
    let mut way = vec![TaskIdx::from_usize(last.index())];
    let mut at = last.index();
    while at != first.index() {
        at = came_from[at] as usize;
        way.push(TaskIdx::from_usize(at));
    }
    way.reverse();
    way
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::{super::testing::parse, *};

    #[track_caller]
    fn check(text: &str, expected: &Expect) {
        let drawing = parse(text);
        let cycles = find_cycles(drawing.names.len(), &drawing.edges, 20).named;
        let name = |it: &TaskIdx| drawing.names[it.as_usize()].as_str();
        let lines = cycles.iter().map(|it| it.iter().map(name).collect::<Vec<_>>().join(" -> "));
        expected.assert_eq(&lines.collect::<Vec<_>>().join("\n"));
    }

    #[test]
    fn a_cycle_is_named_in_waiting_order() {
        check("a <- c\nb <- a\nc <- b\nd <- a", &expect!["a -> c -> b"]);
    }

    #[test]
    fn each_knot_is_named_once_by_its_shortest_cycle() {
        check(
            "a <- b\nb <- c a\nc <- a\nx <- x\nok",
            &expect![[r"
                a -> b
                x"]],
        );
    }

    #[test]
    fn a_very_long_cycle_does_not_overflow_the_stack() {
        let n_tasks = 200_000;
        let edges: Vec<_> = (0..n_tasks)
            .map(|at| Edge {
                dependency: TaskIdx::from_usize(at),
                dependent: TaskIdx::from_usize((at + 1) % n_tasks),
            })
            .collect();
        let cycles = find_cycles(n_tasks, &edges, 20);
        assert_eq!((cycles.count, cycles.named[0].len()), (1, n_tasks));
    }
}
