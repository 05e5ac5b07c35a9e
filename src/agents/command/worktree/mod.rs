//! A git worktree for one attempt: the repository as it is committed, with the changes of the tasks
//! that this one depends on, and afterwards what the attempt has changed.
//!
//! The user's own checkout is never touched. Changes travel as diffs in the outputs, so they are as
//! durable as these, and reach whatever depends on them, in the order of the graph.

mod git;
mod home;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use self::git::Git;
pub(super) use self::{git::Kept, home::Home};
use super::process::Variables;
use crate::{
    model::{Failure, FailureCode},
    ports::UpstreamOutput,
};

/// What of a repository's own directory every worktree of it writes to. What git does is not
/// decided there, unlike in `config`, `hooks` and `info`, by which it starts programs.
const SHARED: [&str; 3] = ["objects", "refs", "logs"];
/// How a diff is written: all of it, and the same whatever the user has configured.
const DIFF: [&str; 11] = [
    "diff",
    "--cached",
    "--binary",
    "--full-index",
    "--no-color",
    "--no-ext-diff",
    "--no-textconv",
    "--no-relative",
    "--submodule=short",
    "--src-prefix=a/",
    "--dst-prefix=b/",
];
/// The message of the commit that an attempt starts from.
const BASE_MESSAGE: &str = "results of earlier tasks";

/// A worktree; removed when dropped, at the latest.
#[derive(Debug)]
pub(super) struct Worktree {
    git: Git,
    /// Its root, until it is removed.
    path: Option<PathBuf>,
    /// The directory in it that stands for the agent's own.
    dir: PathBuf,
    /// The repository's own directory, and what of it is this worktree's alone.
    git_dirs: Option<(PathBuf, PathBuf)>,
    /// The commit of the user's repository that it was made from.
    head: String,
    /// What the attempt started from: that commit, or one with the changes of earlier tasks.
    base: String,
    /// Who clears up where nobody waits for it.
    tasks: TaskTracker,
}

/// The changes of one task.
struct Change<'a> {
    task: &'a str,
    diff: &'a str,
}

impl Worktree {
    /// Makes a worktree of the repository that `dir` is in, with the changes in `upstream`, whose
    /// order is the order of the graph.
    pub(super) async fn make(
        home: &Home,
        dir: &Path,
        variables: &Variables,
        upstream: &[UpstreamOutput],
    ) -> Result<Self, Failure> {
        let git = Git::new(variables);
        let root = git.text(dir, &["rev-parse", "--show-toplevel"]).await;
        let root = root
            .map(PathBuf::from)
            .map_err(|it| failed(&format!("{} is not in a git repository: {it}", dir.display())))?;
        let head = git.text(&root, &["rev-parse", "--verify", "HEAD^{commit}"]).await;
        let head = head.map_err(|it| failed(&format!("the repository has no commit yet: {it}")))?;
        let path = home.dir().join(Uuid::new_v4().to_string());
        let inner = dir.canonicalize().ok();
        let inner = inner.as_deref().and_then(|it| it.strip_prefix(&root).ok());
        let inner = inner.map_or_else(|| path.clone(), |it| path.join(it));
        let tasks = home.tasks().clone();
        let path = Some(path);
        let base = head.clone();
        let mut worktree = Self { git, path, dir: inner, git_dirs: None, base, head, tasks };
        worktree.check_out(home, &root).await?;
        worktree.start_from(upstream).await?;
        // A folder without committed files is not in the worktree by itself.
        std::fs::create_dir_all(&worktree.dir).map_err(|it| failed(&it.to_string()))?;
        Ok(worktree)
    }

    /// Where the agent's program runs.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where git has to write in the repository that it belongs to, so that the program can commit.
    pub(super) fn writable(&self) -> Vec<PathBuf> {
        let Some((shared, own)) = &self.git_dirs else { return Vec::new() };
        let shared = SHARED.iter().map(|it| shared.join(it));
        shared.chain([own.clone()]).collect()
    }

    async fn check_out(&mut self, home: &Home, root: &Path) -> Result<(), Failure> {
        let path = self.root().to_str().ok_or_else(|| failed("its path is not UTF-8"))?;
        let add = ["worktree", "add", "--quiet", "--detach", path, self.head.as_str()];
        let _alone = home.alone().await;
        // What a process that was killed has left is no longer there, but still on the list.
        self.git.text(root, &["worktree", "prune"]).await.map_err(|it| failed(&it))?;
        self.git.text(root, &add).await.map_err(|it| failed(&it))?;
        let dirs = ["rev-parse", "--path-format=absolute", "--git-common-dir", "--git-dir"];
        let dirs = self.text(&dirs).await?;
        self.git_dirs = dirs.split_once('\n').map(|(shared, own)| (shared.into(), own.into()));
        Ok(())
    }

    /// Applies the changes of earlier tasks, and makes them the base.
    async fn start_from(&mut self, upstream: &[UpstreamOutput]) -> Result<(), Failure> {
        let mut changes = Vec::new();
        for it in upstream {
            collect(it.task_id.as_str(), &it.output, &mut changes);
        }
        if changes.is_empty() {
            return Ok(());
        }
        for Change { task, diff } in changes {
            let apply = ["apply", "--index", "--3way", "--whitespace=nowarn", "-"];
            let applied = self.git.with_input(self.root(), &apply, diff).await;
            applied.map_err(|it| {
                failed(&format!("the diff of task \"{task}\" does not apply: {it}"))
            })?;
        }
        let tree = self.text(&["write-tree"]).await?;
        let commit = ["commit-tree", tree.as_str(), "-p", "HEAD", "-m", BASE_MESSAGE];
        self.base = self.text(&commit).await?;
        self.text(&["reset", "--quiet", "--soft", self.base.as_str()]).await.map(drop)
    }

    /// Adds to an output what was changed: `diff`, `files_changed`, and `base_commit`, the commit
    /// of the user's repository that all of it goes back to.
    ///
    /// The program may have told git, in the worktree, what to start: that starts as it did.
    pub(super) async fn with_changes(
        &self,
        mut output: Value,
        kept: &Kept<'_>,
    ) -> Result<Value, Failure> {
        self.read_changes(kept, &["add", "--all", "--", "."]).await?;
        let diff = [DIFF.as_slice(), &[self.base.as_str()]].concat();
        let diff = self.read_changes(kept, &diff).await?;
        let diff = String::from_utf8(diff).map_err(|_| failed("the diff is not UTF-8"))?;
        let names = ["diff", "--cached", "--name-only", "--no-relative", "-z", self.base.as_str()];
        let names = self.read_changes(kept, &names).await?;
        let names = String::from_utf8_lossy(&names);
        let files: Vec<&str> = names.split('\0').filter(|it| !it.is_empty()).collect();
        output["diff"] = json!(diff);
        output["files_changed"] = json!(files);
        output["base_commit"] = json!(self.head);
        Ok(output)
    }

    /// Removes it; git's own note of it goes with the next worktree that is made.
    pub(super) async fn remove(mut self) {
        if let Some(removed) = self.start_to_remove() {
            // That it panicked would mean only that something is left.
            let _left = removed.await;
        }
    }

    fn start_to_remove(&mut self) -> Option<JoinHandle<()>> {
        let path = self.path.take()?;
        Some(self.tasks.spawn_blocking(move || {
            if let Err(error) = std::fs::remove_dir_all(&path) {
                tracing::warn!(%error, "a worktree is not removed");
            }
        }))
    }

    fn root(&self) -> &Path {
        self.path.as_deref().unwrap_or(&self.dir)
    }

    async fn read_changes(&self, kept: &Kept<'_>, arguments: &[&str]) -> Result<Vec<u8>, Failure> {
        let ended = self.git.guarded(kept, self.root(), arguments).await?;
        ended.map_err(|it| failed(&it))
    }

    async fn text(&self, arguments: &[&str]) -> Result<String, Failure> {
        self.git.text(self.root(), arguments).await.map_err(|it| failed(&it))
    }
}

impl Drop for Worktree {
    fn drop(&mut self) {
        // It goes on by itself.
        drop(self.start_to_remove());
    }
}

/// Finds the changes in the output of a task, and in those that it was put together from.
fn collect<'a>(task: &'a str, output: &'a Value, changes: &mut Vec<Change<'a>>) {
    if let Value::Array(parts) = output {
        for part in parts {
            collect_one(task, part, changes);
            collect_one(task, &part["output"], changes);
        }
    }
    collect_one(task, output, changes);
}

fn collect_one<'a>(task: &'a str, output: &'a Value, changes: &mut Vec<Change<'a>>) {
    if let (Some(Value::String(diff)), Some(Value::Array(_))) =
        (output.get("diff"), output.get("files_changed"))
        && !diff.is_empty()
    {
        changes.push(Change { task, diff });
    }
}

fn failed(what: &str) -> Failure {
    Failure::new(FailureCode::AgentError, format!("worktree: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_found_in_what_a_task_has_become_too() {
        let one = |diff: &str| json!({ "diff": diff, "files_changed": [] });
        let found = |output: &Value| {
            let mut changes = Vec::new();
            collect("a", output, &mut changes);
            changes.iter().map(|it| it.diff.to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(found(&one("x")), ["x"]);
        assert_eq!(found(&json!([one("x"), one(""), { "output": one("y") }])), ["x", "y"]);
        assert!(found(&json!({ "diff": "prose", "result": one("x") })).is_empty());
        assert!(found(&json!([1, null, { "output": null }])).is_empty());
    }
}
