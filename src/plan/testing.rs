//! Graphs written as text, for the tests of the pure rooms.

use super::Edge;
use crate::model::{Millis, TaskIdx};

/// A graph as drawn, not yet checked.
pub(crate) struct Drawing {
    pub(crate) names: Vec<String>,
    pub(crate) estimates: Vec<Millis>,
    pub(crate) edges: Vec<Edge>,
}

/// Reads one task a line: `name ~estimate_ms !fate <- dependency dependency`; the fate is for
/// whoever runs it.
pub(crate) fn parse(text: &str) -> Drawing {
    let lines: Vec<_> =
        text.lines().map(|line| line.split_once("<-").unwrap_or((line, ""))).collect();
    let name = |head: &str| head.split_whitespace().next().unwrap().to_owned();
    let names: Vec<_> = lines.iter().map(|(head, _)| name(head)).collect();
    let index = |it: &str| TaskIdx::from_usize(names.iter().position(|name| name == it).unwrap());
    let mut edges = Vec::new();
    for (at, (_, dependencies)) in lines.iter().enumerate() {
        for it in dependencies.split_whitespace() {
            edges.push(Edge { dependency: index(it), dependent: TaskIdx::from_usize(at) });
        }
    }
    let estimate = |head: &str| {
        let word = head.split_whitespace().find_map(|it| it.strip_prefix('~'));
        Millis(word.map_or(1, |it| it.parse().unwrap()))
    };
    let estimates = lines.iter().map(|(head, _)| estimate(head)).collect();
    Drawing { names, estimates, edges }
}
