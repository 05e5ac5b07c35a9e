//! What the scheduler itself costs: nanoseconds per task, with ranks, deadlines and events, without
//! journal, agents or channels; and how that grows.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark times and prints"
)]

use std::{
    collections::{BTreeMap, VecDeque},
    error::Error,
    sync::Arc,
    time::Instant,
};

use parallel_dispatch::{
    model::{Attempt, Budget, MicroUsd, Millis, OnFailure, TaskIdx, TaskSpec, Usage},
    plan::{ClaimTable, Edge, TaskGraph},
    scheduler::{
        Action, Funds, Gate, GateAnswer, Input, Outbox, Policy, Scheduler, SpendEstimate,
        TaskPolicy,
    },
};
use serde_json::{from_value, json};

const WORKERS: u32 = 64;
const SHAPES: [Shape; 3] = [
    Shape { name: "flat", dependencies: 0, span: 1 },
    Shape { name: "chain", dependencies: 1, span: 1 },
    Shape { name: "layers of 100, 3 dependencies", dependencies: 3, span: 100 },
];

struct Shape {
    name: &'static str,
    dependencies: usize,
    span: usize,
}

fn main() -> Result<(), Box<dyn Error>> {
    extras()?;
    println!("ns per task, best of the rounds; {WORKERS} workers; 2 events and 1 deadline a task");
    for shape in &SHAPES {
        let mut costs = Vec::new();
        for n_tasks in [100, 1_000, 10_000, 100_000, 1_000_000] {
            let (build, run) = measure(n_tasks, shape);
            println!("{n_tasks:>9} {:<30} build {build:>6.0}  run {run:>6.0}", shape.name);
            costs.push(run);
        }
        println!("{:>9} {:<30} 100,000 over 1,000: {:.2}", "", shape.name, costs[3] / costs[1]);
        let reference = counting_loop(100_000);
        println!("{:>9} {:<30} bare counting loop at 100,000: {reference:.0}", "", shape.name);
        let exponent = (costs[4] / costs[1]).log10() / 3.0 + 1.0;
        println!("{:>9} {:<30} growth 1,000 to 1,000,000: n^{exponent:.3}", "", shape.name);
        let bytes = bytes_per_task(1_000_000, shape);
        println!("{:>9} {:<30} bytes a task, graph and state: {bytes:.0}", "", shape.name);
    }
    Ok(())
}

/// What it costs that every task has a condition, claims and a share of a budget, beside tasks that
/// have nothing of it.
fn extras() -> Result<(), Box<dyn Error>> {
    println!("ns per task, best of the rounds; {WORKERS} workers; condition, claims and budget");
    for shape in &SHAPES {
        for n_tasks in [1_000, 100_000] {
            let plain = cost(n_tasks, shape, &policy(), 2);
            print!("{n_tasks:>9} {:<30} plain {plain:>6.0}", shape.name);
            let kinds = [("condition", 4), ("claims", 2), ("budget", 2), ("all", 4)];
            for (kind, events_per_task) in kinds {
                let has = |it| kind == it || kind == "all";
                let policy = Policy {
                    tasks: (0..n_tasks).map(|it| own(it, has("condition"))).collect(),
                    claims: if has("claims") { Arc::new(claims(n_tasks)?) } else { Arc::default() },
                    funds: if has("budget") { funds() } else { Funds::default() },
                    ..policy()
                };
                let cost = cost(n_tasks, shape, &policy, events_per_task);
                print!("  {kind} +{:>5.0}", cost - plain);
            }
            println!();
        }
    }
    Ok(())
}

/// What a task expects to use, and its condition.
fn own(at: usize, has_condition: bool) -> (TaskIdx, TaskPolicy) {
    let policy = TaskPolicy {
        gates: has_condition.then_some(Gate::Condition).into_iter().collect(),
        expected: SpendEstimate { tokens: Some(100), cost: Some(MicroUsd(100)) },
        ..TaskPolicy::default()
    };
    (TaskIdx::from_usize(at), policy)
}

/// Each task writes a file that another one writes, too, and takes one of as many as half of the
/// workers.
fn claims(n_tasks: usize) -> Result<ClaimTable, serde_json::Error> {
    let task = |at: usize| {
        from_value::<TaskSpec>(json!({
            "task_id": format!("t{at}"), "agent": "free", "description": "d", "input_data": {},
            "writes": [format!("/workspace/file_{}", at % n_tasks.div_ceil(2))],
            "resources": { "place": 1 },
        }))
    };
    let tasks = (0..n_tasks).map(task).collect::<Result<Vec<_>, _>>()?;
    let capacities = BTreeMap::from([("place".to_owned(), WORKERS / 2)]);
    Ok(ClaimTable::new(&tasks, &capacities, &[]))
}

/// More than is used.
fn funds() -> Funds {
    let budget = Budget {
        tokens: Some(u64::MAX / 2),
        cost: Some(MicroUsd(u64::MAX / 2)),
        wall: Some(Millis(1_000_000)),
        tasks: Some(u32::MAX),
        ..Budget::default()
    };
    Funds { budget: Some(budget), ..Funds::default() }
}

/// How much the resident memory grows by a graph and its scheduler in mid-run, for each task.
fn bytes_per_task(n_tasks: usize, shape: &Shape) -> f64 {
    let edges = edges(n_tasks, shape);
    let estimates = vec![Millis(1_000); n_tasks];
    let before = resident();
    let Some(graph) = TaskGraph::build(estimates, &edges) else { return 0.0 };
    let mut scheduler = Scheduler::new(Arc::new(graph), policy());
    scheduler.handle(Millis(0), Input::Start, &mut Outbox::default());
    let grown = resident().saturating_sub(before);
    drop(scheduler);
    // The estimates were handed over, and belong to it.
    (grown + 8 * n_tasks) as f64 / n_tasks as f64
}

/// The resident memory of this process, in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_whitespace().nth(1).and_then(|it| it.parse().ok());
    pages.unwrap_or(0_usize) * 4_096
}

/// Nanoseconds per task to lay out the graph, and to run it.
fn measure(n_tasks: usize, shape: &Shape) -> (f64, f64) {
    let edges = edges(n_tasks, shape);
    let estimates = vec![Millis(1_000); n_tasks];
    let started = Instant::now();
    let Some(graph) = TaskGraph::build(estimates, &edges) else { return (0.0, 0.0) };
    let build = started.elapsed().as_nanos() as f64 / n_tasks as f64;
    (build, run(&Arc::new(graph), &policy(), 2))
}

/// Nanoseconds per task to run it.
fn cost(n_tasks: usize, shape: &Shape, policy: &Policy, events_per_task: usize) -> f64 {
    let graph = TaskGraph::build(vec![Millis(1_000); n_tasks], &edges(n_tasks, shape));
    graph.map_or(0.0, |it| run(&Arc::new(it), policy, events_per_task))
}

fn run(graph: &Arc<TaskGraph>, policy: &Policy, events_per_task: usize) -> f64 {
    let n_tasks = graph.len();
    let rounds = (2_000_000 / n_tasks).clamp(3, 2_000);
    let mut best = f64::MAX;
    for _ in 0..rounds {
        let policy = policy.clone();
        let started = Instant::now();
        let n_events = drive(Scheduler::new(Arc::clone(graph), policy));
        let cost = started.elapsed().as_nanos() as f64 / n_tasks as f64;
        assert_eq!(n_events, events_per_task * n_tasks + 1);
        best = best.min(cost);
    }
    best
}

/// Runs a dispatch whose agents answer at once, one after the other; returns the number of events.
fn drive(mut scheduler: Scheduler) -> usize {
    let (mut out, mut n_events) = (Outbox::default(), 0);
    let mut running: VecDeque<(TaskIdx, Attempt)> = VecDeque::with_capacity(WORKERS as usize);
    let mut asked: Vec<(TaskIdx, Gate)> = Vec::new();
    let usage = Usage { total_tokens: Some(100), cost: Some(MicroUsd(100)), ..Usage::default() };
    scheduler.handle(Millis(0), Input::Start, &mut out);
    loop {
        n_events += out.events.drain(..).count();
        for action in out.actions.drain(..) {
            match action {
                Action::StartAttempt { task, attempt, .. } => running.push_back((task, attempt)),
                Action::Ask { task, gate } => asked.push((task, gate)),
                Action::StopAttempt { .. } => (),
                Action::Finish { .. } => return n_events,
            }
        }
        let input = if let Some((task, gate)) = asked.pop() {
            Input::Answer { task, gate, answer: GateAnswer::Pass }
        } else if let Some((task, attempt)) = running.pop_front() {
            Input::AttemptEnded { task, attempt, result: Ok(()), usage: Some(usage) }
        } else {
            return n_events;
        };
        scheduler.handle(Millis(1), input, &mut out);
    }
}

/// What no scheduler can beat: one array, counted down.
fn counting_loop(n_tasks: usize) -> f64 {
    let mut waiting = vec![1_u32; n_tasks];
    let started = Instant::now();
    let mut n_done = 0;
    for it in &mut waiting {
        *it -= 1;
        n_done += usize::from(*it == 0);
    }
    assert_eq!(std::hint::black_box(n_done), n_tasks);
    started.elapsed().as_nanos() as f64 / n_tasks as f64
}

fn policy() -> Policy {
    Policy {
        workers_max: WORKERS,
        on_failure: OnFailure::SkipDependents,
        timeout: Millis(300_000),
        tasks: Vec::new(),
        lanes: Vec::new(),
        claims: Arc::default(),
        funds: Funds::default(),
        seed: 0,
    }
}

fn edges(n_tasks: usize, shape: &Shape) -> Vec<Edge> {
    let of = |task: usize| {
        (0..shape.dependencies).filter_map(move |it| {
            let dependency = task.checked_sub(shape.span + it * 7)?;
            Some(Edge {
                dependency: TaskIdx::from_usize(dependency),
                dependent: TaskIdx::from_usize(task),
            })
        })
    };
    (0..n_tasks).flat_map(of).collect()
}
