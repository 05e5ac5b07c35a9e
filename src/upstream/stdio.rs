//! An upstream that is a child process: a message a line on its standard input and output.
//!
//! The child leads a process group of its own, so that it ends with all that it started. It is
//! asked to end by the end of its input, then by SIGTERM, then by SIGKILL. The group is killed
//! before its leader is reaped, for only so long is its number certainly nobody else's.

use std::{collections::BTreeMap, io, process::Stdio, sync::Arc, time::Duration};

use rmcp::{
    RoleClient,
    model::{ClientJsonRpcMessage, ServerJsonRpcMessage},
    transport::Transport,
};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    sync::Mutex,
    time::timeout,
};

use super::{
    fault::{Cause, LinkFault},
    frames::{Line, Lines, read_message, read_start},
};
use crate::model::{redact::redact, text};

/// How long a child may take to end after the end of its input, and after SIGTERM.
const END_GRACE: Duration = Duration::from_millis(500);
/// How much of what a child writes to standard error is logged, in bytes, and in one entry.
const LOGGED_BYTES_MAX: usize = 256 * 1024;
const LOGGED_LINE_MAX: usize = 2 * 1024;

/// The program of a child process.
#[derive(Debug)]
pub(super) struct Program<'a> {
    /// The upstream's name, for the log.
    pub(super) name: &'a str,
    /// A name on PATH, or a path.
    pub(super) command: &'a str,
    /// What it gets besides, as it stands.
    pub(super) args: &'a [String],
    /// Its whole environment.
    pub(super) env: BTreeMap<String, String>,
    /// How many files it may have open; as many as this process if absent.
    pub(super) open_files: Option<u64>,
}

/// The client's end of the pipes; dropping it kills the child and all that it started.
#[derive(Debug)]
pub(super) struct ChildLink {
    input: Arc<Mutex<Option<ChildStdin>>>,
    output: ChildStdout,
    lines: Lines,
    bytes_max: usize,
    cause: Cause,
    group: Group,
}

/// A process group and the child that leads it.
#[derive(Debug)]
struct Group {
    child: Child,
    /// `None` once it was killed.
    id: Option<Pid>,
}

impl ChildLink {
    /// Starts the child. Why it ended will stand in `cause`.
    pub(super) fn start(
        program: Program<'_>,
        bytes_max: usize,
        cause: Cause,
    ) -> Result<Self, LinkFault> {
        let mut command = Command::new(program.command);
        command
            .args(program.args)
            .env_clear()
            .envs(program.env)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let failed = |it: io::Error| {
            let shown = text::escape(&text::cut(program.command, 200));
            LinkFault::NotConnected(format!("{shown} cannot be started: {it}"))
        };
        let mut child = command.spawn().map_err(failed)?;
        let id = child.id().and_then(|it| Pid::from_raw(it.cast_signed()));
        if let Some((id, open_files)) = id.zip(program.open_files) {
            limit(id, open_files);
        }
        let (input, output) = (child.stdin.take(), child.stdout.take());
        if let Some(errors) = child.stderr.take() {
            tokio::spawn(log_errors(program.name.to_owned(), errors));
        }
        let group = Group { child, id };
        let output = output.ok_or_else(|| failed(io::Error::other("it has no output")))?;
        let input = Arc::new(Mutex::new(input));
        Ok(Self { input, output, lines: Lines::new(bytes_max), bytes_max, cause, group })
    }

    /// The next message; `Err` when no more can come.
    async fn next(&mut self) -> Result<ServerJsonRpcMessage, LinkFault> {
        loop {
            while let Some(line) = self.lines.pop() {
                if let Some(message) = self.read(&line)? {
                    self.lines.was_useful();
                    return Ok(message);
                }
            }
            let mut chunk = Vec::with_capacity(64 * 1024);
            match self.output.read_buf(&mut chunk).await {
                Ok(0) => return Err(LinkFault::Broken("the process ended".to_owned())),
                Ok(_) => self.lines.push(&chunk)?,
                Err(error) => return Err(LinkFault::Broken(error.to_string())),
            }
        }
    }

    /// What a line says; one that says nothing is passed over, for many programs chat there.
    fn read(&self, line: &Line) -> Result<Option<ServerJsonRpcMessage>, LinkFault> {
        match line {
            Line::Whole(json) => {
                let message = read_message(json);
                if message.is_none() {
                    tracing::debug!(n_bytes = json.len(), "upstream wrote what is no message");
                }
                Ok(message)
            }
            Line::Start(json) => match read_start(json, self.bytes_max) {
                Some(message) => Ok(Some(message)),
                None => Err(LinkFault::TooLarge(self.bytes_max)),
            },
        }
    }

    /// Waits until all who hold the output are gone.
    async fn drained(&mut self) {
        let mut sink = [0; 4096];
        while matches!(self.output.read(&mut sink).await, Ok(1..)) {}
    }
}

impl Transport<RoleClient> for ChildLink {
    type Error = LinkFault;

    fn send(
        &mut self,
        message: ClientJsonRpcMessage,
    ) -> impl Future<Output = Result<(), LinkFault>> + Send + 'static {
        let input = Arc::clone(&self.input);
        async move {
            let not_sent = |it: &dyn std::fmt::Display| LinkFault::NotSent(it.to_string());
            let mut line = serde_json::to_vec(&message).map_err(|it| not_sent(&it))?;
            line.push(b'\n');
            let mut input = input.lock().await;
            let pipe = input.as_mut().ok_or_else(|| not_sent(&"its input is closed"))?;
            pipe.write_all(&line).await.map_err(|it| not_sent(&it))
        }
    }

    async fn receive(&mut self) -> Option<ServerJsonRpcMessage> {
        match self.next().await {
            Ok(message) => Some(message),
            Err(fault) => {
                self.cause.note(fault);
                // What was being written is told first that it did not arrive.
                tokio::time::sleep(super::sse::END_GRACE).await;
                None
            }
        }
    }

    async fn close(&mut self) -> Result<(), LinkFault> {
        // A child that hangs may never take what is being written, which then holds the lock.
        if let Ok(mut input) = timeout(END_GRACE, self.input.lock()).await {
            *input = None;
        }
        if timeout(END_GRACE, self.drained()).await.is_err() {
            self.group.signal(Signal::TERM);
            let _late = timeout(END_GRACE, self.drained()).await;
        }
        self.group.kill();
        if let Err(error) = self.group.child.wait().await {
            tracing::debug!(%error, "child process was not reaped");
        }
        Ok(())
    }
}

impl Group {
    fn signal(&self, signal: Signal) {
        let Some(id) = self.id else { return };
        if let Err(error) = kill_process_group(id, signal) {
            tracing::debug!(%error, "process group did not get a signal");
        }
    }

    fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.id = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Lets a process that was just started have no more than so many files open.
#[cfg(target_os = "linux")]
fn limit(id: Pid, open_files: u64) {
    use rustix::process::{Resource, Rlimit, getrlimit, prlimit};

    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|it| it > open_files)
        && let Err(error) =
            prlimit(Some(id), Resource::Nofile, Rlimit { current: Some(open_files), maximum })
    {
        tracing::debug!(%error, "a child process may have more files open than it should");
    }
}

/// No other system lets the limits of another process be set.
#[cfg(not(target_os = "linux"))]
fn limit(_: Pid, _: u64) {}

/// Reads what a child says of itself, so that it never waits for that; a part of it is logged.
async fn log_errors(upstream: String, errors: ChildStderr) {
    let mut n_logged = 0;
    read_lines(errors, |line| {
        if n_logged < LOGGED_BYTES_MAX {
            n_logged += line.len();
            let line = text::escape(&redact(&String::from_utf8_lossy(line)));
            tracing::debug!(upstream, "{line}");
        }
    })
    .await;
}

/// Hands each line to `take`, cut where it is long.
async fn read_lines(mut from: impl AsyncRead + Unpin, mut take: impl FnMut(&[u8])) {
    let mut lines = Lines::new(LOGGED_LINE_MAX);
    let mut chunk = vec![0; 8 * 1024];
    while let Ok(n_bytes @ 1..) = from.read(&mut chunk).await {
        lines.was_useful();
        if lines.push(&chunk[..n_bytes]).is_err() {
            return;
        }
        while let Some(Line::Whole(line) | Line::Start(line)) = lines.pop() {
            take(&line);
        }
    }
}
