//! Ways to schedule a graph in virtual time, and what none of them can beat.

use std::{cmp::Reverse, collections::BinaryHeap, sync::Arc};

use parallel_dispatch::{
    model::{Attempt, Millis, OnFailure, TaskIdx},
    plan::{Edge, TaskGraph},
    scheduler::{Action, Funds, Input, Outbox, Policy, Scheduler},
};

use super::Graph;

/// The larger of the critical path and the work of one worker.
pub(crate) fn bound(graph: &Graph, runtimes: &[Millis], workers: u32) -> Millis {
    let path = ranks(graph, runtimes).into_iter().max().unwrap_or_default();
    let work: u64 = runtimes.iter().map(|it| it.0).sum();
    path.max(Millis(work.div_ceil(u64::from(workers))))
}

/// The scheduler itself: it ranks by `estimates`, and the tasks take `runtimes`.
pub(crate) fn scheduler(
    graph: &Graph,
    estimates: &[Millis],
    runtimes: &[Millis],
    workers: u32,
) -> Millis {
    let edge = |&(dependency, dependent): &(usize, usize)| Edge {
        dependency: TaskIdx::from_usize(dependency),
        dependent: TaskIdx::from_usize(dependent),
    };
    let edges: Vec<_> = graph.edges.iter().map(edge).collect();
    let Some(tasks) = TaskGraph::build(estimates.to_vec(), &edges) else { return Millis(0) };
    let policy = Policy {
        workers_max: workers,
        on_failure: OnFailure::SkipDependents,
        timeout: Millis(u64::MAX),
        tasks: Vec::new(),
        lanes: Vec::new(),
        claims: Arc::default(),
        funds: Funds::default(),
        seed: 0,
    };
    let mut scheduler = Scheduler::new(Arc::new(tasks), policy);
    let (mut out, mut now) = (Outbox::default(), Millis(0));
    let mut running: BinaryHeap<Reverse<(Millis, TaskIdx, Attempt)>> = BinaryHeap::new();
    scheduler.handle(now, Input::Start, &mut out);
    loop {
        out.events.clear();
        for action in out.actions.drain(..) {
            if let Action::StartAttempt { task, attempt, .. } = action {
                running.push(Reverse((now + runtimes[task.as_usize()], task, attempt)));
            }
        }
        let Some(Reverse((end, task, attempt))) = running.pop() else { return now };
        now = end;
        scheduler.handle(
            now,
            Input::AttemptEnded { task, attempt, result: Ok(()), usage: None },
            &mut out,
        );
    }
}

/// Textbook list scheduling: of the ready tasks, the one with the longest remaining path.
pub(crate) fn exact(graph: &Graph, runtimes: &[Millis], workers: u32) -> Millis {
    let ranks = ranks(graph, runtimes);
    list(graph, runtimes, workers, |task, _| Reverse(ranks[task]))
}

/// First ready, first started.
pub(crate) fn fifo(graph: &Graph, runtimes: &[Millis], workers: u32) -> Millis {
    list(graph, runtimes, workers, |_, ready_at| ready_at)
}

/// One depth after the other: none starts before all of the depth above have ended.
pub(crate) fn levels(graph: &Graph, runtimes: &[Millis], workers: u32) -> Millis {
    let mut depths = vec![0_usize; runtimes.len()];
    for task in in_order(graph) {
        for it in dependents(graph, task) {
            depths[it] = depths[it].max(depths[task] + 1);
        }
    }
    let n_levels = depths.iter().max().map_or(0, |it| it + 1);
    let level = |depth: usize| {
        let of_level = (0..depths.len()).filter(|it| depths[*it] == depth);
        let alone = Graph {
            name: String::new(),
            kinds: Vec::new(),
            runtimes: of_level.map(|it| runtimes[it]).collect(),
            edges: Vec::new(),
        };
        fifo(&alone, &alone.runtimes, workers)
    };
    (0..n_levels).map(level).fold(Millis(0), |sum, it| sum + it)
}

/// Starts the ready task of the least `order`, of a task and the time it became ready; equals in
/// document order.
fn list<O: Ord>(
    graph: &Graph,
    runtimes: &[Millis],
    workers: u32,
    order: impl Fn(usize, Millis) -> O,
) -> Millis {
    let rows = rows(graph, runtimes.len());
    let mut waits = n_dependencies(graph, runtimes.len());
    let mut ready: BinaryHeap<Reverse<(O, usize)>> = BinaryHeap::new();
    let mut running: BinaryHeap<Reverse<(Millis, usize)>> = BinaryHeap::new();
    let mut now = Millis(0);
    let free = (0..waits.len()).filter(|it| waits[*it] == 0);
    ready.extend(free.map(|it| Reverse((order(it, now), it))));
    loop {
        while running.len() < workers as usize
            && let Some(Reverse((_, task))) = ready.pop()
        {
            running.push(Reverse((now + runtimes[task], task)));
        }
        let Some(Reverse((end, _))) = running.peek() else { return now };
        now = *end;
        // All that ends at one moment counts before anything starts.
        while let Some(&Reverse((end, task))) = running.peek()
            && end == now
        {
            running.pop();
            for &it in &rows[task] {
                waits[it] -= 1;
                if waits[it] == 0 {
                    ready.push(Reverse((order(it, now), it)));
                }
            }
        }
    }
}

fn ranks(graph: &Graph, runtimes: &[Millis]) -> Vec<Millis> {
    let rows = rows(graph, runtimes.len());
    let mut ranks = vec![Millis(0); runtimes.len()];
    for task in in_order(graph).into_iter().rev() {
        let below = rows[task].iter().map(|it| ranks[*it]).max().unwrap_or_default();
        ranks[task] = runtimes[task] + below;
    }
    ranks
}

fn in_order(graph: &Graph) -> Vec<usize> {
    let n_tasks = graph.runtimes.len();
    let rows = rows(graph, n_tasks);
    let mut waits = n_dependencies(graph, n_tasks);
    let mut order: Vec<usize> = (0..n_tasks).filter(|it| waits[*it] == 0).collect();
    let mut done = 0;
    while let Some(&task) = order.get(done) {
        done += 1;
        for &it in &rows[task] {
            waits[it] -= 1;
            if waits[it] == 0 {
                order.push(it);
            }
        }
    }
    order
}

fn dependents(graph: &Graph, task: usize) -> impl Iterator<Item = usize> {
    graph.edges.iter().filter(move |it| it.0 == task).map(|it| it.1)
}

fn rows(graph: &Graph, n_tasks: usize) -> Vec<Vec<usize>> {
    let mut rows = vec![Vec::new(); n_tasks];
    for &(dependency, dependent) in &graph.edges {
        rows[dependency].push(dependent);
    }
    rows
}

fn n_dependencies(graph: &Graph, n_tasks: usize) -> Vec<usize> {
    let mut counts = vec![0; n_tasks];
    for &(_, dependent) in &graph.edges {
        counts[dependent] += 1;
    }
    counts
}
