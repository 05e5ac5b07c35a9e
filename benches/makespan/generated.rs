//! Graphs of several shapes, the same at each run: layers, forks and joins, bundles of chains, and
//! random ones whose runtimes have heavy tails.

use parallel_dispatch::model::Millis;

use super::Graph;

const KINDS: usize = 8;

/// All shapes.
pub(crate) fn all() -> Vec<Graph> {
    vec![
        layered(1, 20, 30),
        layered(2, 8, 100),
        fork_join(3, 10, 40),
        fork_join(4, 30, 9),
        chains(5, 30),
        chains(6, 120),
        random(7, 500, 1.2),
        random(8, 2_000, 1.8),
        flat(9, 300),
        prepared(10, 6, 40),
    ]
}

/// Each task of a layer waits for three of the layer above.
fn layered(seed: u64, n_layers: usize, width: usize) -> Graph {
    let mut random = Random::new(seed);
    let mut edges = Vec::new();
    for at in width..n_layers * width {
        let above = at / width * width - width;
        edges.extend((0..3).map(|_| (above + random.below(width), at)));
    }
    graph("layered", (n_layers * width, edges), 0.6, &mut random)
}

/// A task, many that wait for it, one that waits for all of those, and so on.
fn fork_join(seed: u64, n_stages: usize, width: usize) -> Graph {
    let mut random = Random::new(seed);
    let mut edges = Vec::new();
    for stage in 0..n_stages {
        let fork = stage * (width + 1);
        for at in fork + 1..=fork + width {
            edges.push((fork, at));
            edges.push((at, fork + width + 1));
        }
    }
    graph("fork and join", (n_stages * (width + 1) + 1, edges), 0.8, &mut random)
}

/// Chains of 2 to 40 tasks beside each other.
fn chains(seed: u64, n_chains: usize) -> Graph {
    let mut random = Random::new(seed);
    let (mut edges, mut n_tasks) = (Vec::new(), 0);
    for _ in 0..n_chains {
        let length = 2 + random.below(39);
        edges.extend((n_tasks + 1..n_tasks + length).map(|at| (at - 1, at)));
        n_tasks += length;
    }
    graph("chains", (n_tasks, edges), 0.6, &mut random)
}

/// Up to four dependencies among the fifty tasks before; a few tasks take very long.
fn random(seed: u64, n_tasks: usize, spread: f64) -> Graph {
    let mut random = Random::new(seed);
    let mut edges = Vec::new();
    for at in 1..n_tasks {
        let reach = at.min(50);
        edges.extend((0..random.below(5)).map(|_| (at - 1 - random.below(reach), at)));
    }
    graph("random, heavy tails", (n_tasks, edges), spread, &mut random)
}

/// No dependencies at all, heavy tails.
fn flat(seed: u64, n_tasks: usize) -> Graph {
    let mut random = Random::new(seed);
    graph("flat, heavy tails", (n_tasks, Vec::new()), 1.5, &mut random)
}

/// Wide stages that end in one task each, all stages at once, and a last task that waits for all:
/// the shape of map and reduce.
fn prepared(seed: u64, n_stages: usize, width: usize) -> Graph {
    let mut random = Random::new(seed);
    let last = n_stages * (width + 1);
    let mut edges = Vec::new();
    for stage in 0..n_stages {
        let join = stage * (width + 1) + width;
        edges.extend((join - width..join).map(|at| (at, join)));
        edges.push((join, last));
    }
    graph("map and reduce", (last + 1, edges), 1.0, &mut random)
}

/// Gives each task one of a few kinds and a runtime of its kind; `spread` is how far the kinds are
/// apart, as the deviation of the natural logarithm.
fn graph(
    name: &str,
    (n_tasks, mut edges): (usize, Vec<(usize, usize)>),
    spread: f64,
    random: &mut Random,
) -> Graph {
    edges.sort_unstable();
    edges.dedup();
    let bases: Vec<f64> = (0..KINDS).map(|_| 30.0 * random.log_normal(spread)).collect();
    let kinds: Vec<usize> = (0..n_tasks).map(|_| random.below(KINDS)).collect();
    let runtimes = kinds.iter().map(|it| bases[*it] * random.log_normal(0.1));
    Graph {
        name: name.to_owned(),
        runtimes: runtimes.map(Millis::from_seconds).collect(),
        kinds: kinds.iter().map(|it| format!("kind-{it}")).collect(),
        edges,
    }
}

/// xorshift64: small, seeded, the same on every machine.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A number from e^-4s to e^4s or so, most near 1: a normal logarithm of deviation `s`.
    pub(crate) fn log_normal(&mut self, deviation: f64) -> f64 {
        // The sum of twelve even draws has deviation 1.
        let normal = (0..12).map(|_| self.even()).sum::<f64>() - 6.0;
        (normal * deviation).exp()
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap_or(0) % bound
    }

    #[expect(clippy::cast_precision_loss, reason = "32 bits fit")]
    fn even(&mut self) -> f64 {
        (self.next() >> 32) as f64 / f64::from(u32::MAX)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}
