//! What clients of the server wait for: reads over stdio and HTTP, beside a bare server of the same
//! library that answers the same at once; and what a crowd of clients costs the others.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark times and prints"
)]

mod bare;
mod crowd;
#[path = "../support/document.rs"]
mod document;
mod reads;
mod wire;

use std::{
    error::Error,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use self::wire::{Http, Running};

type Failed = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failed> {
    let words: Vec<String> = std::env::args().skip(1).filter(|it| !it.starts_with("--")).collect();
    match words.first().map(String::as_str) {
        Some(bare::OVER_STDIO) => bare::over_stdio(),
        Some(bare::OVER_HTTP) => bare::over_http(),
        None => {
            let dir = tempfile::tempdir()?;
            reads::measure(dir.path())?;
            crowd::measure(dir.path())
        }
        Some(word) => Err(format!("\"{word}\" means nothing here").into()),
    }
}

/// The program, with a state directory and a workspace of its own, and an agent that only answers.
fn program(dir: &Path) -> Result<Command, Failed> {
    let settings = dir.join("config.yaml");
    std::fs::write(&settings, "agents:\n  noop:\n    tool: health_check\n")?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_parallel-dispatch"));
    command.arg("serve");
    command.args(["--state-dir".as_ref(), dir.join("state").as_os_str()]);
    command.args(["--workspace".as_ref(), dir.as_os_str()]);
    command.args(["--config".as_ref(), settings.as_os_str()]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(command)
}

/// Serves HTTP on a free port; a connection to it stands already.
fn program_over_http(dir: &Path) -> Result<(Running, Http), Failed> {
    // The port is free a moment later too, for nothing else here asks for one.
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let address = format!("127.0.0.1:{port}");
    let mut command = program(dir)?;
    command.args(["--http", &address]).stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let running = Running(command.spawn()?);
    let http = Http::patiently(&address)?;
    Ok((running, http))
}

/// The time that so many percent of the calls kept.
fn at(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times.get((times.len().saturating_sub(1)) * percent / 100).copied().unwrap_or_default()
}
