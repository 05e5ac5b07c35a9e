//! What one client waits for while thousands are there, and what those cost who left without a
//! word.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    Failed, at,
    document::noop_tasks,
    program_over_http,
    reads::mebibytes,
    wire::{Http, Wire as _},
};

const STREAMS: usize = 1_000;
const POLLERS: usize = 2_000;
/// How often each of them asks.
const EVERY: Duration = Duration::from_secs(1);
/// On how many threads they are.
const THREADS: usize = 8;
const ABANDONED: usize = 5_000;
const ROUNDS: usize = 200;

pub(super) fn measure(dir: &Path) -> Result<(), Failed> {
    crowd(dir)?;
    abandoned(dir)
}

fn crowd(dir: &Path) -> Result<(), Failed> {
    let (running, mut one) = program_over_http(dir)?;
    let done = one.call("dispatch", &noop_tasks(3))?;
    let id = done["structuredContent"]["dispatch_id"].clone();
    let before = running.resident()?;
    let streams = (0..STREAMS).map(|_| listen(one.host())).collect::<Result<Vec<_>, _>>()?;
    let (stop, n_polls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let pollers: Vec<_> = (0..THREADS)
        .map(|_| {
            let (host, id, stop, n) =
                (one.host().to_owned(), id.clone(), Arc::clone(&stop), Arc::clone(&n_polls));
            thread::spawn(move || poll(&host, &id, &stop, &n))
        })
        .collect();
    // All of them are there once each has asked.
    while n_polls.load(Ordering::Relaxed) < POLLERS as u64 {
        thread::sleep(Duration::from_millis(50));
    }
    let (started, polls_before) = (Instant::now(), n_polls.load(Ordering::Relaxed));
    let mut reads = Vec::new();
    let mut dispatches = Vec::new();
    for _ in 0..ROUNDS {
        reads.push(one.time("get_result", &json!({ "dispatch_id": id }))?);
        dispatches.push(one.time("dispatch", &noop_tasks(3))?);
        thread::sleep(Duration::from_millis(10));
    }
    let polls = n_polls.load(Ordering::Relaxed) - polls_before;
    println!(
        "{STREAMS} event streams and {POLLERS} pollers ({:.0} polls a second): get_result p50 {} \
         us, max {} us; a dispatch of 3 tasks p50 {} us, max {} us; resident +{:.1} MiB",
        f64::from(u32::try_from(polls)?) / started.elapsed().as_secs_f64(),
        at(&mut reads, 50).as_micros(),
        at(&mut reads, 100).as_micros(),
        at(&mut dispatches, 50).as_micros(),
        at(&mut dispatches, 100).as_micros(),
        mebibytes(running.resident()?.saturating_sub(before)),
    );
    stop.store(true, Ordering::Relaxed);
    for poller in pollers {
        poller.join().map_err(|_| "a poller panicked")??;
    }
    drop(streams);
    Ok(())
}

/// A stream of the transport with sessions, on which nothing is said.
fn listen(host: &str) -> Result<Http, Failed> {
    let mut stream = Http::connect(host)?;
    let head = stream.exchange("GET /sse HTTP/1.1\r\naccept: text/event-stream\r\n", "")?;
    if head.first().is_none_or(|it| it != "http/1.1 200 ok") {
        return Err(format!("no stream: {head:?}").into());
    }
    Ok(stream)
}

/// A thread's share of the pollers, each of which asks in its turn.
fn poll(host: &str, id: &Value, stop: &AtomicBool, n_polls: &AtomicU64) -> Result<(), Failed> {
    let clients = (0..POLLERS / THREADS).map(|_| Http::connect(host));
    let mut clients = clients.collect::<Result<Vec<_>, _>>()?;
    let asked = json!({ "dispatch_id": id, "view": "summary" });
    while !stop.load(Ordering::Relaxed) {
        let round = Instant::now();
        for client in &mut clients {
            client.call("get_result", &asked)?;
            n_polls.fetch_add(1, Ordering::Relaxed);
        }
        thread::sleep(EVERY.saturating_sub(round.elapsed()));
    }
    Ok(())
}

fn abandoned(dir: &Path) -> Result<(), Failed> {
    let (running, mut one) = program_over_http(dir)?;
    one.call("read_trace", &json!({ "limit": 1 }))?;
    let before = running.resident()?;
    let hello = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": { "name": "bench", "version": "1" },
    }})
    .to_string();
    for _ in 0..ABANDONED {
        let mut client = Http::connect(one.host())?;
        let head = "POST /mcp HTTP/1.1\r\naccept: application/json, text/event-stream\r\n";
        let head = client.exchange(head, &hello)?;
        if !head.iter().any(|it| it.starts_with("mcp-session-id: ")) {
            return Err(format!("no session: {head:?}").into());
        }
        client.leave()?;
    }
    // The first connection may have been idle for too long by now.
    let mut one = Http::connect(one.host())?;
    let mut reads = (0..ROUNDS)
        .map(|_| one.time("read_trace", &json!({ "limit": 1 })))
        .collect::<Result<Vec<_>, _>>()?;
    println!(
        "{ABANDONED} abandoned sessions: resident +{:.1} MiB; read_trace p50 {} us",
        mebibytes(running.resident()?.saturating_sub(before)),
        at(&mut reads, 50).as_micros(),
    );
    Ok(())
}
