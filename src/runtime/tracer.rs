//! Writes trace files behind the dispatcher's back; whoever waits for a dispatch is answered only
//! when its files stand.

use std::sync::Arc;

use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};
use tracing::warn;

use super::{
    document::{Meta, StoredDocument},
    history::TaskHistory,
    live::{PENDING, TRACE_FILES_MAX},
    message::Progress,
    trace,
};
use crate::{
    model::{DispatchStatus, TaskIdx},
    ports::{Journal, RecordFilter, StoreError, TaskRow, TraceFiles, TraceTarget},
};

/// How many files are written at once.
const CONCURRENT_MAX: usize = 8;
/// How many records are read from the store at once.
const RECORDS_PAGE: usize = 10_000;

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
    pub(super) status: DispatchStatus,
    pub(super) from_store: bool,
    /// Who waits for the end.
    pub(super) waiters: Vec<oneshot::Sender<()>>,
    pub(super) progress: watch::Sender<Progress>,
}

/// What the tracer is told.
#[derive(Debug)]
pub(super) enum Job {
    Task(Box<TaskTrace>),
    Dispatch(Box<DispatchTrace>),
}

/// Writes files until the channel closes.
pub(super) async fn run(
    mut jobs: mpsc::Receiver<Job>,
    files: Arc<dyn TraceFiles>,
    journal: Arc<dyn Journal>,
) {
    let mut writes = JoinSet::new();
    while let Some(job) = jobs.recv().await {
        match job {
            Job::Task(task) => {
                while writes.len() >= CONCURRENT_MAX {
                    let _ended = writes.join_next().await;
                }
                writes.spawn(write_task(*task, Arc::clone(&files)));
            }
            Job::Dispatch(dispatch) => {
                while writes.join_next().await.is_some() {}
                finish(*dispatch, &files, &journal).await;
            }
        }
    }
    while writes.join_next().await.is_some() {}
}

async fn write_task(task: TaskTrace, files: Arc<dyn TraceFiles>) {
    let json = trace::task_file(&task);
    let task_id = task.document.tasks[task.task.as_usize()].task_id.clone();
    if let Err(error) = files.write_task(task.target, task_id, json).await {
        warn!(%error, "trace file not written");
    }
}

async fn finish(dispatch: DispatchTrace, files: &Arc<dyn TraceFiles>, journal: &Arc<dyn Journal>) {
    if let Err(error) = write_dispatch(&dispatch, files, journal).await {
        warn!(%error, "trace files not written");
    }
    dispatch.progress.send_modify(|it| it.status = dispatch.status);
    for waiter in dispatch.waiters {
        // Whoever waited may have gone.
        let _gone = waiter.send(());
    }
}

async fn write_dispatch(
    dispatch: &DispatchTrace,
    files: &Arc<dyn TraceFiles>,
    journal: &Arc<dyn Journal>,
) -> Result<(), StoreError> {
    let id = dispatch.target.dispatch;
    if dispatch.from_store {
        write_tasks_from_store(dispatch, files, journal).await?;
    }
    let Some(row) = journal.dispatch(id).await? else { return Ok(()) };
    let tasks = journal.tasks(id).await?;
    let json =
        trace::index_file(&row, &tasks, &dispatch.document, &dispatch.meta, &dispatch.target);
    if let Err(error) = files.write_index(dispatch.target.clone(), json).await {
        warn!(%error, "trace index not written");
    }
    Ok(())
}

/// The slow way: all that the files say is read back first.
async fn write_tasks_from_store(
    dispatch: &DispatchTrace,
    files: &Arc<dyn TraceFiles>,
    journal: &Arc<dyn Journal>,
) -> Result<(), StoreError> {
    let id = dispatch.target.dispatch;
    let n_tasks = dispatch.document.tasks.len();
    let mut histories: Vec<_> = (0..n_tasks).map(|_| TaskHistory::default()).collect();
    let mut filter = RecordFilter { limit: RECORDS_PAGE, ..RecordFilter::default() };
    loop {
        let records = journal.records(id, filter.clone()).await?;
        let Some(last) = records.last() else { break };
        filter.after = last.seq;
        for record in records {
            if let (Some(task), _) = record.body.subject() {
                histories[task.as_usize()].records.push(record);
            }
        }
    }
    let mut lines = Vec::new();
    for (row, history) in journal.tasks(id).await?.into_iter().zip(histories) {
        let task = row.task;
        let output = journal.outputs(id, vec![task]).await?.pop().flatten();
        let (target, document) = (dispatch.target.clone(), Arc::clone(&dispatch.document));
        let row = if row.row.status.is_final() { row.row } else { PENDING };
        let trace = TaskTrace { target, document, task, row, history, output };
        if n_tasks > TRACE_FILES_MAX {
            lines.push(trace::task_line(&trace));
        } else {
            write_task(trace, Arc::clone(files)).await;
        }
    }
    if n_tasks > TRACE_FILES_MAX
        && let Err(error) = files.write_lines(dispatch.target.clone(), lines).await
    {
        warn!(%error, "trace lines not written");
    }
    Ok(())
}
