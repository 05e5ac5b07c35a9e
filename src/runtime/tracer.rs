//! Writes trace files behind the dispatcher's back; whoever waits for a dispatch is answered only
//! when its files stand.

use std::{collections::BTreeMap, sync::Arc};

use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};
use tokio_util::task::TaskTracker;
use tracing::warn;

use super::{
    document::{Meta, StoredDocument},
    history::TaskHistory,
    live::{PENDING, TRACE_FILES_MAX},
    message::Progress,
    trace,
};
use crate::{
    model::{DispatchId, TaskIdx},
    ports::{
        DispatchRow, Failpoint, Journal, Record, RecordFilter, StoreError, StoredTask, TaskRow,
        TraceFile, TraceFiles, TraceTarget,
    },
};

/// How many dispatches are written to at once.
const CONCURRENT_MAX: usize = 8;
/// How many jobs are looked at together.
const JOBS_MAX: usize = 64;
/// How many records are read from the store at once.
const RECORDS_PAGE: usize = 10_000;
/// How many outputs are read from the store at once.
const OUTPUTS_PAGE: usize = 64;

/// A task that has ended, with all that its file says.
#[derive(Debug)]
pub(super) struct TaskTrace {
    pub(super) target: TraceTarget,
    pub(super) document: Arc<StoredDocument>,
    pub(super) task: TaskIdx,
    pub(super) row: TaskRow,
    pub(super) history: TaskHistory,
    /// The output as JSON text.
    pub(super) output: Option<String>,
}

/// A dispatch that has ended.
#[derive(Debug)]
pub(super) struct DispatchTrace {
    pub(super) target: TraceTarget,
    pub(super) document: Arc<StoredDocument>,
    pub(super) meta: Arc<Meta>,
    pub(super) row: DispatchRow,
    pub(super) tasks: Vec<StoredTask>,
    pub(super) from_store: bool,
    /// Who waits for the end.
    pub(super) waiters: Vec<oneshot::Sender<()>>,
    pub(super) progress: watch::Sender<Progress>,
}

/// What the tracer is told.
#[derive(Debug)]
pub(super) enum Job {
    /// Tasks that ended in one round of the dispatcher.
    Tasks(Vec<TaskTrace>),
    Dispatch(Box<DispatchTrace>),
}

/// Writes files until the channel closes.
pub(super) async fn run(
    mut jobs: mpsc::Receiver<Job>,
    files: Arc<dyn TraceFiles>,
    journal: Arc<dyn Journal>,
) {
    let mut tracer = Tracer { files, journal, begun: BTreeMap::new(), writes: JoinSet::new() };
    let mut heard = Vec::new();
    while jobs.recv_many(&mut heard, JOBS_MAX).await > 0 {
        tracer.take(heard.drain(..)).await;
    }
    while tracer.writes.join_next().await.is_some() {}
}

struct Tracer {
    files: Arc<dyn TraceFiles>,
    journal: Arc<dyn Journal>,
    /// The writes of dispatches that have not ended: the end is told after them.
    begun: BTreeMap<DispatchId, TaskTracker>,
    writes: JoinSet<()>,
}

impl Tracer {
    /// Writes what belongs to one dispatch in one go.
    async fn take(&mut self, jobs: impl Iterator<Item = Job>) {
        let mut tasks: BTreeMap<DispatchId, Vec<TaskTrace>> = BTreeMap::new();
        let mut ended = Vec::new();
        for job in jobs {
            match job {
                Job::Tasks(traces) => {
                    for it in traces {
                        tasks.entry(it.target.dispatch).or_default().push(it);
                    }
                }
                Job::Dispatch(dispatch) => ended.push(dispatch),
            }
        }
        for dispatch in ended {
            let last = tasks.remove(&dispatch.target.dispatch).unwrap_or_default();
            self.spawn_end(dispatch, last).await;
        }
        for (dispatch, traces) in tasks {
            self.spawn_tasks(dispatch, traces).await;
        }
    }

    async fn spawn_tasks(&mut self, dispatch: DispatchId, traces: Vec<TaskTrace>) {
        let Some(target) = traces.first().map(|it| it.target.clone()) else { return };
        let make = Box::new(move || traces.iter().map(trace::task_file).collect());
        let written = self.files.write(target, make);
        let begun = self.begun.entry(dispatch).or_default();
        let work = begun.track_future(async move {
            if let Err(error) = written.await {
                warn!(%error, "trace file not written");
            }
        });
        self.spawn(work).await;
    }

    async fn spawn_end(&mut self, dispatch: Box<DispatchTrace>, last: Vec<TaskTrace>) {
        let begun = self.begun.remove(&dispatch.target.dispatch);
        let (files, journal) = (Arc::clone(&self.files), Arc::clone(&self.journal));
        self.spawn(async move {
            if let Some(begun) = begun {
                begun.close();
                begun.wait().await;
            }
            finish(*dispatch, last, &files, &journal).await;
        })
        .await;
    }

    async fn spawn(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        while self.writes.len() >= CONCURRENT_MAX {
            let _ended = self.writes.join_next().await;
        }
        self.writes.spawn(work);
    }
}

/// Writes what is left, and tells those who wait.
async fn finish(
    mut dispatch: DispatchTrace,
    last: Vec<TaskTrace>,
    files: &Arc<dyn TraceFiles>,
    journal: &Arc<dyn Journal>,
) {
    Failpoint::TracesDue.reach();
    let status = dispatch.row.status;
    let (waiters, progress) = (std::mem::take(&mut dispatch.waiters), dispatch.progress.clone());
    if dispatch.from_store
        && let Err(error) = write_tasks_from_store(&dispatch, files, journal).await
    {
        warn!(%error, "trace files not written");
    }
    let target = dispatch.target.clone();
    let make = Box::new(move || {
        let tasks = last.iter().map(trace::task_file);
        tasks.chain([TraceFile::Index(trace::index_file(&dispatch))]).collect()
    });
    if let Err(error) = files.write(target, make).await {
        warn!(%error, "trace file not written");
    }
    Failpoint::TracesWritten.reach();
    progress.send_modify(|it| it.status = status);
    for waiter in waiters {
        // Whoever waited may have gone.
        let _gone = waiter.send(());
    }
    Failpoint::EndTold.reach();
}

/// The slow way: all that the files say is read back first.
async fn write_tasks_from_store(
    dispatch: &DispatchTrace,
    files: &Arc<dyn TraceFiles>,
    journal: &Arc<dyn Journal>,
) -> Result<(), StoreError> {
    let id = dispatch.target.dispatch;
    let n_tasks = dispatch.tasks.len();
    let mut histories = histories(id, n_tasks, journal).await?;
    let mut lines = Vec::new();
    for chunk in dispatch.tasks.chunks(OUTPUTS_PAGE) {
        let outputs = journal.outputs(id, chunk.iter().map(|it| it.task).collect()).await?;
        let trace = |(stored, output): (&StoredTask, Option<String>)| TaskTrace {
            target: dispatch.target.clone(),
            document: Arc::clone(&dispatch.document),
            task: stored.task,
            row: if stored.row.status.is_final() { stored.row.clone() } else { PENDING },
            history: std::mem::take(&mut histories[stored.task.as_usize()]),
            output,
        };
        let traces: Vec<TaskTrace> = chunk.iter().zip(outputs).map(trace).collect();
        if n_tasks > TRACE_FILES_MAX {
            lines.extend(traces.iter().map(trace::task_line));
            continue;
        }
        let make = Box::new(move || traces.iter().map(trace::task_file).collect());
        if let Err(error) = files.write(dispatch.target.clone(), make).await {
            warn!(%error, "trace file not written");
        }
    }
    if n_tasks > TRACE_FILES_MAX
        && let Err(error) =
            files.write(dispatch.target.clone(), Box::new(|| vec![TraceFile::Lines(lines)])).await
    {
        warn!(%error, "trace lines not written");
    }
    Ok(())
}

/// The records of a dispatch, by task.
async fn histories(
    dispatch: DispatchId,
    n_tasks: usize,
    journal: &Arc<dyn Journal>,
) -> Result<Vec<TaskHistory>, StoreError> {
    let mut histories: Vec<_> = (0..n_tasks).map(|_| TaskHistory::default()).collect();
    let mut filter = RecordFilter { limit: RECORDS_PAGE, ..RecordFilter::default() };
    loop {
        let records: Vec<Record> = journal.records(dispatch, filter.clone()).await?;
        let Some(last) = records.last() else { return Ok(histories) };
        filter.after = last.seq;
        for record in records {
            if let (Some(task), _) = record.body.subject() {
                histories[task.as_usize()].records.push(record);
            }
        }
    }
}
