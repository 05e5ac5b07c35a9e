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
    ports::{MakeTraceFiles, RemovedTraces, TraceFile, TraceFiles, TraceTarget, TraceWriteError},
};

/// How many dispatches are written at once; more would only take threads from others.
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
}

impl TraceFiles for TraceFileWriter {
    fn write(
        &self,
        target: TraceTarget,
        make: MakeTraceFiles,
    ) -> BoxFuture<'static, Result<(), TraceWriteError>> {
        let (roots, places) = (Arc::clone(&self.roots), Arc::clone(&self.places));
        Box::pin(async move {
            let dir = target.dir.clone();
            let place = places.acquire_owned().await.map_err(|it| failed(&dir, &it))?;
            let written = tokio::task::spawn_blocking(move || {
                let written = write_all(&roots, &target, make());
                drop(place);
                written
            });
            written.await.map_err(|it| failed(&dir, &it))?
        })
    }

    fn remove(&self, target: TraceTarget) -> BoxFuture<'static, RemovedTraces> {
        let roots = Arc::clone(&self.roots);
        Box::pin(async move {
            let dir = target.dir.clone();
            let removed = tokio::task::spawn_blocking(move || remove(&roots, &target)).await;
            match removed.map_err(io::Error::other).and_then(|it| it) {
                Ok(n_files) => RemovedTraces { n_files, left: None },
                Err(error) => {
                    let TraceWriteError { path, reason } = failed(&dir, &error);
                    RemovedTraces { n_files: 0, left: Some(format!("{path}: {reason}")) }
                }
            }
        })
    }
}

fn write_all(
    roots: &[PathBuf],
    target: &TraceTarget,
    files: Vec<TraceFile>,
) -> Result<(), TraceWriteError> {
    let dir = PrivateDir::open(roots, &target.dir).map_err(|it| failed(&target.dir, &it))?;
    let mut place = Place { dir, folder: target.dispatch.to_string(), opened: None };
    let mut first_error = Ok(());
    for file in files {
        let written = place.write(target, &file);
        let written = written.map_err(|it| failed(&path_of(target, &file), &it));
        if first_error.is_ok() {
            first_error = written;
        }
    }
    first_error
}

/// The trace directory, and the folder of one dispatch in it, opened when it is needed.
struct Place {
    dir: PrivateDir,
    folder: String,
    opened: Option<PrivateDir>,
}

impl Place {
    fn write(&mut self, target: &TraceTarget, file: &TraceFile) -> io::Result<()> {
        match file {
            TraceFile::Task { task_id, json } => self.write_task(task_id, json),
            TraceFile::Lines(lines) => {
                let text: String = lines.iter().flat_map(|it| [it.as_str(), "\n"]).collect();
                self.folder()?.write("tasks.jsonl", text.as_bytes())
            }
            TraceFile::Index(json) => {
                let path = target.index_path();
                let name = path.file_name().and_then(|it| it.to_str());
                let name = name.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidFilename))?;
                self.dir.write(name, json.as_bytes())
            }
        }
    }

    fn write_task(&mut self, task_id: &TaskId, json: &str) -> io::Result<()> {
        let name = format!("{task_id}.json");
        self.folder()?.write(&name, json.as_bytes())?;
        let is_ours = |it: &Path| is_trace(it, &name);
        self.dir
            .link(&name, &Path::new(&self.folder).join(&name), is_ours)
            .map_err(|error| io::Error::other(format!("the link {name} beside it: {error}")))
    }

    fn folder(&mut self) -> io::Result<&PrivateDir> {
        if self.opened.is_none() {
            self.opened = Some(self.dir.child(&self.folder)?);
        }
        self.opened.as_ref().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }
}

fn path_of(target: &TraceTarget, file: &TraceFile) -> PathBuf {
    match file {
        TraceFile::Task { task_id, .. } => target.task_path(task_id),
        TraceFile::Lines(_) => target.lines_path(),
        TraceFile::Index(_) => target.index_path(),
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
