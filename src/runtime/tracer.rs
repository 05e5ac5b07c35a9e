//! Writes trace files behind the dispatcher's back; whoever waits for a dispatch is answered only
//! when its files stand.

use std::{collections::BTreeMap, sync::Arc};

use tokio::{
    sync::{mpsc, oneshot, watch},
    task::{JoinError, JoinSet},
};
use tracing::warn;

use super::{
    document::{Meta, StoredDocument},
    history::TaskHistory,
    live::TRACE_FILES_MAX,
    message::Progress,
    row::PENDING,
    spans, trace_file,
};
use crate::{
    model::{DispatchId, TaskIdx},
    ports::{
        DispatchRow, Failpoint, Journal, Record, RecordFilter, Spans, StoreError, StoredTask,
        TaskRow, TraceFile, TraceFiles, TraceTarget,
    },
};

/// How many dispatches are written to at once.
const CONCURRENT_MAX: usize = 8;
/// How many jobs are looked at together.
const JOBS_MAX: usize = 64;
/// How many tasks may wait for their files before the dispatcher is made to wait.
const WAITING_MAX: usize = 4_096;
/// How many records are read from the store at once.
const RECORDS_PAGE: usize = 10_000;
/// How many outputs are read from the store at once.
const OUTPUTS_PAGE: usize = 64;

/// A task that has ended, with all that its file says.
#[derive(Debug)]
pub(super) struct TaskTrace {
    pub(super) target: TraceTarget,
    pub(super) document: Arc<StoredDocument>,
    pub(super) meta: Arc<Meta>,
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
pub(super) async fn run(mut jobs: mpsc::Receiver<Job>, sinks: Sinks) {
    let mut tracer = Tracer { sinks, begun: BTreeMap::new(), writes: JoinSet::new() };
    let mut heard = Vec::new();
    loop {
        tokio::select! {
            biased;
            Some(written) = tracer.writes.join_next() => tracer.go_on(written),
            n_jobs = jobs.recv_many(&mut heard, JOBS_MAX), if tracer.has_room() => {
                if n_jobs == 0 {
                    break;
                }
                heard.drain(..).for_each(|it| tracer.take(it));
                tracer.start_writes();
            }
            else => break,
        }
    }
    while let Some(written) = tracer.writes.join_next().await {
        tracer.go_on(written);
    }
}

/// Where what happened goes, and where it is read again.
#[derive(Clone)]
pub(super) struct Sinks {
    pub(super) files: Arc<dyn TraceFiles>,
    pub(super) spans: Option<Arc<dyn Spans>>,
    pub(super) journal: Arc<dyn Journal>,
}

struct Tracer {
    sinks: Sinks,
    begun: BTreeMap<DispatchId, Begun>,
    /// One for each dispatch that is written to.
    writes: JoinSet<DispatchId>,
}

/// What is still to be written of a dispatch. While one write is under way the next gathers, so
/// that a busy disk gets few large jobs rather than many small ones.
#[derive(Default)]
struct Begun {
    is_writing: bool,
    tasks: Vec<TaskTrace>,
    end: Option<Box<DispatchTrace>>,
}

impl Tracer {
    fn has_room(&self) -> bool {
        let n_waiting: usize = self.begun.values().map(|it| it.tasks.len()).sum();
        n_waiting < WAITING_MAX
    }

    fn take(&mut self, job: Job) {
        match job {
            Job::Tasks(traces) => {
                spans::tell_tasks(&traces, self.sinks.spans.as_deref());
                for it in traces {
                    self.begun.entry(it.target.dispatch).or_default().tasks.push(it);
                }
            }
            Job::Dispatch(dispatch) => {
                let id = dispatch.target.dispatch;
                self.begun.entry(id).or_default().end = Some(dispatch);
            }
        }
    }

    /// Writes what gathered meanwhile.
    fn go_on(&mut self, written: Result<DispatchId, JoinError>) {
        match written {
            Ok(dispatch) => {
                if let Some(begun) = self.begun.get_mut(&dispatch) {
                    begun.is_writing = false;
                }
            }
            Err(error) => {
                warn!(%error, "writing of traces broke off");
                // Whose it was is not known: all may go on, in whatever order.
                self.begun.values_mut().for_each(|it| it.is_writing = false);
            }
        }
        self.start_writes();
    }

    fn start_writes(&mut self) {
        let idle = self.begun.iter().filter(|(_, it)| !it.is_writing).map(|it| *it.0);
        let idle: Vec<DispatchId> = idle.collect();
        for dispatch in idle {
            if self.writes.len() >= CONCURRENT_MAX {
                return;
            }
            self.start_write(dispatch);
        }
    }

    fn start_write(&mut self, dispatch: DispatchId) {
        let Some(begun) = self.begun.get_mut(&dispatch) else { return };
        let tasks = std::mem::take(&mut begun.tasks);
        begun.is_writing = true;
        let sinks = self.sinks.clone();
        if let Some(end) = begun.end.take() {
            self.begun.remove(&dispatch);
            self.writes.spawn(async move {
                finish(*end, tasks, &sinks).await;
                dispatch
            });
        } else if let Some(target) = tasks.first().map(|it| it.target.clone()) {
            self.writes.spawn(async move {
                let make = Box::new(move || tasks.iter().map(trace_file::task_file).collect());
                if let Err(error) = sinks.files.write(target, make).await {
                    warn!(%error, "trace file not written");
                }
                dispatch
            });
        } else {
            self.begun.remove(&dispatch);
        }
    }
}

/// Writes what is left, and tells those who wait.
async fn finish(mut dispatch: DispatchTrace, last: Vec<TaskTrace>, sinks: &Sinks) {
    Failpoint::TracesDue.reach();
    let status = dispatch.row.status;
    let (waiters, progress) = (std::mem::take(&mut dispatch.waiters), dispatch.progress.clone());
    if dispatch.from_store
        && let Err(error) = write_tasks_from_store(&dispatch, sinks).await
    {
        warn!(%error, "trace files not written");
    }
    spans::tell_dispatch(&dispatch, sinks.spans.as_deref());
    let target = dispatch.target.clone();
    let make = Box::new(move || {
        let tasks = last.iter().map(trace_file::task_file);
        tasks.chain([TraceFile::Index(trace_file::index_file(&dispatch))]).collect()
    });
    if let Err(error) = sinks.files.write(target, make).await {
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
    Sinks { files, spans, journal }: &Sinks,
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
            meta: Arc::clone(&dispatch.meta),
            task: stored.task,
            row: if stored.row.status.is_final() { stored.row.clone() } else { PENDING },
            history: std::mem::take(&mut histories[stored.task.as_usize()]),
            output,
        };
        let traces: Vec<TaskTrace> = chunk.iter().zip(outputs).map(trace).collect();
        spans::tell_tasks(&traces, spans.as_deref());
        if n_tasks > TRACE_FILES_MAX {
            lines.extend(traces.iter().map(trace_file::task_line));
            continue;
        }
        let make = Box::new(move || traces.iter().map(trace_file::task_file).collect());
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
            if let (Some(task), _) = record.body.subject()
                && let Some(history) = histories.get_mut(task.as_usize())
            {
                history.records.push(record);
            }
        }
    }
}
