//! Git, run as a program of its own: without a shell, without hooks, without questions.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{
    io::AsyncWriteExt as _,
    process::Command,
    time::{Instant, timeout},
};

use super::super::process::{GuardProgram, Limits, Run, Variables};
use crate::model::{Failure, FailureCode, redact::redact, text};

/// The largest diff that becomes part of an output, in bytes.
const DIFF_BYTES_MAX: usize = 16 << 20;

/// The longest that one command may take.
const COMMAND_MAX: Duration = Duration::from_mins(2);
/// What is configured for every command, whatever the user and the repository say: no hooks and
/// no helpers that run programs by themselves.
const FIXED: [&str; 10] = [
    "-c",
    "core.hooksPath=/dev/null",
    "-c",
    "core.fsmonitor=false",
    "-c",
    "core.quotePath=false",
    "-c",
    "gc.auto=0",
    "-c",
    "maintenance.auto=false",
];
/// Who makes the commits that attempts start from; and what it says is meant to be read here.
const ALWAYS: [(&str, &str); 7] = [
    ("GIT_AUTHOR_NAME", "parallel-dispatch"),
    ("GIT_AUTHOR_EMAIL", "parallel-dispatch@localhost"),
    ("GIT_COMMITTER_NAME", "parallel-dispatch"),
    ("GIT_COMMITTER_EMAIL", "parallel-dispatch@localhost"),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("GIT_EDITOR", "true"),
    ("LC_ALL", "C"),
];

/// How an agent's program was kept, and when its attempt is over.
#[derive(Debug)]
pub(in super::super) struct Kept<'a> {
    pub(in super::super) guard: &'a GuardProgram,
    /// Where it may write; anywhere if absent.
    pub(in super::super) writable: Option<Vec<PathBuf>>,
    pub(in super::super) limits: &'a Limits,
}

/// Git with the variables of an agent.
#[derive(Clone, Debug)]
pub(super) struct Git {
    variables: Variables,
}

impl Git {
    /// Of the agent's variables only those count by which git finds itself and the user's settings.
    pub(super) fn new(Variables(all): &Variables) -> Self {
        let is_needed = |it: &str| matches!(it, "PATH" | "HOME" | "XDG_CONFIG_HOME" | "TMPDIR");
        let needed = all.iter().filter(|it| is_needed(&it.0)).cloned().collect();
        Self { variables: Variables(needed) }
    }

    /// What a command prints, without the end of its last line.
    pub(super) async fn text(&self, dir: &Path, arguments: &[&str]) -> Result<String, String> {
        let bytes = self.bytes(dir, arguments).await?;
        let text = String::from_utf8(bytes).map_err(|_| "git printed no UTF-8".to_owned())?;
        Ok(text.trim_end_matches('\n').to_owned())
    }

    /// What a command prints.
    pub(super) async fn bytes(&self, dir: &Path, arguments: &[&str]) -> Result<Vec<u8>, String> {
        self.with_input(dir, arguments, "").await
    }

    /// What a command prints that is kept like an agent's program: behind a guard, and writing
    /// where that may. An error within is git's word.
    pub(super) async fn guarded(
        &self,
        kept: &Kept<'_>,
        dir: &Path,
        arguments: &[&str],
    ) -> Result<Result<Vec<u8>, String>, Failure> {
        let argv = ["git"].iter().chain(&FIXED).chain(arguments);
        let mut variables = self.variables.clone();
        variables.0.extend(ALWAYS.map(|(name, value)| (name.to_owned(), value.into())));
        let run = Run {
            guard: kept.guard,
            argv: argv.map(|it| (*it).to_owned()).collect(),
            dir: dir.to_owned(),
            writable: kept.writable.clone(),
            variables,
            input: String::new(),
        };
        let deadline = kept.limits.deadline.min(Instant::now() + COMMAND_MAX);
        let limits = Limits { cancelled: kept.limits.cancelled.clone(), deadline };
        let mut output = Vec::new();
        let ended = run.run(&limits, |_| (), |line| add(line, &mut output)).await?;
        if ended.stdout_bytes > DIFF_BYTES_MAX as u64 {
            let message = format!("the diff is larger than {} MiB", DIFF_BYTES_MAX >> 20);
            return Err(Failure::new(FailureCode::UpstreamLimit, message));
        }
        // The last line may have had no end.
        output.truncate(usize::try_from(ended.stdout_bytes).unwrap_or_default());
        Ok(if ended.code == 0 { Ok(output) } else { Err(shown(&ended.stderr)) })
    }

    /// What a command prints that reads `input`.
    pub(super) async fn with_input(
        &self,
        dir: &Path,
        arguments: &[&str],
        input: &str,
    ) -> Result<Vec<u8>, String> {
        let mut command = Command::new("git");
        command.args(FIXED).args(arguments).current_dir(dir).env_clear();
        command.envs(self.variables.0.iter().map(|(name, value)| (name, value)));
        command.envs(ALWAYS).kill_on_drop(true).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|it| format!("failed to start git: {it}"))?;
        let stdin = child.stdin.take();
        let write = async {
            if let Some(mut stdin) = stdin {
                // A command that fails may not read everything.
                stdin.write_all(input.as_bytes()).await.ok();
            }
        };
        let both = async { tokio::join!(child.wait_with_output(), write).0 };
        let output = timeout(COMMAND_MAX, both).await;
        let output = output.map_err(|_| "git did not end in time".to_owned())?;
        let output = output.map_err(|it| format!("failed to run git: {it}"))?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        Err(shown(&String::from_utf8_lossy(&output.stderr)))
    }
}

/// Keeps a line, if what there is by then is not too much already.
fn add(line: &[u8], output: &mut Vec<u8>) {
    if output.len() <= DIFF_BYTES_MAX {
        output.extend_from_slice(line);
        output.push(b'\n');
    }
}

/// What git said, on one line.
fn shown(stderr: &str) -> String {
    let lines = stderr.lines().filter(|it| !it.trim().is_empty()).take(6);
    let said = text::cut(&lines.collect::<Vec<_>>().join(" / "), 400);
    text::escape(&redact(&said))
}
