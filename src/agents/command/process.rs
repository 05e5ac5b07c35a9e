//! One run of a program behind a guard: its input written, its output read line by line, its end
//! awaited, and all of it stopped when the attempt is.

use std::{ffi::OsString, fmt, io, path::PathBuf, process::Stdio, time::Duration};

use tokio::{
    io::{
        AsyncBufRead, AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWriteExt as _,
        BufReader,
    },
    process::{Child, Command},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::guard::Order;
use crate::model::{Failure, FailureCode};

/// The longest line of output that is let in, in bytes.
const LINE_BYTES_MAX: usize = 16 << 20;
/// The most output that is let in, in bytes; nothing of it is kept but what the decoder keeps.
const OUTPUT_BYTES_MAX: u64 = 1 << 30;
/// How much of the end of standard error is kept, in bytes.
const STDERR_BYTES_MAX: usize = 64 << 10;
/// How long a program may take that was asked to stop.
const GRACE: Duration = Duration::from_millis(500);
/// How long a guard may take to clear everything away; longer than its own limits.
const STOP_MAX: Duration = Duration::from_secs(3);

/// How guards are started: this program, by its own name for that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuardProgram {
    /// The program's own file.
    pub program: PathBuf,
    /// What makes it a guard.
    pub arguments: Vec<String>,
    /// How many files programs may have open; as many as this process if absent.
    pub open_files: Option<u64>,
}

/// Variables that a program gets; shows their names only.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Variables(pub Vec<(String, OsString)>);

/// What is to be run.
#[derive(Debug)]
pub(super) struct Run<'a> {
    pub(super) guard: &'a GuardProgram,
    /// The program, as a path, and its arguments.
    pub(super) argv: Vec<String>,
    pub(super) dir: PathBuf,
    /// Where it may write; anywhere if absent.
    pub(super) writable: Option<Vec<PathBuf>>,
    pub(super) variables: Variables,
    pub(super) input: String,
}

/// What ends an attempt from outside.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    pub(super) cancelled: CancellationToken,
    pub(super) deadline: Instant,
}

/// What a run that ended by itself leaves behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ended {
    /// The exit code; 128 and the number of the signal that ended it.
    pub(super) code: i32,
    /// The end of standard error.
    pub(super) stderr: String,
    /// How much came on standard output, in bytes.
    pub(super) stdout_bytes: u64,
}

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.iter().map(|it| &it.0)).finish()
    }
}

impl Limits {
    /// Waits until the attempt is over, and says why.
    pub(super) async fn over(&self) -> Failure {
        tokio::select! {
            biased;
            () = self.cancelled.cancelled() => {
                Failure::new(FailureCode::Cancelled, "the attempt was given up")
            }
            () = sleep_until(self.deadline) => {
                Failure::new(FailureCode::Timeout, "the program did not end in time")
            }
        }
    }
}

impl Run<'_> {
    /// Runs the program to its end. `at_start` gets the guard's process id, `on_line` each line of
    /// standard output without its end.
    ///
    /// However this ends, also if the future is dropped, all that the program started is stopped.
    pub(super) async fn run(
        self,
        limits: &Limits,
        at_start: impl FnOnce(u32),
        on_line: impl FnMut(&[u8]),
    ) -> Result<Ended, Failure> {
        let mut child = self.spawn().map_err(|it| {
            Failure::new(FailureCode::AgentError, format!("failed to start a guard: {it}"))
        })?;
        at_start(child.id().unwrap_or_default());
        let result = tokio::select! {
            biased;
            result = talk(&mut child, self.order(), on_line) => result,
            failure = limits.over() => Err(failure),
        };
        // The pipes are closed by now, which is what makes the guard stop what still runs.
        let status = match timeout(STOP_MAX, child.wait()).await {
            Ok(status) => status.ok(),
            Err(_) => child.kill().await.ok().and(None),
        };
        let (stderr, stdout_bytes) = result?;
        let code = status.and_then(|it| it.code()).unwrap_or(-1);
        Ok(Ended { code, stderr, stdout_bytes })
    }

    fn spawn(&self) -> io::Result<Child> {
        let mut command = Command::new(&self.guard.program);
        command.args(&self.guard.arguments).env_clear();
        command.envs(self.variables.0.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // What the terminal sends to this process is not meant for the guard.
        command.process_group(0).spawn()
    }

    /// What the guard reads: its order, and what the program reads.
    fn order(&self) -> Vec<u8> {
        let order = Order {
            argv: self.argv.clone(),
            dir: self.dir.clone(),
            writable: self.writable.clone(),
            open_files: self.guard.open_files,
            stdin_bytes: self.input.len() as u64,
            grace_ms: u64::try_from(GRACE.as_millis()).unwrap_or_default(),
        };
        let mut bytes = serde_json::to_vec(&order).unwrap_or_default();
        bytes.push(b'\n');
        bytes.extend_from_slice(self.input.as_bytes());
        bytes
    }
}

/// Writes and reads until the guard has closed its output; answers the end of standard error, and
/// how much came on standard output.
async fn talk(
    child: &mut Child,
    order: Vec<u8>,
    on_line: impl FnMut(&[u8]),
) -> Result<(String, u64), Failure> {
    let (Some(mut stdin), Some(stdout), Some(stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(Failure::new(FailureCode::AgentError, "the guard has no pipes"));
    };
    let write = async {
        // A guard that cannot start its program stops reading, and says why on standard error.
        stdin.write_all(&order).await.ok();
        // Kept open: its end is the sign to stop.
        Ok::<_, Failure>(stdin)
    };
    let read = read_lines(BufReader::with_capacity(64 << 10, stdout), on_line);
    let (_stdin, n_bytes, stderr) = tokio::try_join!(write, read, read_tail(stderr))?;
    Ok((stderr, n_bytes))
}

async fn read_lines(
    mut stdout: impl AsyncBufRead + Unpin,
    mut on_line: impl FnMut(&[u8]),
) -> Result<u64, Failure> {
    let (mut line, mut n_bytes) = (Vec::new(), 0);
    loop {
        let chunk = stdout.fill_buf().await.map_err(|it| unreadable(&it))?;
        if chunk.is_empty() {
            break;
        }
        let end = chunk.iter().position(|it| *it == b'\n');
        let taken = end.map_or(chunk.len(), |it| it + 1);
        n_bytes += taken as u64;
        line.extend_from_slice(&chunk[..end.unwrap_or(taken)]);
        stdout.consume(taken);
        if line.len() > LINE_BYTES_MAX || n_bytes > OUTPUT_BYTES_MAX {
            return Err(too_much());
        }
        if end.is_some() {
            on_line(&line);
            line.clear();
        }
    }
    if !line.is_empty() {
        on_line(&line);
    }
    Ok(n_bytes)
}

/// The program wrote more than is let in.
pub(super) fn too_much() -> Failure {
    let message = format!(
        "the program wrote more than is let in: {} MiB in one piece, {} MiB in all",
        LINE_BYTES_MAX >> 20,
        OUTPUT_BYTES_MAX >> 20,
    );
    Failure::new(FailureCode::UpstreamLimit, message)
}

async fn read_tail(mut stderr: impl AsyncRead + Unpin) -> Result<String, Failure> {
    let (mut tail, mut chunk) = (Vec::new(), vec![0; 16 << 10]);
    loop {
        match stderr.read(&mut chunk).await.map_err(|it| unreadable(&it))? {
            0 => break,
            n_read => tail.extend_from_slice(&chunk[..n_read]),
        }
        let surplus = tail.len().saturating_sub(STDERR_BYTES_MAX);
        tail.drain(..surplus);
    }
    Ok(String::from_utf8_lossy(&tail).into_owned())
}

fn unreadable(error: &io::Error) -> Failure {
    Failure::new(FailureCode::AgentError, format!("failed to read what the program wrote: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines(output: &[u8]) -> (Vec<String>, Result<u64, FailureCode>) {
        let mut lines = Vec::new();
        let reader = BufReader::with_capacity(4, output);
        let read = read_lines(reader, |it| lines.push(String::from_utf8_lossy(it).into()));
        let read = read.await.map_err(|it| it.code);
        (lines, read)
    }

    #[tokio::test]
    async fn output_comes_line_by_line_whatever_the_pieces() {
        let (found, n_bytes) = lines(b"first line\n\nlast").await;
        assert_eq!((found.join("|").as_str(), n_bytes), ("first line||last", Ok(16)));
        assert_eq!(lines(b"").await, (Vec::new(), Ok(0)));
        assert_eq!(lines(b"a\n").await.0, ["a"]);
    }

    #[tokio::test]
    async fn a_line_without_an_end_is_not_let_in() {
        let endless = vec![b'x'; LINE_BYTES_MAX + 1];
        let mut n_lines = 0;
        let read = read_lines(endless.as_slice(), |_| n_lines += 1).await.unwrap_err();
        assert_eq!((read.code, n_lines), (FailureCode::UpstreamLimit, 0));
    }

    #[tokio::test]
    async fn only_the_end_of_standard_error_is_kept() {
        let mut text = "a".repeat(STDERR_BYTES_MAX);
        text.push_str("the end");
        let tail = read_tail(text.as_bytes()).await.unwrap();
        assert_eq!(tail.len(), STDERR_BYTES_MAX);
        assert!(tail.ends_with("athe end"));
    }

    #[test]
    fn values_of_variables_are_not_shown() {
        let variables = Variables(vec![("API_KEY".into(), "hidden".into())]);
        assert_eq!(format!("{variables:?}"), "{\"API_KEY\"}");
    }
}
