//! The writer of trace files: which file goes where.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use futures::future::BoxFuture;
use tokio::sync::Semaphore;

use super::{files::PrivateDir, remove::remove};
use crate::{
    model::{DispatchId, TaskId, text},
    ports::{RemovedTraces, TraceFiles, TraceTarget, TraceWriteError},
};

/// How many files are written at once; more would only take threads from others.
const WRITES_MAX: usize = 4;

/// Writes trace files beneath its roots; clones share their bound.
#[derive(Clone, Debug)]
pub struct TraceFileWriter {
    roots: Arc<[PathBuf]>,
    places: Arc<Semaphore>,
}

impl TraceFileWriter {
    /// Writes beneath `roots` only: the workspaces and the trace root, absolute; missing ones are
    /// made when they are first written to.
    pub fn new(roots: impl IntoIterator<Item = PathBuf>) -> Self {
        let places = Arc::new(Semaphore::new(WRITES_MAX));
        Self { roots: roots.into_iter().collect(), places }
    }

    /// Runs `work` on a thread that may block; the path is for the error.
    fn run<T: Send + 'static>(
        &self,
        path: PathBuf,
        work: impl FnOnce(&[PathBuf]) -> io::Result<T> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, TraceWriteError>> {
        let (roots, places) = (Arc::clone(&self.roots), Arc::clone(&self.places));
        Box::pin(async move {
            let place = places.acquire_owned().await.map_err(|it| failed(&path, &it))?;
            let written = tokio::task::spawn_blocking(move || {
                let written = work(&roots);
                drop(place);
                written
            });
            let written = written.await.map_err(|it| failed(&path, &it))?;
            written.map_err(|it| failed(&path, &it))
        })
    }
}

impl TraceFiles for TraceFileWriter {
    fn write_task(
        &self,
        target: TraceTarget,
        task_id: TaskId,
        json: String,
    ) -> BoxFuture<'static, Result<(), TraceWriteError>> {
        let path = target.task_path(&task_id);
        self.run(path, move |roots| {
            let dir = PrivateDir::open(roots, &target.dir)?;
            let folder = target.dispatch.to_string();
            let name = format!("{task_id}.json");
            dir.child(&folder)?.write(&name, json.as_bytes())?;
            let is_ours = |it: &Path| is_trace(it, &name);
            dir.link(&name, &Path::new(&folder).join(&name), is_ours)
                .map_err(|error| io::Error::other(format!("the link {name} beside it: {error}")))
        })
    }

    fn write_lines(
        &self,
        target: TraceTarget,
        lines: Vec<String>,
    ) -> BoxFuture<'static, Result<(), TraceWriteError>> {
        self.run(target.lines_path(), move |roots| {
            let dir = PrivateDir::open(roots, &target.dir)?;
            let mut text = lines.join("\n");
            text.push('\n');
            dir.child(&target.dispatch.to_string())?.write("tasks.jsonl", text.as_bytes())
        })
    }

    fn write_index(
        &self,
        target: TraceTarget,
        json: String,
    ) -> BoxFuture<'static, Result<(), TraceWriteError>> {
        let path = target.index_path();
        self.run(path.clone(), move |roots| {
            let name = path.file_name().and_then(|it| it.to_str());
            let name = name.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidFilename))?;
            PrivateDir::open(roots, &target.dir)?.write(name, json.as_bytes())
        })
    }

    fn remove(&self, target: TraceTarget) -> BoxFuture<'static, RemovedTraces> {
        let removed = self.run(target.dir.clone(), move |roots| remove(roots, &target));
        Box::pin(async move {
            match removed.await {
                Ok(n_files) => RemovedTraces { n_files, left: None },
                Err(TraceWriteError { path, reason }) => {
                    RemovedTraces { n_files: 0, left: Some(format!("{path}: {reason}")) }
                }
            }
        })
    }
}

/// Whether a link leads to what this program writes: `{dispatch}/{name}`.
fn is_trace(target: &Path, name: &str) -> bool {
    let Some((folder, file)) = target.to_str().and_then(|it| it.split_once('/')) else {
        return false;
    };
    file == name && folder.parse::<DispatchId>().is_ok()
}

fn failed(path: &Path, error: &impl ToString) -> TraceWriteError {
    let shown = |it: &str| text::escape(&text::cut(it, 400));
    TraceWriteError { path: shown(&path.to_string_lossy()), reason: shown(&error.to_string()) }
}
