//! Reads over stdio and HTTP, in turns with the reference.
//!
//! Each is asked twice in a row, and the second time counts. The first pays for what the server
//! before it left behind, in the caches and on the cores, and would be dearest for whoever comes
//! after a server that is slower to come to rest.

use std::{path::Path, time::Duration};

use serde_json::{Value, json};

use super::{
    Failed, at, bare,
    document::noop_tasks,
    program, program_over_http,
    wire::{Stdio, Wire},
};

const ROUNDS: usize = 2_000;
const WARM_UP: usize = 200;

/// Prints the medians, and how they compare.
pub(super) fn measure(dir: &Path) -> Result<(), Failed> {
    let (mut bare, mut ours) = (bare::start_stdio()?, Stdio::new(program(dir)?.spawn()?)?);
    compare("stdio", &mut bare, &mut ours)?;
    let resident = ours.running().resident()?;
    println!("resident after that: {:.1} MiB", mebibytes(resident));
    let (_bare, mut bare) = bare::start_http()?;
    let (_ours, mut ours) = program_over_http(dir)?;
    compare("HTTP", &mut bare, &mut ours)
}

#[expect(clippy::cast_precision_loss, reason = "a figure to be read")]
pub(super) fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn compare(face: &str, bare: &mut impl Wire, ours: &mut impl Wire) -> Result<(), Failed> {
    let done = ours.call("dispatch", &noop_tasks(3))?;
    let id = &done["structuredContent"]["dispatch_id"];
    let word = json!({ "text": "hello" });
    let reads = [
        ("get_result", json!({ "dispatch_id": id })),
        ("get_result, summary", json!({ "dispatch_id": id, "view": "summary" })),
        ("read_trace", json!({ "dispatch_id": id, "limit": 5 })),
        ("read_trace, recent", json!({ "limit": 5 })),
    ];
    for (name, arguments) in &reads {
        let tool = name.split(',').next().unwrap_or_default();
        let answer = ours.call(tool, arguments)?["structuredContent"].take();
        let bytes = answer.to_string().len();
        let mut times = [const { Vec::new() }; 3];
        for round in 0..ROUNDS + WARM_UP {
            let took = [
                second(bare, "echo", &word)?,
                second(bare, "echo", &answer)?,
                second(ours, tool, arguments)?,
            ];
            if round >= WARM_UP {
                times.iter_mut().zip(took).for_each(|(times, took)| times.push(took));
            }
        }
        let [word, echo, read] = times.map(|mut it| at(&mut it, 50));
        println!(
            "{face}, {name} ({bytes} bytes): p50 {} us; bare echo of a word {} us ({:.2} x), of \
             the same {} us ({:.2} x)",
            read.as_micros(),
            word.as_micros(),
            ratio(read, word),
            echo.as_micros(),
            ratio(read, echo),
        );
    }
    Ok(())
}

/// How long the second of two calls takes.
fn second(wire: &mut impl Wire, tool: &str, arguments: &Value) -> Result<Duration, Failed> {
    wire.call(tool, arguments)?;
    wire.time(tool, arguments)
}

fn ratio(of: Duration, to: Duration) -> f64 {
    of.as_secs_f64() / to.as_secs_f64()
}
