//! The dispatcher: one task that owns every live dispatch and acts only on what is durable.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use rustc_hash::FxHashMap;
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    task::{Id, JoinError, JoinSet},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::{
    attempt::{self, AttemptJob},
    batch::Batch,
    live::{Live, Waiter},
    message::{AttemptEnd, Heard, Inboxes, Message, Submitted},
    options::Dependencies,
    reuse::LOOKS_MAX,
    rules::OwnedRules,
    sharing::{Caps, Sharing},
    spans,
    submission::Submission,
    tracer::Job,
};
use crate::{
    model::{Attempt, DispatchId, Identity, Millis, TaskIdx},
    ports::{Accept, Changes, Failpoint, RecordBody, RequestId, Tenure, Write},
    scheduler::{Action, Input, Outbox},
};

/// How many messages and ends of attempts make one round at most.
const ROUND_MAX: usize = 256;
/// How often the others are let run before a commit, while attempts run that may end.
const SETTLE_MAX: usize = 8;
/// How long attempts may take to stop at a shutdown.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

type Running = BTreeMap<(DispatchId, TaskIdx), (Attempt, CancellationToken)>;

/// Owns the live dispatches.
#[derive(Debug)]
pub(super) struct Dispatcher {
    pub(super) dependencies: Dependencies,
    /// Cancels, waits, ends of gathering: small, and never behind submissions.
    control: mpsc::UnboundedReceiver<Message>,
    submissions: mpsc::Receiver<Message>,
    /// For jobs that report back.
    pub(super) to_control: mpsc::WeakUnboundedSender<Message>,
    pub(super) traces: mpsc::Sender<Job>,
    pub(super) rules: Arc<OwnedRules>,
    pub(super) shutdown: CancellationToken,
    pub(super) lives: BTreeMap<DispatchId, Live>,
    pub(super) sharing: Sharing,
    attempts: JoinSet<AttemptEnd>,
    attempt_keys: FxHashMap<Id, (DispatchId, TaskIdx, Attempt)>,
    pub(super) running: Running,
    /// What is gathered and found out beside the dispatches.
    errands: JoinSet<()>,
    /// What other processes handed over and is being accepted.
    pub(super) nesting: BTreeSet<RequestId>,
    /// Places for those that look for results.
    pub(super) looks: Arc<Semaphore>,
    /// Tells that other processes may have asked for something, while dispatches are live.
    changes: Option<Changes>,
    /// When the lease is renewed, if dispatches are live then.
    pub(super) lease_renewal_at: Millis,
    accepted_at: Millis,
    pub(super) dispatches_open_max: usize,
    pub(super) out: Outbox,
}

/// What woke the dispatcher.
enum Wake {
    Ended(Result<(Id, AttemptEnd), JoinError>),
    Message(Message),
    Changed,
    Time,
    Shutdown,
}

impl Dispatcher {
    pub(super) fn new(
        dependencies: Dependencies,
        Inboxes { control, to_control, submissions }: Inboxes,
        traces: mpsc::Sender<Job>,
        (rules, caps): (Arc<OwnedRules>, Caps),
        shutdown: CancellationToken,
    ) -> Self {
        let me = dependencies.ownership.me();
        Self {
            changes: None,
            lease_renewal_at: Millis(0),
            dependencies,
            control,
            submissions,
            to_control,
            traces,
            rules,
            shutdown,
            lives: BTreeMap::new(),
            sharing: Sharing::new(caps.workers_total_max, me),
            attempts: JoinSet::new(),
            attempt_keys: FxHashMap::default(),
            running: Running::new(),
            errands: JoinSet::new(),
            nesting: BTreeSet::new(),
            looks: Arc::new(Semaphore::new(LOOKS_MAX)),
            accepted_at: Millis(0),
            dispatches_open_max: caps.dispatches_open_max,
            out: Outbox::default(),
        }
    }

    /// Runs until the shutdown, or until every handle is gone and nothing is live.
    pub(super) async fn run(mut self) {
        loop {
            let mut batch = Batch::default();
            match self.next_wake().await {
                Wake::Ended(end) => self.take_end(end, &mut batch),
                Wake::Message(message) => self.take_message(message, &mut batch),
                Wake::Changed => self.poll_requests(&mut batch).await,
                Wake::Time => self.take_time(&mut batch),
                Wake::Shutdown => break,
            }
            self.take_what_comes(&mut batch).await;
            self.share(&mut batch);
            if self.commit(&mut batch).await.is_err() {
                break;
            }
            self.carry_out(batch).await;
            self.meter_standing();
            if self.lives.is_empty() {
                self.changes = None;
            }
        }
        self.stop_attempts().await;
    }

    async fn next_wake(&mut self) -> Wake {
        let wake_at = self.wake_at();
        let sleep = async {
            match wake_at {
                Some(at) => self.dependencies.clock.sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let changed = async {
            match &mut self.changes {
                Some(changes) => changes.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => Wake::Shutdown,
            // Rare, and never behind a stream of ends.
            () = changed => Wake::Changed,
            Some(end) = self.attempts.join_next_with_id() => Wake::Ended(end),
            Some(message) = self.control.recv() => Wake::Message(message),
            Some(message) = self.submissions.recv() => Wake::Message(message),
            () = sleep => Wake::Time,
        }
    }

    fn wake_at(&self) -> Option<Millis> {
        let deadlines = self.lives.values().filter_map(|it| it.scheduler.poll_timeout());
        let renewal = (!self.lives.is_empty()).then_some(self.lease_renewal_at);
        deadlines.chain(renewal).chain(self.sharing.wake_at(self.lives.len())).min()
    }

    /// Takes what else is there or about to be there, so that one commit serves all of it: a sync
    /// of the disk costs more than letting everything that can run do so first.
    async fn take_what_comes(&mut self, batch: &mut Batch) {
        let mut n_left = ROUND_MAX;
        for _ in 0..SETTLE_MAX {
            self.take_what_waits(&mut n_left, batch);
            if n_left == 0 || self.running.is_empty() {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    fn take_what_waits(&mut self, n_left: &mut usize, batch: &mut Batch) {
        while *n_left > 0 {
            *n_left -= 1;
            if let Some(end) = self.attempts.try_join_next_with_id() {
                self.take_end(end, batch);
            } else if let Ok(message) = self.control.try_recv() {
                self.take_message(message, batch);
            } else if let Ok(message) = self.submissions.try_recv() {
                self.take_message(message, batch);
            } else {
                *n_left += 1;
                return;
            }
        }
    }

    fn take_message(&mut self, message: Message, batch: &mut Batch) {
        match message {
            Message::Submit { submission, reply } => self.submit(submission, reply, batch),
            Message::Adopt { live, found, reply } => {
                batch.replies.push((live.id, reply));
                self.adopt(*live, found, batch);
            }
            Message::Ask { dispatch, request, reply } => {
                self.take_request((dispatch, request), reply, batch);
            }
            Message::Wait { dispatch, tasks, reply } => {
                if let Some(live) = self.lives.get_mut(&dispatch)
                    && !live.has_ended(&tasks)
                {
                    live.waiters.push(Waiter { tasks, reply });
                }
            }
            Message::Follow { dispatch, heed, reply } => {
                let _gone = reply.send(self.lives.get(&dispatch).map(|it| it.follow(heed)));
                batch.touched.push(dispatch);
            }
            Message::Heartbeat { dispatch, task, attempt } => {
                let now = self.dependencies.clock.now();
                if let Some(live) = self.lives.get_mut(&dispatch) {
                    live.handle(now, Input::Heartbeat { task, attempt }, &mut self.out, batch);
                }
            }
            Message::Answer { dispatch, found } => {
                let now = self.dependencies.clock.now();
                if let Some(live) = self.lives.get_mut(&dispatch) {
                    live.answer(now, found, &mut self.out, batch);
                    batch.touched.push(dispatch);
                }
            }
            Message::Expand { dispatch, task, parts } => {
                self.expand((dispatch, task), parts, batch);
            }
            Message::Add { dispatch, tasks, backends, reply } => {
                self.add(dispatch, (tasks, backends), reply, batch);
            }
            Message::Nested { parent, request, refusal } => {
                self.nesting.remove(&request);
                let refusal = refusal.and_then(|it| serde_json::to_string(&it.to_body()).ok());
                batch.writes.push(Write::RequestHandled { dispatch: parent, request, refusal });
            }
            Message::Gathered { dispatch, gathered } => {
                let now = self.dependencies.clock.now();
                if let Some(live) = self.lives.get_mut(&dispatch) {
                    live.start_with(now, gathered, &mut self.out, batch);
                    batch.touched.push(dispatch);
                }
            }
        }
    }

    fn submit(
        &mut self,
        submission: Box<Submission>,
        reply: oneshot::Sender<Submitted>,
        batch: &mut Batch,
    ) {
        if let Err(refusal) = self.check_room(submission.meta.caller.as_ref()) {
            let _gone = reply.send(Submitted::Refused(refusal));
            return;
        }
        let mut submission = match self.enter_family(submission, batch) {
            Ok(submission) => submission,
            Err(answer) => {
                let _gone = reply.send(answer);
                return;
            }
        };
        let now = self.dependencies.clock.now();
        // The names of index files are made of it, so no two dispatches share a millisecond.
        self.accepted_at = now.max(self.accepted_at + Millis(1));
        let at = self.accepted_at;
        let id = submission.dispatch;
        let names = submission.document.tasks.iter();
        batch.writes.push(Write::Accept(Box::new(Accept {
            dispatch: id,
            owner: self.dependencies.ownership.me(),
            at,
            document: submission.document.write(),
            meta: submission.meta.write(),
            tasks: names.map(|it| (it.task_id.clone(), it.agent.clone())).collect(),
            idempotency: submission.idempotency.take(),
            caller: submission.meta.caller.as_ref().map(Identity::shared_name),
        })));
        let mut kept = Vec::new();
        for it in &mut submission.kept {
            kept.push(it.task);
            if let Some(json) = it.output.take() {
                batch.writes.push(Write::Output { dispatch: id, task: it.task, json });
            }
        }
        let mut live = Live::new(*submission, at);
        // Their outputs stand in the store only.
        live.traces_from_store |= !kept.is_empty();
        let n_tasks = live.graph.len();
        let trace_id = self.trace_id(&live);
        info!(dispatch_id = %id, trace_id, n_tasks, "dispatch accepted");
        let max_workers = live.document.config.max_workers;
        live.record(now, RecordBody::Accepted { n_tasks, max_workers }, batch);
        live.handle(now, Input::Keep { tasks: kept }, &mut self.out, batch);
        self.start(now, live, batch);
        batch.accepted.push((id, reply));
    }

    fn adopt(&mut self, live: Live, found: Tenure, batch: &mut Batch) {
        if self.lives.contains_key(&live.id) {
            return;
        }
        let now = self.dependencies.clock.now();
        let owner = self.dependencies.ownership.me();
        batch.writes.push(Write::Adopt { dispatch: live.id, found, owner });
        self.start(now, live, batch);
    }

    /// Starts a dispatch, after its context was gathered where it wants some.
    fn start(&mut self, now: Millis, mut live: Live, batch: &mut Batch) {
        batch.touched.push(live.id);
        live.charged = live.scheduler.spent();
        self.admit(now, &mut live, batch);
        self.changes.get_or_insert_with(|| self.dependencies.journal.changes());
        let wants_context = live.document.config.enable_context
            && live.document.tasks.iter().any(|it| !it.context_requirements.is_empty());
        if wants_context {
            self.gather_for(&live);
        } else {
            live.handle(now, Input::Start, &mut self.out, batch);
        }
        self.lives.insert(live.id, live);
    }

    /// Has something found out beside the dispatches; what it is comes back as a message.
    pub(super) fn run_errand(&mut self, errand: impl Future<Output = Message> + Send + 'static) {
        let control = self.to_control.clone();
        while self.errands.try_join_next().is_some() {}
        self.errands.spawn(async move {
            let message = errand.await;
            if let Some(control) = control.upgrade() {
                let _gone = control.send(message);
            }
        });
    }

    fn take_end(&mut self, end: Result<(Id, AttemptEnd), JoinError>, batch: &mut Batch) {
        let (id, end) = match end {
            Ok((id, end)) => (id, Some(end)),
            Err(error) => (error.id(), None),
        };
        let Some((dispatch, task, attempt)) = self.attempt_keys.remove(&id) else { return };
        let end = end.unwrap_or_else(|| {
            error!(dispatch_id = %dispatch, "an attempt panicked");
            AttemptEnd::panicked(task, attempt)
        });
        if self.running.get(&(dispatch, task)).is_some_and(|it| it.0 == attempt) {
            self.running.remove(&(dispatch, task));
        }
        self.note_end(id, &end, batch);
        let now = self.dependencies.clock.now();
        if let Some(live) = self.lives.get_mut(&dispatch) {
            live.end_attempt(now, end, &mut self.out, batch);
            batch.touched.push(dispatch);
        }
    }

    fn take_time(&mut self, batch: &mut Batch) {
        let now = self.dependencies.clock.now();
        for live in self.lives.values_mut() {
            if live.scheduler.poll_timeout().is_some_and(|at| at <= now) {
                live.handle_timeout(now, &mut self.out, batch);
                batch.touched.push(live.id);
            }
        }
    }

    async fn carry_out(&mut self, batch: Batch) {
        Failpoint::RoundDurable.reach();
        for (_, reply) in batch.accepted {
            let _gone = reply.send(Submitted::Accepted);
            Failpoint::SubmitterTold.reach();
        }
        for (_, reply) in batch.replies {
            let _gone = reply.send(Heard::Done);
        }
        let mut finished = Vec::new();
        for (dispatch, action) in batch.actions {
            match action {
                Action::StartAttempt { task, attempt, deadline } => {
                    self.start_attempt(dispatch, (task, attempt), deadline);
                }
                Action::Ask { task, gate } => self.ask(dispatch, task, gate),
                Action::StopAttempt { task, attempt } => {
                    if self.running.get(&(dispatch, task)).is_some_and(|it| it.0 == attempt)
                        && let Some((_, token)) = self.running.remove(&(dispatch, task))
                    {
                        token.cancel();
                    }
                }
                Action::Finish { status } => finished.push((dispatch, status)),
            }
        }
        if !batch.traces.is_empty() {
            // The tracer lives as long as the dispatcher.
            let _closed = self.traces.send(Job::Tasks(batch.traces)).await;
        }
        self.tell_followers(batch.touched);
        for (dispatch, status) in finished {
            self.finish(dispatch, status).await;
        }
        Failpoint::RoundCarriedOut.reach();
    }

    fn start_attempt(
        &mut self,
        dispatch: DispatchId,
        (task, attempt): (TaskIdx, Attempt),
        deadline: Millis,
    ) {
        let Some(job) = self.job(dispatch, (task, attempt), deadline) else { return };
        let cancelled = job.cancelled.clone();
        let id = self.attempts.spawn(attempt::run(job)).id();
        self.attempt_keys.insert(id, (dispatch, task, attempt));
        let now = self.dependencies.clock.now();
        if let Some(live) = self.lives.get(&dispatch) {
            self.sharing.start_attempt(now, id, live.lanes.id(task));
        }
        self.running.insert((dispatch, task), (attempt, cancelled));
        Failpoint::AttemptLaunched.reach();
    }

    /// What is needed to try a task, or to find out whether it must be tried.
    pub(super) fn job(
        &self,
        dispatch: DispatchId,
        (task, attempt): (TaskIdx, Attempt),
        deadline: Millis,
    ) -> Option<AttemptJob> {
        let live = self.lives.get(&dispatch)?;
        let backend = live.backends.get(&live.document.tasks[task.as_usize()].agent)?;
        Some(AttemptJob {
            dispatch,
            task,
            attempt,
            deadline,
            document: Arc::clone(&live.document),
            results_of: live.meta.results_of(),
            backend: Arc::clone(backend),
            pool: live.pool.clone(),
            journal: Arc::clone(&self.dependencies.journal),
            clock: Arc::clone(&self.dependencies.clock),
            rules: Arc::clone(&self.rules),
            workspaces: self.dependencies.paths.workspaces().clone(),
            checks: Arc::clone(&self.dependencies.checks),
            cancelled: CancellationToken::new(),
            trace: spans::lineage(
                (dispatch, &live.meta),
                spans::Place::Attempt(task, attempt),
                self.dependencies.spans.as_deref(),
            ),
            to_dispatcher: self.to_control.clone(),
        })
    }

    /// Gives up what runs; it will be started again by the next process.
    async fn stop_attempts(&mut self) {
        for (_, token) in self.running.values() {
            token.cancel();
        }
        let wait = async { while self.attempts.join_next().await.is_some() {} };
        if tokio::time::timeout(SHUTDOWN_GRACE, wait).await.is_err() {
            self.attempts.shutdown().await;
        }
        self.errands.shutdown().await;
    }
}
