//! One live dispatch: its scheduler, and what the store and the users are told of it.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Map, Value};
use tokio::sync::{oneshot, watch};

use super::{
    batch::Batch,
    document::{Meta, StoredDocument},
    filter::ContextPool,
    gatekeeper::Found,
    gather::Gathered,
    history::History,
    lanes::Lanes,
    message::{AttemptEnd, Ended, Progress},
    row::{self, PENDING, execution_time, is_end_of, may_end},
    spending,
    submission::{Backends, Submission},
    tracer::TaskTrace,
};
use crate::{
    model::{Attempt, DispatchId, DispatchStatus, Millis, Spend, TaskIdx, TaskStatus, Timestamp},
    plan::{DurationKeys, TaskGraph},
    ports::{
        DispatchRow, Epoch, OwnerId, Record, RecordBody, StoreError, StoredTask, TaskRow, Tenure,
        TraceTarget, Write,
    },
    scheduler::{Event, Growth, Input, Outbox, Scheduler},
};

/// Above so many tasks one file of lines stands in for the tasks' own trace files.
pub(super) const TRACE_FILES_MAX: usize = 1_000;

/// A dispatch that this process drives.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) id: DispatchId,
    pub(super) created_at: Millis,
    /// Which of its owners this process is.
    pub(super) epoch: Epoch,
    pub(super) document: Arc<StoredDocument>,
    pub(super) meta: Arc<Meta>,
    pub(super) graph: Arc<TaskGraph>,
    pub(super) keys: DurationKeys,
    pub(super) scheduler: Scheduler,
    pub(super) backends: Backends,
    pub(super) lanes: Lanes,
    pub(super) pool: Option<Arc<ContextPool>>,
    pub(super) rows: Vec<TaskRow>,
    pub(super) waiters: Vec<Waiter>,
    pub(super) progress: watch::Sender<Progress>,
    /// Held by each who follows and heeds only what is counted.
    pub(super) aside: Arc<()>,
    /// Whether the trace files are written from the store at the end: the dispatch is large, or
    /// was taken over from a dead process.
    pub(super) traces_from_store: bool,
    history: History,
    pub(super) running: BTreeSet<TaskIdx>,
    /// Those that wait for an approval.
    pub(super) waiting: BTreeSet<TaskIdx>,
    /// How often those that wait for an approval were others than before.
    pub(super) n_waits: u64,
    /// When the end was guessed last, and the guess.
    pub(super) guessed: Option<(Millis, Millis)>,
    last_seq: u64,
    pub(super) n_ended: usize,
    pub(super) n_unsuccessful: usize,
    /// For each task that ended, the longest chain of execution times up to its end.
    pub(super) chains: Vec<Millis>,
    longest_chain: Millis,
    ended_at: Option<Millis>,
    /// What the dispatch above was charged with.
    pub(super) charged: (Spend, u32),
    /// Whether its scheduler knows of dispatches above or below.
    pub(super) is_funded: bool,
}

/// Somebody who waits for tasks to end.
#[derive(Debug)]
pub(super) struct Waiter {
    /// The tasks; all if empty.
    pub(super) tasks: Vec<TaskIdx>,
    pub(super) reply: oneshot::Sender<Ended>,
}

impl Live {
    /// Sets up a new dispatch; nothing is recorded yet.
    pub(super) fn new(submission: Submission, created_at: Millis) -> Self {
        let Submission { dispatch, document, meta, graph, keys, backends, idempotency: _, kept } =
            submission;
        let n_tasks = graph.len();
        let mut rows = vec![PENDING; n_tasks];
        for it in kept {
            rows[it.task.as_usize()] = it.row;
        }
        let lanes = Lanes::new(&document, &backends);
        let scheduler = first_scheduler((dispatch, created_at), &document, &graph, &lanes);
        Self {
            id: dispatch,
            created_at,
            epoch: Epoch::FIRST,
            scheduler,
            document,
            meta,
            keys,
            backends,
            lanes,
            pool: None,
            rows,
            waiters: Vec::new(),
            progress: watch::Sender::new(Progress::new(n_tasks)),
            aside: Arc::default(),
            traces_from_store: n_tasks > TRACE_FILES_MAX,
            history: History::default(),
            running: BTreeSet::new(),
            waiting: BTreeSet::new(),
            n_waits: 0,
            guessed: None,
            last_seq: 0,
            n_ended: 0,
            n_unsuccessful: 0,
            chains: vec![Millis(0); n_tasks],
            longest_chain: Millis(0),
            ended_at: None,
            charged: Default::default(),
            is_funded: false,
            graph,
        }
    }

    /// Replays one record of the store.
    pub(super) fn replay(&mut self, record: &Record) -> Result<(), StoreError> {
        if let RecordBody::Scheduler(Event::TasksAdded { n_tasks, .. }) = record.body {
            self.scheduler.prepare(self.growth_to(n_tasks)?);
        }
        if !self.can_follow(&record.body) {
            let reason = format!("record {} of {} cannot follow", record.seq, self.id);
            return Err(StoreError::Corrupt(reason));
        }
        self.last_seq = record.seq;
        let RecordBody::Scheduler(event) = &record.body else { return Ok(()) };
        self.scheduler.replay(record.at, event);
        if let (Some(task), _) = record.body.subject() {
            self.note_waiting(task);
            if may_end(event) {
                self.count_end(task, event);
            }
        }
        Ok(())
    }

    fn can_follow(&self, body: &RecordBody) -> bool {
        if let RecordBody::Scheduler(event) = body {
            return self.scheduler.can_follow(event);
        }
        body.subject().0.is_none_or(|it| it.as_usize() < self.rows.len())
    }

    /// The number of the last record.
    pub(super) fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// The document as it stands in the store.
    pub(super) fn json(&self) -> String {
        self.document.write()
    }

    /// Where the trace files go.
    pub(super) fn trace_target(&self) -> TraceTarget {
        TraceTarget {
            dir: self.meta.trace_dir.clone(),
            dispatch: self.id,
            created_at: Timestamp(self.created_at),
        }
    }

    /// Gives the scheduler one input and puts what follows into `batch`.
    pub(super) fn handle(
        &mut self,
        now: Millis,
        input: Input,
        out: &mut Outbox,
        batch: &mut Batch,
    ) {
        self.scheduler.handle(now, input, out);
        self.note(now, out, None, batch);
    }

    /// Starts the dispatch with the context that was gathered for it.
    pub(super) fn start_with(
        &mut self,
        now: Millis,
        gathered: Gathered,
        out: &mut Outbox,
        batch: &mut Batch,
    ) {
        self.pool = Some(gathered.pool);
        self.record(now, gathered.record, batch);
        self.handle(now, Input::Start, out, batch);
    }

    /// Tells the scheduler the time and puts what follows into `batch`.
    pub(super) fn handle_timeout(&mut self, now: Millis, out: &mut Outbox, batch: &mut Batch) {
        self.scheduler.handle_timeout(now, out);
        self.note(now, out, None, batch);
    }

    /// Takes the end of an attempt; a stale one leaves only its upstream calls behind.
    pub(super) fn end_attempt(
        &mut self,
        now: Millis,
        end: AttemptEnd,
        out: &mut Outbox,
        batch: &mut Batch,
    ) {
        let AttemptEnd {
            task,
            attempt,
            result,
            calls,
            events,
            resolved,
            findable,
            evidence,
            usage,
        } = end;
        for event in events {
            self.record(now, RecordBody::AgentEvent { task, attempt, event }, batch);
        }
        for call in calls {
            self.record(now, RecordBody::UpstreamCall { task, attempt, call }, batch);
        }
        if let Some(input) = resolved {
            self.note_input(task, input);
        }
        let row = &mut self.rows[task.as_usize()];
        if (row.status, row.attempts) == (TaskStatus::Running, attempt.0) {
            row.evidence = (!evidence.is_empty()).then(|| evidence.into());
        }
        let (verdict, output) = match result {
            Ok(output) => (Ok(()), Some(output)),
            Err(failure) => (Err(failure), None),
        };
        let input = Input::AttemptEnded { task, attempt, result: verdict, usage };
        self.scheduler.handle(now, input, out);
        self.note(now, out, output.map(|it| (task, attempt, it)), batch);
        if let Some(it) = findable {
            self.remember(now, (task, attempt), it, batch);
        }
    }

    /// Takes what was found out at a gate.
    pub(super) fn answer(
        &mut self,
        now: Millis,
        found: Found,
        out: &mut Outbox,
        batch: &mut Batch,
    ) {
        let Found { task, gate, answer, output } = found;
        self.scheduler.handle(now, Input::Answer { task, gate, answer }, out);
        self.note(now, out, output.map(|it| (task, Attempt(0), it)), batch);
    }

    /// Puts one entry of the journal into `batch`.
    pub(super) fn record(&mut self, now: Millis, body: RecordBody, batch: &mut Batch) {
        self.last_seq += 1;
        let record = Record { seq: self.last_seq, at: now, body };
        if !self.traces_from_store {
            self.history.note(&record);
        }
        batch.writes.push(Write::Record { dispatch: self.id, record });
    }

    /// Whether all of `tasks` have ended; all of the dispatch if empty.
    pub(super) fn has_ended(&self, tasks: &[TaskIdx]) -> bool {
        let is_final =
            |it: &TaskIdx| self.rows.get(it.as_usize()).is_none_or(|row| row.status.is_final());
        !tasks.is_empty() && tasks.iter().all(is_final)
    }

    /// What stands in the store of a dispatch that has ended, but for `meta` and `caller`.
    pub(super) fn stored(
        &mut self,
        status: DispatchStatus,
        owner: OwnerId,
    ) -> (DispatchRow, Vec<StoredTask>) {
        let row = DispatchRow {
            dispatch: self.id,
            tenure: Tenure { owner, epoch: self.epoch, last_seq: self.last_seq },
            status,
            created_at: self.created_at,
            ended_at: self.ended_at,
            n_tasks: self.rows.len(),
            n_successful: self.n_ended - self.n_unsuccessful,
            n_unsuccessful: self.n_unsuccessful,
            critical_path: self.longest_chain,
            meta: String::new(),
            caller: None,
        };
        let stored = |(at, row): (usize, TaskRow)| {
            let spec = &self.document.tasks[at];
            let (task_id, agent) = (spec.task_id.clone(), spec.agent.clone());
            StoredTask { task: TaskIdx::from_usize(at), task_id, agent, row }
        };
        (row, std::mem::take(&mut self.rows).into_iter().enumerate().map(stored).collect())
    }

    fn note_input(&mut self, task: TaskIdx, input: Map<String, Value>) {
        if !self.traces_from_store {
            self.history.note_input(task, input);
        }
    }

    /// Turns the scheduler's events into writes, its actions into the batch's.
    fn note(
        &mut self,
        now: Millis,
        out: &mut Outbox,
        mut output: Option<(TaskIdx, Attempt, String)>,
        batch: &mut Batch,
    ) {
        for event in out.events.drain(..) {
            let json = output.take_if(|it| is_end_of(&event, it.0, it.1)).map(|it| it.2);
            self.note_event(now, &event, json, batch);
        }
        batch.actions.extend(out.actions.drain(..).map(|it| (self.id, it)));
    }

    fn note_event(&mut self, now: Millis, event: &Event, json: Option<String>, batch: &mut Batch) {
        let body = RecordBody::Scheduler(event.clone());
        let subject = body.subject().0;
        if let (Some(task), Some(json)) = (subject, &json) {
            let json = json.clone();
            batch.writes.push(Write::Output { dispatch: self.id, task, json });
        }
        self.record(now, body, batch);
        if let Some(task) = subject.filter(|_| !self.meta.nested.is_empty())
            && is_failure(event)
        {
            batch.given_up.push((self.id, task));
        }
        if let Some(task) = subject {
            self.note_task((now, task), event, json, batch);
        } else if is_control(event) {
            self.note_control(batch);
        } else if let Event::DispatchEnded { status } = *event {
            let critical_path = self.longest_chain;
            self.ended_at = Some(now);
            batch.writes.push(Write::End { dispatch: self.id, status, at: now, critical_path });
        }
    }

    /// Changes what reports need, and writes it.
    pub(super) fn change_meta(&mut self, batch: &mut Batch, change: impl FnOnce(&mut Meta)) {
        change(Arc::make_mut(&mut self.meta));
        batch.writes.push(Write::Meta { dispatch: self.id, json: self.meta.write() });
    }

    fn note_task(
        &mut self,
        (now, task): (Millis, TaskIdx),
        event: &Event,
        output: Option<String>,
        batch: &mut Batch,
    ) {
        let spec = &self.document.tasks[task.as_usize()];
        spending::account(&mut self.rows[task.as_usize()], event);
        row::update(&mut self.rows[task.as_usize()], now, event, spec);
        self.note_waiting(task);
        let row = self.rows[task.as_usize()].clone();
        if row.status == TaskStatus::Running {
            self.running.insert(task);
        } else {
            self.running.remove(&task);
        }
        if row.status == TaskStatus::Success
            && let Event::AttemptEnded { .. } = event
            && let (Some(key), Some(took)) = (self.keys.get(task), execution_time(&row))
        {
            batch.writes.push(Write::Duration { key: Arc::clone(key), at: now, took });
        }
        if row.status.is_final() {
            self.count_end(task, event);
            if !self.traces_from_store {
                let history = self.history.take(task);
                let (target, document) = (self.trace_target(), Arc::clone(&self.document));
                let (row, meta) = (row.clone(), Arc::clone(&self.meta));
                batch.traces.push(TaskTrace { target, document, meta, task, row, history, output });
            }
        }
        batch.writes.push(Write::Task { dispatch: self.id, task, row });
    }

    fn note_waiting(&mut self, task: TaskIdx) {
        let is_news = if row::waits_for_approval(&self.rows[task.as_usize()]) {
            self.waiting.insert(task)
        } else {
            self.waiting.remove(&task)
        };
        self.n_waits += u64::from(is_news);
    }

    fn count_end(&mut self, task: TaskIdx, event: &Event) {
        let row = &self.rows[task.as_usize()];
        if !row.status.is_final() {
            return;
        }
        self.n_ended += 1;
        let is_success = matches!(
            event,
            Event::TaskKept { .. }
                | Event::TaskReused { .. }
                | Event::TaskJoined { .. }
                | Event::AttemptEnded { result: Ok(()), .. }
        );
        self.n_unsuccessful += usize::from(!is_success);
        let before = self.graph.dependencies(task).iter().map(|it| self.chains[it.as_usize()]);
        let chain = before.max().unwrap_or_default() + execution_time(row).unwrap_or_default();
        self.chains[task.as_usize()] = chain;
        self.longest_chain = self.longest_chain.max(chain);
    }
}

/// The scheduler of a dispatch before anything has happened: with the tasks that it had at first.
fn first_scheduler(
    (dispatch, created_at): (DispatchId, Millis),
    document: &StoredDocument,
    graph: &Arc<TaskGraph>,
    lanes: &Lanes,
) -> Scheduler {
    let of = (dispatch, created_at);
    let n_first = document.n_first.map(|it| it.min(document.tasks.len()));
    let first = n_first.and_then(|it| document.begin(it, of, lanes.by_task()).ok());
    let Growth { graph, policy } = first.unwrap_or_else(|| Growth {
        graph: Arc::clone(graph),
        policy: document.policy(of, lanes.by_task().to_vec()),
    });
    Scheduler::new(graph, policy)
}

/// Whether a task ends without success, or at least an attempt of it.
fn is_failure(event: &Event) -> bool {
    matches!(
        event,
        Event::AttemptEnded { result: Err(_), .. }
            | Event::TaskCancelled { .. }
            | Event::TaskDropped { .. }
            | Event::TaskExpired { .. }
    )
}

/// Whether reports have to say something else of the dispatch as a whole.
fn is_control(event: &Event) -> bool {
    matches!(
        event,
        Event::DispatchPaused
            | Event::DispatchResumed
            | Event::TasksPaused { .. }
            | Event::TasksResumed { .. }
            | Event::WorkersChanged { .. }
    )
}
