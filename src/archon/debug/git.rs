//! What changed lately, as git tells it.
//!
//! A repository's own settings may name programs, so each one that `git log` would heed is
//! switched off: a workspace is a stranger's. Nothing is fetched and nothing is written.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use serde::Serialize;
use tokio::{io::AsyncReadExt as _, process::Command, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{confine::Workspaces, model::text};

/// How long one call of git may take.
const GIT_TIMEOUT: Duration = Duration::from_secs(4);
/// How many files are asked about.
const FILES_MAX: usize = 8;
/// How many commits of one file are named.
const COMMITS_MAX: &str = "-5";
/// How much output of one call is read, in bytes.
const OUTPUT_BYTES_MAX: u64 = 16 * 1_024;
/// Where git is looked for; the environment has no say.
const GIT_PATH: &str = "/usr/local/bin:/usr/bin:/bin:/opt/homebrew/bin";

/// The latest changes of one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Changes {
    pub(super) path: String,
    /// Newest first; empty where the file is in no repository.
    pub(super) commits: Vec<Commit>,
}

/// One commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Commit {
    pub(super) id: String,
    pub(super) at: String,
    pub(super) subject: String,
}

/// Asks for the latest changes of files; what cannot be told is left out.
pub(super) async fn recent_changes(
    workspaces: &Workspaces,
    paths: &[String],
    stop: &CancellationToken,
) -> Vec<Changes> {
    let mut changes = Vec::new();
    for path in paths.iter().take(FILES_MAX) {
        let asked = tokio::select! {
            () = stop.cancelled() => return changes,
            asked = timeout(GIT_TIMEOUT, log(workspaces, path)) => asked,
        };
        let commits = asked.ok().flatten().unwrap_or_default();
        changes.push(Changes { path: path.clone(), commits });
    }
    changes
}

async fn log(workspaces: &Workspaces, path: &str) -> Option<Vec<Commit>> {
    let place = resolve(workspaces, path).await?;
    let mut command = Command::new("git");
    command
        .args(["--no-pager", "--literal-pathspecs"])
        .args(["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"])
        .args(["-c", "log.showSignature=false", "-c", "protocol.allow=never"])
        .args(["log", COMMITS_MAX, "--no-show-signature", "--no-ext-diff", "--no-textconv"])
        .args(["--no-color", "--no-decorate", "--no-notes", "--no-patch"])
        .args(["--format=%h%x1f%aI%x1f%s", "--"])
        .arg(&place.file)
        .current_dir(&place.dir)
        .env_clear()
        .env("PATH", GIT_PATH)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_OPTIONAL_LOCKS", "0")
        .env("GIT_NO_LAZY_FETCH", "1")
        .env("GIT_ALLOW_PROTOCOL", "none")
        // A repository that holds the workspace, but is not in it, is not asked.
        .env("GIT_CEILING_DIRECTORIES", &place.ceiling)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let mut child = command.spawn().ok()?;
    let mut output = Vec::new();
    child.stdout.take()?.take(OUTPUT_BYTES_MAX).read_to_end(&mut output).await.ok()?;
    let ended = child.wait().await.ok()?;
    ended.success().then(|| parse(&String::from_utf8_lossy(&output)))
}

/// Where git is started, and what it is asked about.
struct Place {
    dir: PathBuf,
    file: OsString,
    ceiling: PathBuf,
}

async fn resolve(workspaces: &Workspaces, path: &str) -> Option<Place> {
    let (workspaces, path) = (workspaces.clone(), path.to_owned());
    let resolved = tokio::task::spawn_blocking(move || {
        let real = workspaces.canonicalize(&path).ok()?;
        let ceiling = workspaces.root_of(&real).ok()?.parent().unwrap_or_else(|| Path::new("/"));
        // Git reads a list of directories there, parted by colons.
        if ceiling.to_string_lossy().contains(':') {
            return None;
        }
        let (dir, file) = (real.parent()?.to_owned(), real.file_name()?.to_owned());
        Some(Place { dir, file, ceiling: ceiling.to_owned() })
    });
    resolved.await.ok().flatten()
}

fn parse(output: &str) -> Vec<Commit> {
    let commit = |line: &str| {
        let mut parts = line.split('\x1f');
        let (id, at, subject) = (parts.next()?, parts.next()?, parts.next()?);
        let (id, at) = (text::cut(id, 40), text::cut(at, 40));
        Some(Commit { id, at, subject: text::cut(subject, 120) })
    };
    output.lines().filter_map(commit).collect()
}
