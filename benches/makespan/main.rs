//! How good the schedules are: makespans in virtual time through the real scheduler, beside what
//! no schedule can beat and beside simpler ways to schedule.
//!
//! `cargo bench --bench makespan [-- --graph FILE…]`; without a file, generated graphs. A file is a
//! `WfCommons` instance of any version, or `{"tasks": [{"task_id", "runtime_s", "dependencies"}]}`.
//!
//! Columns are makespans over the larger of critical path and work per worker. `exact` is textbook
//! list scheduling by remaining path, `known` the scheduler with the same knowledge, `learned` the
//! scheduler after three runs of the graph, each with runtimes drawn anew; its `exact` beside it
//! knows the fourth run's runtimes.

#![expect(clippy::print_stdout, reason = "a benchmark prints what it measured")]

mod generated;
mod input;
mod policies;

use std::{collections::BTreeMap, error::Error};

use parallel_dispatch::{
    model::{AgentName, DurationKey, Durations, Millis},
    plan::{Estimate, History},
};

use self::{
    generated::Random,
    policies::{bound, exact, fifo, levels, scheduler},
};

const WORKERS: [u32; 3] = [5, 16, 64];
/// How many runs teach before the one that counts.
const LESSONS: u64 = 3;
/// How often that is done anew.
const ROUNDS: u64 = 5;
/// The spread of a runtime from run to run, as the deviation of its natural logarithm.
const NOISE: f64 = 0.2;

/// A task graph with runtimes.
pub(crate) struct Graph {
    name: String,
    /// What an estimate is learned by.
    kinds: Vec<String>,
    runtimes: Vec<Millis>,
    /// Dependency and dependent.
    edges: Vec<(usize, usize)>,
}

/// Makespans over what no schedule can beat.
#[derive(Clone, Copy, Default)]
struct Ratios {
    exact: f64,
    known: f64,
    learned: f64,
    learned_exact: f64,
    fifo: f64,
    levels: f64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let files = files(std::env::args().skip(1))?;
    let graphs = match files.as_slice() {
        [] => generated::all(),
        files => files.iter().map(|it| input::read(it)).collect::<Result<_, _>>()?,
    };
    println!(
        "{:<44} {:>5} {:>7} {:>7} {:>7} {:>7} {:>7} {:>9} {:>9}",
        "graph", "tasks", "workers", "exact", "known", "fifo", "levels", "learned", "its exact"
    );
    let mut all = Vec::new();
    for graph in &graphs {
        for workers in WORKERS {
            let ratios = measure(graph, workers);
            print(&format!("{:<44.44} {:>5} {workers:>7}", graph.name, graph.kinds.len()), &ratios);
            all.push(ratios);
        }
    }
    summarise(&all);
    Ok(())
}

fn files(args: impl Iterator<Item = String>) -> Result<Vec<String>, Box<dyn Error>> {
    let mut files = Vec::new();
    let mut args = args.filter(|it| it != "--bench");
    while let Some(arg) = args.next() {
        match (arg.strip_prefix("--graph="), arg.as_str()) {
            (Some(file), _) => files.push(file.to_owned()),
            (None, "--graph") => files.push(args.next().ok_or("--graph wants a file")?),
            (None, other) => return Err(format!("unknown argument {other:?}").into()),
        }
    }
    Ok(files)
}

fn measure(graph: &Graph, workers: u32) -> Ratios {
    let over = |makespan, bound| ratio(makespan, bound);
    let own = &graph.runtimes;
    let least = bound(graph, own, workers);
    let known = scheduler(graph, own, own, workers);
    let mut ratios = Ratios {
        exact: over(exact(graph, own, workers), least),
        known: over(known, least),
        fifo: over(fifo(graph, own, workers), least),
        levels: over(levels(graph, own, workers), least),
        ..Ratios::default()
    };
    for round in 0..ROUNDS {
        let mut random = Random::new(round + 1);
        let estimates = learn(graph, &mut random);
        let runtimes = draw(graph, &mut random);
        let least = bound(graph, &runtimes, workers);
        let learned = scheduler(graph, &estimates, &runtimes, workers);
        ratios.learned += over(learned, least) / as_f64(ROUNDS);
        ratios.learned_exact += over(exact(graph, &runtimes, workers), least) / as_f64(ROUNDS);
    }
    ratios
}

/// What is expected of each task after some runs.
fn learn(graph: &Graph, random: &mut Random) -> Vec<Millis> {
    let mut durations: BTreeMap<&str, Durations> = BTreeMap::new();
    for _ in 0..LESSONS {
        for (kind, took) in graph.kinds.iter().zip(draw(graph, random)) {
            durations.entry(kind).or_default().add(took);
        }
    }
    let key =
        |kind: &str| DurationKey { agent: AgentName::new("agent"), kind: kind.to_owned(), size: 0 };
    let history = History::new(durations.into_iter().map(|(kind, it)| (key(kind), it)));
    let estimate = |kind: &String| history.estimate(&key(kind)).unwrap_or_else(Estimate::unknown);
    graph.kinds.iter().map(|it| estimate(it).likely).collect()
}

/// The runtimes of another run.
fn draw(graph: &Graph, random: &mut Random) -> Vec<Millis> {
    let mut noisy = |it: &Millis| Millis::from_seconds(it.seconds() * random.log_normal(NOISE));
    graph.runtimes.iter().map(&mut noisy).collect()
}

fn print(head: &str, it: &Ratios) {
    println!(
        "{head} {:>7.3} {:>7.3} {:>7.3} {:>7.3} {:>9.3} {:>9.3}",
        it.exact, it.known, it.fifo, it.levels, it.learned, it.learned_exact
    );
}

fn summarise(all: &[Ratios]) {
    let count = as_f64(all.len() as u64);
    let mean = |of: fn(&Ratios) -> f64| all.iter().map(of).sum::<f64>() / count;
    let worst = |of: fn(&Ratios) -> f64| all.iter().map(of).fold(0.0, f64::max);
    let means = Ratios {
        exact: mean(|it| it.exact),
        known: mean(|it| it.known),
        learned: mean(|it| it.learned),
        learned_exact: mean(|it| it.learned_exact),
        fifo: mean(|it| it.fifo),
        levels: mean(|it| it.levels),
    };
    print(&format!("{:<44} {:>5} {:>7}", "mean", "", ""), &means);
    println!(
        "known over exact:   mean {:.4}, worst {:.4}",
        mean(|it| it.known / it.exact),
        worst(|it| it.known / it.exact)
    );
    println!(
        "learned over exact: mean {:.4}, worst {:.4}",
        mean(|it| it.learned / it.learned_exact),
        worst(|it| it.learned / it.learned_exact)
    );
    println!(
        "known over fifo:    mean {:.4}, worst {:.4}",
        mean(|it| it.known / it.fifo),
        worst(|it| it.known / it.fifo)
    );
}

fn ratio(one: Millis, other: Millis) -> f64 {
    one.seconds() / other.seconds().max(0.001)
}

#[expect(clippy::cast_precision_loss, reason = "counts are small")]
fn as_f64(count: u64) -> f64 {
    count as f64
}
