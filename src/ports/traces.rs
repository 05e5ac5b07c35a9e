//! Trace files for people and scripts; the store is the truth, the files are written from it.

use std::{fmt::Debug, path::PathBuf};

use futures::future::BoxFuture;

use crate::model::{DispatchId, TaskId, Timestamp};

/// Where the traces of one dispatch go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceTarget {
    /// The trace directory: absolute, inside a workspace or the trace root.
    pub dir: PathBuf,
    /// The dispatch.
    pub dispatch: DispatchId,
    /// When it was accepted.
    pub created_at: Timestamp,
}

/// Why a trace file was not written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to write trace file {path}: {reason}")]
pub struct TraceWriteError {
    /// The file.
    pub path: String,
    /// Why.
    pub reason: String,
}

/// What became of a dispatch's trace files when it was forgotten.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemovedTraces {
    /// How many files and links were removed.
    pub n_files: usize,
    /// Why some stayed, if that is worth a word; what is not ours stays without one.
    pub left: Option<String>,
}

/// Writes trace files; private to the user (files 0600, directories 0700).
pub trait TraceFiles: Debug + Send + Sync {
    /// Writes `{dir}/{dispatch}/{task_id}.json` and makes `{dir}/{task_id}.json` a relative link
    /// to it.
    fn write_task(
        &self,
        target: TraceTarget,
        task_id: TaskId,
        json: String,
    ) -> BoxFuture<'static, Result<(), TraceWriteError>>;

    /// Writes `{dir}/{dispatch}/tasks.jsonl` in one go: one line a task, for large dispatches.
    fn write_lines(
        &self,
        target: TraceTarget,
        lines: Vec<String>,
    ) -> BoxFuture<'static, Result<(), TraceWriteError>>;

    /// Writes the index `{dir}/dispatch-{time}-{first 8 of the id}.json`.
    fn write_index(
        &self,
        target: TraceTarget,
        json: String,
    ) -> BoxFuture<'static, Result<(), TraceWriteError>>;

    /// Removes the files that were written for a dispatch, and the links to them; whatever else
    /// stands there stays.
    fn remove(&self, target: TraceTarget) -> BoxFuture<'static, RemovedTraces>;
}

impl TraceTarget {
    /// The path of a task's file.
    pub fn task_path(&self, task_id: &TaskId) -> PathBuf {
        self.dir.join(self.dispatch.to_string()).join(format!("{task_id}.json"))
    }

    /// The path of the file that stands in for the tasks' files in large dispatches.
    pub fn lines_path(&self) -> PathBuf {
        self.dir.join(self.dispatch.to_string()).join("tasks.jsonl")
    }

    /// The path of the index.
    pub fn index_path(&self) -> PathBuf {
        let name =
            format!("dispatch-{}-{}.json", self.created_at.to_compact(), self.dispatch.short());
        self.dir.join(name)
    }
}
