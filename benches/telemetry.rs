//! What counting costs: nanoseconds for a task with one attempt and one call, and for a page.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark times and prints"
)]

use std::{hint::black_box, time::Instant};

use parallel_dispatch::{
    model::{AgentName, Millis, TaskStatus, Timestamp, UpstreamCall},
    ports::Meter as _,
    telemetry::Metrics,
};

const ROUNDS: u32 = 20;

fn main() {
    println!("ns, best of {ROUNDS} rounds");
    for n_agents in [3, 50] {
        let agents: Vec<_> =
            (0..n_agents).map(|it| AgentName::new(&format!("agent-{it}"))).collect();
        let metrics =
            Metrics::new(agents.iter().cloned(), ["archon".to_owned()].into_iter(), Millis(0));
        let call = call();
        let task = best(100_000, |at| count(&metrics, &agents[at % agents.len()], &call));
        let page = best(100, |_| drop(black_box(metrics.render(&[]))));
        println!("{n_agents:>3} agents: a task, its attempt and call {task:>6}  a page {page:>9}");
    }
}

fn count(metrics: &Metrics, agent: &AgentName, call: &UpstreamCall) {
    metrics.attempt_ended(agent, Ok(()), false);
    metrics.call_ended(black_box(call));
    metrics.task_ended(agent, TaskStatus::Success, Some(Millis(1_200)));
}

fn call() -> UpstreamCall {
    UpstreamCall {
        upstream: "archon".to_owned(),
        tool: String::new(),
        at: Timestamp(Millis(0)),
        duration_ms: 1_200,
        ok: true,
        error: None,
        code: None,
        span_id: None,
        request_bytes: 0,
        response_bytes: 0,
        usage: None,
    }
}

/// Nanoseconds for each of `n` times.
fn best(n: usize, act: impl Fn(usize)) -> u128 {
    let rounds = (0..ROUNDS).map(|_| {
        let began = Instant::now();
        (0..n).for_each(&act);
        began.elapsed().as_nanos() / n as u128
    });
    rounds.min().unwrap_or_default()
}
