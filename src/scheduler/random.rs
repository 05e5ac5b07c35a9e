//! Random dispatches from seeds: graphs, limits, gates, fates, cancels and crashes.

use std::{collections::VecDeque, sync::Arc};

use super::{
    Funds, Gate, GateAnswer, GateSet, Input, RetryPolicy, SpendEstimate, TaskPolicy,
    testing::{Fate, World, policy},
};
use crate::{
    model::{
        Budget, Failure, FailureCode, MicroUsd, Millis, OnExceeded, OnFailure, RetrySpec, Spend,
        Spent, TaskIdx, TriggerRule, Usage, testing::reused_from,
    },
    plan::{ClaimTable, Edge, Need, TaskGraph, testing::Drawing},
};

/// Runs a random graph with random limits, fates, cancels and crashes, and checks what must hold
/// at every step.
pub(super) fn simulate(seed: u64) {
    let mut rng = Rng(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let workers_max = u32::try_from(1 + rng.below(5)).unwrap();
    let on_failure = [OnFailure::SkipDependents, OnFailure::FailFast, OnFailure::Continue]
        [usize::try_from(rng.below(3)).unwrap()];
    let drawing = random_graph(&mut rng);
    let n_tasks = drawing.names.len();
    let mut policy = policy(workers_max, on_failure);
    policy.seed = seed;
    let tasks = (0..n_tasks).map(TaskIdx::from_usize).filter(|_| rng.below(3) > 0);
    let tasks: Vec<_> = tasks.collect();
    policy.tasks = tasks.into_iter().map(|it| (it, random_limits(&mut rng))).collect();
    let n_lanes = 1 + rng.below(3);
    policy.lanes = (0..n_tasks).map(|_| u16::try_from(rng.below(n_lanes)).unwrap()).collect();
    policy.claims = Arc::new(random_claims(n_tasks, &mut rng));
    if rng.below(2) == 0 {
        policy.funds = random_funds(&mut rng);
    }
    let mut world = World::new(drawing, policy);
    let task = random_task(n_tasks, &mut rng);
    world.cancel_at = match rng.below(8) {
        0 => Some((Millis(rng.below(3_000)), None)),
        1 | 2 => Some((Millis(rng.below(1_000)), Some(task))),
        _ => None,
    };
    if rng.below(3) == 0 {
        world.wishes = random_wishes(&mut rng, &world.graph);
    }
    if rng.below(5) == 0 {
        world.kept = world.graph.tasks().filter(|_| rng.below(3) == 0).collect();
    }
    if rng.below(8) == 0 {
        world.budget_at = Some((Millis(rng.below(1_000)), random_budget(&mut rng)));
    }
    world.crash_after = (0..rng.below(4)).map(|_| rng.below(60)).collect();
    world.crash_before = (0..rng.below(4)).map(|_| rng.below(60)).collect();
    world.answers = (0..n_tasks)
        .flat_map(|it| GATES.map(|gate| (TaskIdx::from_usize(it), gate)))
        .map(|it| (it, random_answer(&mut rng, it.1)))
        .collect();
    let can_expand = |it: &TaskIdx| world.policy.of(*it).gates.contains(Gate::Expansion);
    let expanded: Vec<_> = world.graph.tasks().filter(can_expand).collect();
    world.expansions = expanded
        .into_iter()
        .map(|it| (it, (0..rng.below(4)).map(|_| usize::try_from(rng.below(4)).unwrap()).collect()))
        .collect();
    if rng.below(4) == 0 {
        let dependencies =
            |rng: &mut Rng| (0..rng.below(3)).map(|_| random_task(n_tasks, rng)).collect();
        let tasks = (0..=rng.below(4)).map(|_| dependencies(&mut rng)).collect();
        world.added = Some((Millis(rng.below(2_000)), tasks));
    }
    world.later_limits = (0..5)
        .map(|_| random_limits(&mut rng))
        .map(|it| TaskPolicy { gates: GateSet::NONE, ..it })
        .collect();
    world.run(|_, _| random_fate(&mut rng));
}

/// Pauses and resumes of everything and of parts, and changes of the number of workers.
fn random_wishes(rng: &mut Rng, graph: &TaskGraph) -> VecDeque<(Millis, Input)> {
    let mut times: Vec<_> = (0..rng.below(8)).map(|_| Millis(rng.below(2_000))).collect();
    times.sort_unstable();
    let wish = |at| {
        let tasks = match rng.below(3) {
            0 => Vec::new(),
            _ => graph.tasks().filter(|_| rng.below(6) == 0).collect(),
        };
        let input = match rng.below(6) {
            5 => Input::Charge {
                task: random_task(graph.len(), rng),
                spend: Spend { tokens: rng.below(40), cost: MicroUsd(rng.below(40)) },
                tasks: u32::try_from(rng.below(3)).unwrap(),
            },
            0 => Input::SetWorkers { workers_max: u32::try_from(rng.below(7)).unwrap() },
            1 | 2 => Input::Resume { tasks },
            _ => Input::Pause { tasks },
        };
        (at, input)
    };
    times.into_iter().map(wish).collect()
}

fn random_limits(rng: &mut Rng) -> TaskPolicy {
    let mut maybe = |from: u64, to: u64| {
        let is_set = rng.below(3) == 0;
        is_set.then(|| Millis(from + rng.below(to - from)))
    };
    let (timeout, total_timeout, idle_timeout) =
        (maybe(50, 1_500), maybe(100, 4_000), maybe(20, 700));
    let approval_timeout = maybe(1, 800);
    let backoff = Millis(rng.below(300));
    let retry = RetryPolicy {
        attempts_max: u32::try_from(1 + rng.below(5)).unwrap(),
        backoff,
        backoff_max: backoff + Millis(rng.below(600)),
        on: RetrySpec::CODES.into_iter().filter(|_| rng.below(4) > 0).collect(),
    };
    let gates = GATES.into_iter().chain([Gate::Expansion]);
    let gates = gates.filter(|_| rng.below(6) == 0).collect();
    let trigger = RULES[usize::try_from(rng.below(9)).unwrap() % RULES.len()];
    let join =
        [TriggerRule::AllSuccess, TriggerRule::AllDone][usize::try_from(rng.below(2)).unwrap()];
    TaskPolicy {
        timeout,
        total_timeout,
        idle_timeout,
        retry,
        trigger,
        join,
        gates,
        approval_timeout,
        expected: SpendEstimate {
            tokens: (rng.below(3) == 0).then(|| rng.below(50)),
            cost: (rng.below(3) == 0).then(|| MicroUsd(rng.below(50))),
        },
    }
}

fn random_task(n_tasks: usize, rng: &mut Rng) -> TaskIdx {
    TaskIdx::from_usize(usize::try_from(rng.below(n_tasks as u64)).unwrap())
}

const GATES: [Gate; 3] = [Gate::Condition, Gate::Reuse, Gate::Approval];

const RULES: [TriggerRule; 5] = [
    TriggerRule::AllSuccess,
    TriggerRule::OneSuccess,
    TriggerRule::NoneFailedMinOneSuccess,
    TriggerRule::AllDone,
    TriggerRule::AllSuccess,
];

fn random_answer(rng: &mut Rng, gate: Gate) -> (Millis, GateAnswer) {
    let answer = match rng.below(8) {
        0 => GateAnswer::Omit("as drawn".into()),
        1 => GateAnswer::Fail(Failure::new(FailureCode::AgentError, "as drawn")),
        2 | 3 if gate == Gate::Reuse => GateAnswer::Reuse(Box::new(reused_from())),
        _ => GateAnswer::Pass,
    };
    (Millis(rng.below(1_000)), answer)
}

/// Claims of no, few or many tasks to a few keys.
fn random_claims(n_tasks: usize, rng: &mut Rng) -> ClaimTable {
    let capacities: Vec<u32> =
        (0..rng.below(4)).map(|_| u32::try_from(1 + rng.below(3)).unwrap()).collect();
    let share = 1 + rng.below(4);
    let mut needs = vec![Vec::new(); n_tasks];
    for row in &mut needs {
        for (key, capacity) in (0_u32..).zip(&capacities) {
            if rng.below(share) == 0 {
                let amount = u32::try_from(1 + rng.below(u64::from(*capacity))).unwrap();
                row.push(Need { key, amount });
            }
        }
    }
    ClaimTable::drawn(&capacities, &needs)
}

fn random_funds(rng: &mut Rng) -> Funds {
    let spend = Spend { tokens: rng.below(30), cost: MicroUsd(rng.below(30)) };
    let before = Spent { spend, wall: Millis(rng.below(300)), tasks: 1 };
    let before = if rng.below(3) == 0 { before } else { Spent::default() };
    Funds { budget: Some(random_budget(rng)), since: Millis(0), before }
}

fn random_budget(rng: &mut Rng) -> Budget {
    let mut maybe = |below: u64| (rng.below(3) == 0).then(|| 1 + rng.below(below));
    Budget {
        tokens: maybe(600),
        cost: maybe(600).map(MicroUsd),
        wall: maybe(4_000).map(Millis),
        tasks: maybe(20).and_then(|it| u32::try_from(it).ok()),
        on_exceeded: [OnExceeded::Pause, OnExceeded::HandBack, OnExceeded::Fail]
            [usize::try_from(rng.below(3)).unwrap()],
    }
}

fn random_usage(rng: &mut Rng) -> Option<Usage> {
    let mut maybe = || (rng.below(2) == 0).then(|| rng.below(60));
    let usage = Usage {
        input_tokens: maybe(),
        output_tokens: maybe(),
        total_tokens: maybe(),
        cost: maybe().map(MicroUsd),
    };
    (rng.below(3) > 0).then_some(usage)
}

fn random_fate(rng: &mut Rng) -> Fate {
    let beats = (0..rng.below(6)).map(|_| Millis(rng.below(1_000))).collect();
    let end = match rng.below(12) {
        0 => None,
        1..=3 => {
            let at = usize::try_from(rng.below(8)).unwrap();
            let failure = Failure::new(RetrySpec::CODES[at], "as scripted");
            Some((Millis(rng.below(2_000)), Err(failure)))
        }
        4 | 5 => {
            let retry_after_ms = (rng.below(2) == 0).then(|| rng.below(1_500));
            let failure = Failure::new(FailureCode::RateLimited, "too much");
            Some((Millis(rng.below(20)), Err(Failure { retry_after_ms, ..failure })))
        }
        _ => Some((Millis(rng.below(500)), Ok(()))),
    };
    Fate { end, beats, usage: random_usage(rng) }
}

pub(super) fn random_graph(rng: &mut Rng) -> Drawing {
    let n_tasks = usize::try_from(1 + rng.below(30)).unwrap();
    let mut edges = Vec::new();
    for at in 1..n_tasks {
        for _ in 0..rng.below(4) {
            let dependency = usize::try_from(rng.below(at as u64)).unwrap();
            edges.push(Edge {
                dependency: TaskIdx::from_usize(dependency),
                dependent: TaskIdx::from_usize(at),
            });
        }
    }
    Drawing {
        names: (0..n_tasks).map(|it| format!("t{it}")).collect(),
        estimates: (0..n_tasks).map(|_| Millis(rng.below(100))).collect(),
        edges,
    }
}

/// xorshift64: small, seeded, the same on every machine.
pub(super) struct Rng(pub(super) u64);

impl Rng {
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}
