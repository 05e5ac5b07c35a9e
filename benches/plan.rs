//! Prints how long a document takes from bytes to a checked graph, in nanoseconds per task.
//!
//! `cargo bench --bench plan [n_tasks…]`; a task is a coder task of about 250 bytes with one
//! dependency. The best of several rounds is printed, so that other work on the machine counts
//! little.

#![expect(clippy::print_stdout, reason = "a benchmark prints what it measured")]
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use parallel_dispatch::{
    model::json,
    plan::{AgentRule, Limits, PathFault, PathPolicy, Rules, check_document},
};

const ROUNDS: u32 = 12;

struct Workspace;

impl PathPolicy for Workspace {
    fn check(&self, path: &str) -> Result<(), PathFault> {
        if path.starts_with("/workspace/") { Ok(()) } else { Err(PathFault::NotAllowed) }
    }

    fn roots(&self) -> Vec<String> {
        vec!["/workspace".to_owned()]
    }

    fn check_trace_dir(&self, _: &str) -> Result<(), PathFault> {
        Ok(())
    }
}

/// What one round took, part by part.
#[derive(Clone, Copy)]
struct Round {
    read: Duration,
    check: Duration,
    dropped: Duration,
}

fn main() {
    let asked: Vec<usize> = std::env::args().filter_map(|it| it.parse().ok()).collect();
    let sizes = if asked.is_empty() { vec![1_000, 10_000, 100_000] } else { asked };
    for n_tasks in sizes {
        let text = write_document(n_tasks);
        let rounds: Vec<_> = (0..ROUNDS).map(|_| measure(text.as_bytes())).collect();
        let Some(best) = rounds.iter().min_by_key(|it| it.read + it.check) else { continue };
        let per_task = |it: Duration| it.as_nanos() / n_tasks as u128;
        println!(
            "{n_tasks} tasks, {} bytes each: {} ns/task (read {}, check {}; then drop {}), {:?}",
            text.len() / n_tasks,
            per_task(best.read + best.check),
            per_task(best.read),
            per_task(best.check),
            per_task(best.dropped),
            best.read + best.check,
        );
    }
}

fn measure(text: &[u8]) -> Round {
    let agents = AgentRule::built_in();
    let rules = Rules { limits: Limits::RUN, agents: &agents, checks: &[], paths: &Workspace };
    let start = Instant::now();
    let document = json::read(text);
    let read = start.elapsed();
    let checked = document.as_ref().map(|it| check_document(it, &rules));
    let check = start.elapsed().saturating_sub(read);
    assert!(checked.as_ref().is_ok_and(Result::is_ok), "the document is valid");
    let start = Instant::now();
    drop(checked);
    drop(document);
    Round { read, check, dropped: start.elapsed() }
}

fn write_document(n_tasks: usize) -> String {
    let mut text = String::from("{\"tasks\": [");
    for at in 0..n_tasks {
        let comma = if at == 0 { "" } else { "," };
        let dependency =
            if at == 0 { String::new() } else { format!("\"gen-{}\"", (at * 7919) % at) };
        // Writing to a string cannot fail.
        let _ok = write!(
            text,
            "{comma}{{\"task_id\": \"gen-{at}\", \"agent\": \"coder\", \
             \"description\": \"Generate writer {at}\", \"input_data\": {{\
             \"contract_description\": \"Effect node that writes users\", \
             \"node_type\": \"Effect\", \
             \"output_path\": \"/workspace/node_{at}_effect.py\"}}, \
             \"dependencies\": [{dependency}]}}"
        );
    }
    text + "]}"
}
