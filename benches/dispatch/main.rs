//! What a task costs through the whole dispatcher: `SQLite` with full sync, traces on, agents that
//! answer at once; what recovery and real waiting cost; beside the disk's own sync.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark times and prints"
)]

mod engine;
mod fan_out;

use std::{
    fs::File,
    io::Write as _,
    path::Path,
    time::{Duration, Instant},
};

use parallel_dispatch::{
    model::{DispatchStatus, json::Json},
    runtime::Recover,
};
use serde_json::{Value, json};

use self::engine::{Engine, Outcome};

const ROUNDS: usize = 5;
const HOUR: Duration = Duration::from_hours(1);

/// `cargo bench --bench dispatch [-- NAME…]`: the parts that are named, else all.
#[tokio::main]
async fn main() -> Outcome<()> {
    let names = ["tasks", "reuse", "fan-out", "restart", "speedup"];
    let asked: Vec<_> = std::env::args().skip(1).collect();
    let all = !names.iter().any(|it| asked.iter().any(|asked| asked == it));
    let is_wanted = |name: &str| all || asked.iter().any(|it| it == name);
    let dir = tempfile::tempdir()?;
    let sync = p50((0..200).map(|_| sync_once(dir.path())).collect::<Outcome<_>>()?);
    println!("append and fdatasync of 4 KiB: p50 {} us", sync.as_micros());
    if is_wanted("tasks") {
        tasks(dir.path(), sync).await?;
    }
    if is_wanted("reuse") {
        for (name, document) in [("chain", chain(1_000)), ("flat", flat(10_000, 256, "noop"))] {
            reuse(dir.path(), name, document).await?;
        }
    }
    if is_wanted("fan-out") {
        fan_out::measure(dir.path()).await?;
    }
    if is_wanted("restart") {
        restart(dir.path()).await?;
    }
    if is_wanted("speedup") {
        speedup(dir.path()).await?;
    }
    Ok(())
}

/// What a task costs.
async fn tasks(dir: &Path, sync: Duration) -> Outcome<()> {
    for n_tasks in [1_000, 10_000] {
        let took = best_of(dir, &flat(n_tasks, 256, "noop")).await?;
        let each = took.as_secs_f64() * 1e6 / n_tasks as f64;
        println!("durable, {n_tasks} no-op tasks, 256 in flight, traces on: {each:.1} us a task");
    }
    let took = best_of(dir, &chain(1_000)).await?;
    let step = took.as_secs_f64() * 1e6 / 1_000.0;
    let syncs = step / (sync.as_secs_f64() * 1e6);
    println!("durable chain of 1,000: {step:.0} us a step, {syncs:.2} of the disk's sync");
    Ok(())
}

/// How much time real waiting takes.
async fn speedup(dir: &Path) -> Outcome<()> {
    let took = best_of(dir, &flat(64, 64, "half-second")).await?;
    println!("64 tasks of 500 ms, 64 workers: {} ms", took.as_millis());
    for n_tasks in [3, 5, 10] {
        let took = best_of(dir, &flat(n_tasks, 5, "half-second")).await?;
        let speedup = n_tasks as f64 * 0.5 / took.as_secs_f64();
        println!("{n_tasks} equal tasks of 500 ms, 5 workers: {speedup:.2} times as fast as one");
    }
    Ok(())
}

/// The shortest of some rounds, each on a store of its own.
async fn best_of(dir: &Path, document: &Value) -> Outcome<Duration> {
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let place = tempfile::tempdir_in(dir)?;
        let engine = Engine::start(place.path(), Recover::Never)?;
        // A store's first commits make its files.
        let first =
            engine.handle.dispatch_document(&Json::from_value(&flat(1, 1, "noop"))?).await?;
        engine.handle.finished(first, HOUR).await?;
        let started = Instant::now();
        let dispatch = engine.handle.dispatch_document(&Json::from_value(document)?).await?;
        let result = engine.handle.finished(dispatch, HOUR).await?;
        best = best.min(started.elapsed());
        if result.status != DispatchStatus::Success {
            return Err(format!("the dispatch ended as {:?}", result.status).into());
        }
        engine.stop().await?;
    }
    Ok(best)
}

/// What a task costs whose result is taken from an earlier dispatch.
async fn reuse(dir: &Path, name: &str, mut document: Value) -> Outcome<()> {
    let n_tasks = document["tasks"].as_array().map_or(0, Vec::len);
    document["config"]["cache"] = json!("reuse");
    let place = tempfile::tempdir_in(dir)?;
    let engine = Engine::start(place.path(), Recover::Never)?;
    let mut best = Duration::MAX;
    for round in 0..=ROUNDS {
        let started = Instant::now();
        let dispatch = engine.handle.dispatch_document(&Json::from_value(&document)?).await?;
        let result = engine.handle.finished(dispatch, HOUR).await?;
        if round > 0 {
            best = best.min(started.elapsed());
            if result.summary.reused != n_tasks {
                return Err(format!("only {} were reused", result.summary.reused).into());
            }
        }
    }
    engine.stop().await?;
    let each = best.as_secs_f64() * 1e6 / n_tasks as f64;
    println!("durable, {n_tasks} tasks that take results, {name}: {each:.1} us a task");
    Ok(())
}

/// How long a process that takes over 1,000 open tasks needs until the first of them runs.
async fn restart(dir: &Path) -> Outcome<()> {
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let place = tempfile::tempdir_in(dir)?;
        let engine = Engine::start(place.path(), Recover::Never)?;
        let document = flat(1_000, 64, "never");
        engine.handle.dispatch_document(&Json::from_value(&document)?).await?;
        engine.stop().await?;
        let started = Instant::now();
        let engine = Engine::start(place.path(), Recover::AtStart)?;
        engine.agents.first_start().await;
        times.push(started.elapsed());
        engine.stop().await?;
    }
    println!(
        "restart with 1,000 open tasks: first attempt after p50 {} ms",
        p50(times).as_millis()
    );
    Ok(())
}

fn flat(n_tasks: usize, workers: usize, agent: &str) -> Value {
    let task = |at| {
        json!({
            "task_id": format!("task-{at}"),
            "agent": agent,
            "description": "wait",
            "input_data": {},
        })
    };
    let tasks: Vec<Value> = (0..n_tasks).map(task).collect();
    json!({ "tasks": tasks, "config": { "max_workers": workers } })
}

fn chain(n_tasks: usize) -> Value {
    let task = |at: usize| {
        let before = at.checked_sub(1).map(|it| format!("task-{it}"));
        json!({
            "task_id": format!("task-{at}"), "agent": "noop", "description": "wait",
            "input_data": {}, "dependencies": Vec::from_iter(before),
        })
    };
    json!({ "tasks": (0..n_tasks).map(task).collect::<Vec<_>>() })
}

fn sync_once(dir: &Path) -> Outcome<Duration> {
    let mut file = File::options().create(true).append(true).open(dir.join("sync"))?;
    let started = Instant::now();
    file.write_all(&[7; 4_096])?;
    file.sync_data()?;
    Ok(started.elapsed())
}

fn p50(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
