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

/// One of the files that a dispatch leaves behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TraceFile {
    /// `{dir}/{dispatch}/{task_id}.json`, with `{dir}/{task_id}.json` as a relative link to it.
    Task {
        /// The task.
        task_id: TaskId,
        /// What the file says.
        json: String,
    },
    /// `{dir}/{dispatch}/tasks.jsonl`: one line a task, for large dispatches.
    Lines(Vec<String>),
    /// The index `{dir}/dispatch-{time}-{first 8 of the id}.json`.
    Index(String),
}

/// Makes the files at the moment when they are written, on a thread that may take its time.
pub type MakeTraceFiles = Box<dyn FnOnce() -> Vec<TraceFile> + Send>;

/// Writes trace files; private to the user (files 0600, directories 0700).
pub trait TraceFiles: Debug + Send + Sync {
    /// Writes each of the files that `make` gives, in order and each at once; one that fails does
    /// not keep the others from being written, and the first error is answered.
    fn write(
        &self,
        target: TraceTarget,
        make: MakeTraceFiles,
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
