//! What a client on standard input and output waits for: the first answer, a durable dispatch of
//! ten tasks that do nothing, a read; beside the disk's own sync and a bare list of tools.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark times and prints"
)]

#[path = "support/document.rs"]
mod document;

use std::{
    error::Error,
    fs::{self, File},
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use self::document::noop_tasks;

const STARTS: usize = 20;
const ROUNDS: usize = 200;
const TASKS: usize = 10;

fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    // An agent that does nothing, through the same path as every other: a tool that only answers.
    let settings = dir.path().join("config.yaml");
    fs::write(&settings, "agents:\n  noop:\n    tool: health_check\n")?;
    let starts = (0..STARTS).map(|_| Ok(Server::start(dir.path())?.1)).collect::<Outcome>()?;
    report("start to the answer of initialize", starts);

    let (mut server, _) = Server::start(dir.path())?;
    let idle = server.resident_kib()?;
    println!("resident after the first answer: {:.1} MiB", f64::from(idle) / 1_024.0);
    let document = noop_tasks(TASKS);
    for _ in 0..20 {
        server.dispatch(&document)?;
    }
    let dispatches = (0..ROUNDS).map(|_| server.dispatch(&document)).collect::<Outcome>()?;
    report("dispatch of 10 no-op tasks, durable, traces on", dispatches);
    let lists = (0..ROUNDS).map(|_| server.time("tools/list", &json!({}))).collect::<Outcome>()?;
    report("tools/list, for comparison", lists);
    let reads = json!({ "name": "read_trace", "arguments": {} });
    let reads = (0..ROUNDS).map(|_| server.time("tools/call", &reads)).collect::<Outcome>()?;
    report("read_trace of the recent dispatches", reads);
    report("append and fdatasync of 4 KiB in the same directory", syncs(dir.path())?);
    println!("resident at the end: {:.1} MiB", f64::from(server.resident_kib()?) / 1_024.0);
    Ok(())
}

type Outcome = Result<Vec<Duration>, Box<dyn Error>>;

struct Server {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    last_id: u64,
}

impl Server {
    /// Starts a server and greets it; says how long that took.
    fn start(dir: &Path) -> Result<(Self, Duration), Box<dyn Error>> {
        let started = Instant::now();
        let mut child = Command::new(env!("CARGO_BIN_EXE_parallel-dispatch"))
            .arg("serve")
            .args(["--state-dir".as_ref(), dir.join("state").as_os_str()])
            .args(["--workspace".as_ref(), dir.as_os_str()])
            .args(["--config".as_ref(), dir.join("config.yaml").as_os_str()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let stdin = child.stdin.take().ok_or("no stdin")?;
        let stdout = BufReader::new(child.stdout.take().ok_or("no stdout")?);
        let mut server = Self { child, stdin, stdout, last_id: 0 };
        let hello = json!({
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": { "name": "bench", "version": "1" },
        });
        server.request("initialize", &hello)?;
        let took = started.elapsed();
        let initialized = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        server.stdin.write_all(format!("{initialized}\n").as_bytes())?;
        Ok((server, took))
    }

    fn dispatch(&mut self, document: &Value) -> Result<Duration, Box<dyn Error>> {
        let started = Instant::now();
        let call = json!({ "name": "dispatch", "arguments": document });
        let answer = self.request("tools/call", &call)?;
        let took = started.elapsed();
        if answer["structuredContent"]["status"] != "success" {
            return Err(format!("the dispatch did not succeed: {answer}").into());
        }
        Ok(took)
    }

    fn time(&mut self, method: &str, params: &Value) -> Result<Duration, Box<dyn Error>> {
        let started = Instant::now();
        self.request(method, params)?;
        Ok(started.elapsed())
    }

    fn request(&mut self, method: &str, params: &Value) -> Result<Value, Box<dyn Error>> {
        self.last_id += 1;
        let request =
            json!({ "jsonrpc": "2.0", "id": self.last_id, "method": method, "params": params });
        self.stdin.write_all(format!("{request}\n").as_bytes())?;
        loop {
            let mut line = String::new();
            if self.stdout.read_line(&mut line)? == 0 {
                return Err("the server closed its output".into());
            }
            let mut answer: Value = serde_json::from_str(&line)?;
            if answer["id"] == self.last_id {
                return Ok(answer["result"].take());
            }
        }
    }

    fn resident_kib(&self) -> Result<u32, Box<dyn Error>> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|it| it.starts_with("VmRSS:")).ok_or("no VmRSS")?;
        Ok(line.split_whitespace().nth(1).ok_or("no figure")?.parse()?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn syncs(dir: &Path) -> Outcome {
    let mut file = File::create(dir.join("sync"))?;
    let mut sync = || {
        let started = Instant::now();
        file.write_all(&[7; 4_096])?;
        file.sync_data()?;
        Ok(started.elapsed())
    };
    (0..ROUNDS).map(|_| sync()).collect()
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_micros();
    println!("{what}: p50 {} us, p99 {} us", at(50), at(99));
}
