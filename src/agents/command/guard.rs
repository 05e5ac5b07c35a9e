//! The guard: a process of this program around one agent's program, which leaves nothing of it.
//!
//! It starts the program in a process group of its own and waits for one of two things: that the
//! program ends, or that its own standard input does. The latter happens when the attempt is given
//! up, and by itself when the process that wanted it dies, however it dies. Either way everything
//! the program has started is asked to stop, then killed, and only then the guard ends. What runs
//! away from the group is found too, where the system lets the guard inherit it (Linux).

use std::{
    io::{self, BufRead, Read as _, Write as _},
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread,
    time::Duration,
};

use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitOptions, WaitStatus, getrlimit, kill_process,
    kill_process_group, setrlimit, test_kill_process_group, wait,
};
use serde::{Deserialize, Serialize};

use super::{proc, writes};

/// The exit code of a guard that could not start its program.
pub(super) const CANNOT_START: u8 = 126;
/// How long what is left may take to end by itself after its program has.
const SETTLE: Duration = Duration::from_millis(5);
/// How long one round of killing waits for its effect.
const KILL_WAIT: Duration = Duration::from_millis(10);
/// How often what is left is killed; what survives that many rounds cannot be killed.
const KILL_ROUNDS: u32 = 100;
/// The longest first line that is read, in bytes.
const ORDER_BYTES_MAX: u64 = 4 << 20;

/// What the guard is told in the first line of its standard input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Order {
    /// The program and its arguments.
    pub(super) argv: Vec<String>,
    /// Where it runs.
    pub(super) dir: PathBuf,
    /// Where it may write; anywhere if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) writable: Option<Vec<PathBuf>>,
    /// How many files the program may have open; as many as the guard if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) open_files: Option<u64>,
    /// How many of the bytes that follow the program gets on its standard input.
    pub(super) stdin_bytes: u64,
    /// How long what is asked to stop may take, in milliseconds.
    pub(super) grace_ms: u64,
}

/// What happens around the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum News {
    /// The program ended, with this exit code.
    Ended(u8),
    /// Nothing of it is left.
    Gone,
    /// Nobody wants it any more.
    Released,
}

/// Runs the program that standard input names, to its end or until standard input ends.
///
/// The exit code is the program's, 128 and the number of the signal that ended it, or 126 if it
/// could not be started.
pub fn guard() -> ExitCode {
    match run() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // Where standard error is closed there is nobody to tell.
            let _closed = writeln!(io::stderr(), "{error}");
            ExitCode::from(CANNOT_START)
        }
    }
}

fn run() -> io::Result<u8> {
    let (order, input) = read_order(&mut io::stdin().lock())?;
    inherit_orphans();
    if let Some(writable) = &order.writable {
        writes::confine(writable)?;
    }
    if let Some(open_files) = order.open_files {
        limit(open_files);
    }
    let group = start(&order, input)?;
    let (say, heard) = channel();
    let released = say.clone();
    thread::spawn(move || {
        wait_for_the_end_of_stdin();
        released.send(News::Released).ok();
    });
    thread::spawn(move || reap(group, &say));
    Ok(keep(group, &heard, Duration::from_millis(order.grace_ms)))
}

fn read_order(input: &mut impl BufRead) -> io::Result<(Order, Vec<u8>)> {
    let mut line = Vec::new();
    input.take(ORDER_BYTES_MAX).read_until(b'\n', &mut line)?;
    let order: Order = serde_json::from_slice(&line)?;
    let mut bytes = Vec::new();
    input.take(order.stdin_bytes).read_to_end(&mut bytes)?;
    if (bytes.len() as u64) < order.stdin_bytes {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
    }
    Ok((order, bytes))
}

/// Makes this process the parent of whatever its program leaves behind, where that can be.
fn inherit_orphans() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::set_child_subreaper(Some(rustix::process::getpid())) {
        writeln!(io::stderr(), "what leaves the group is not found: {error}").ok();
    }
}

/// Lets this process, and with it the program, have no more than so many files open.
fn limit(open_files: u64) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|it| it > open_files)
        && let Err(error) =
            setrlimit(Resource::Nofile, Rlimit { current: Some(open_files), maximum })
    {
        writeln!(io::stderr(), "the program may have more files open than it should: {error}").ok();
    }
}

fn start(order: &Order, input: Vec<u8>) -> io::Result<Pid> {
    let (program, arguments) =
        order.argv.split_first().ok_or_else(|| io::Error::other("no program is named"))?;
    let mut command = Command::new(program);
    command.args(arguments).current_dir(&order.dir).process_group(0).stdin(Stdio::piped());
    let mut child = command.spawn().map_err(|it| {
        io::Error::new(it.kind(), format!("{program} in {}: {it}", order.dir.display()))
    })?;
    if let Some(mut stdin) = child.stdin.take() {
        // It may well end without having read everything.
        thread::spawn(move || stdin.write_all(&input).ok());
    }
    Ok(Pid::from_child(&child))
}

fn wait_for_the_end_of_stdin() {
    let mut nothing = [0; 64];
    loop {
        match io::stdin().read(&mut nothing) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// Waits for each process that ends, until there is none.
fn reap(program: Pid, say: &Sender<News>) {
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == program => {
                say.send(News::Ended(exit_code(status))).ok();
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => break,
        }
    }
    say.send(News::Gone).ok();
}

fn exit_code(status: WaitStatus) -> u8 {
    let signal = status.terminating_signal().map(|it| it.saturating_add(128));
    let code = status.exit_status().or(signal).unwrap_or(1);
    u8::try_from(code).unwrap_or(u8::MAX)
}

/// Waits for the first news, and stops all that is there still; answers the exit code.
fn keep(group: Pid, heard: &Receiver<News>, grace: Duration) -> u8 {
    let mut ended = None;
    match heard.recv() {
        Ok(News::Ended(code)) => {
            ended = Some(code);
            if is_gone(heard, SETTLE, &mut ended) && !is_left(group) {
                return code;
            }
        }
        Ok(News::Gone | News::Released) | Err(_) => {}
    }
    signal(group, Signal::TERM);
    if !is_gone(heard, grace, &mut ended) || is_left(group) {
        for _ in 0..KILL_ROUNDS {
            signal(group, Signal::KILL);
            if is_gone(heard, KILL_WAIT, &mut ended) && !is_left(group) {
                break;
            }
        }
    }
    ended.unwrap_or(1)
}

/// Listens for the news that nothing is left.
fn is_gone(heard: &Receiver<News>, longest: Duration, ended: &mut Option<u8>) -> bool {
    loop {
        match heard.recv_timeout(longest) {
            Ok(News::Ended(code)) => *ended = Some(code),
            Ok(News::Released) => {}
            Ok(News::Gone) | Err(RecvTimeoutError::Disconnected) => return true,
            Err(RecvTimeoutError::Timeout) => return false,
        }
    }
}

/// Whether somebody is in the group who is no child of the guard.
fn is_left(group: Pid) -> bool {
    test_kill_process_group(group).is_ok()
}

/// Sends a signal to the group, and to what left it and was inherited. Who is gone already cannot
/// get it, and need not.
fn signal(group: Pid, signal: Signal) {
    kill_process_group(group, signal).ok();
    for orphan in proc::children().into_iter().filter(|it| *it != group) {
        kill_process(orphan, signal).ok();
        kill_process_group(orphan, signal).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(stdin_bytes: u64) -> Order {
        Order {
            argv: vec!["x".into()],
            dir: "/".into(),
            writable: None,
            open_files: None,
            stdin_bytes,
            grace_ms: 1,
        }
    }

    fn read(stdin_bytes: u64, rest: &str) -> io::Result<(Order, Vec<u8>)> {
        let line = serde_json::to_string(&order(stdin_bytes)).unwrap();
        read_order(&mut format!("{line}\n{rest}").as_bytes())
    }

    #[test]
    fn the_input_is_exactly_as_long_as_the_order_says() {
        assert_eq!(read(3, "abcdef").unwrap(), (order(3), b"abc".to_vec()));
        assert_eq!(read(0, "").unwrap(), (order(0), Vec::new()));
        assert_eq!(read(3, "ab").unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert!(read_order(&mut b"rm -rf".as_slice()).is_err());
    }

    #[test]
    fn nobody_is_signalled_when_all_ended_by_themselves() {
        let (say, heard) = channel();
        for it in [News::Ended(7), News::Gone] {
            say.send(it).unwrap();
        }
        // Only a group without members may be asked about here.
        let nobody = Pid::from_raw(i32::MAX).unwrap();
        assert_eq!(keep(nobody, &heard, Duration::ZERO), 7);
    }
}
