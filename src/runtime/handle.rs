//! The program's whole service, as faces see it.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    defaults,
    dispatcher::Dispatcher,
    document::{Meta, StoredDocument},
    forecast::Forecast,
    lookout,
    lookup::unknown_plan,
    message::{Inboxes, Message, Submitted},
    options::{Dependencies, Options},
    orphans::{self, Adopter},
    query::{self, ResultQuery},
    report,
    retention::{self, PruneMode, Pruned, Retention},
    rules::OwnedRules,
    sharing::Caps,
    submission::{Extras, Submission, bind_all, digest},
    tracer::{self, Sinks},
    views::Viewer,
};
use crate::{
    model::{
        AgentName, ControlRequest, DispatchId, DispatchResult, ErrorCode, GetResultRequest,
        ParentTask, PlanId, PlanReport, ReadTraceRequest, Refusal, TraceContext, TracePage, View,
        json::Json,
    },
    plan::{self, Checked, DispatchCall, RetryCall, Rules, Source},
    ports::{WorkBoard, Write},
};

/// How many submissions may queue before callers are told to come back.
const SUBMISSIONS_MAX: usize = 256;
/// How many trace files may queue before the dispatcher waits for the disk.
const TRACES_MAX: usize = 4_096;
/// How many events a trace page holds unless asked otherwise.
const TRACE_LIMIT: u32 = 100;

/// Everything that faces may ask for. Cheap to clone.
#[derive(Clone, Debug)]
pub struct DispatcherHandle {
    pub(super) dependencies: Dependencies,
    pub(super) options: Arc<Options>,
    rules: Arc<OwnedRules>,
    pub(super) control: mpsc::UnboundedSender<Message>,
    submissions: mpsc::Sender<Message>,
    pub(super) workers: Option<Arc<dyn WorkBoard>>,
    /// Whose view of the service it is; nobody's is the whole.
    pub(super) viewer: Option<Box<Viewer>>,
    pub(super) lookout: mpsc::UnboundedSender<lookout::Order>,
    pub(super) trace: Option<TraceContext>,
}

/// Who asks for a dispatch.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    /// The idempotency key of callers that give none themselves.
    pub key: Option<String>,
    /// The task whose agent asks.
    pub parent: Option<ParentTask>,
}

/// A durable dispatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The dispatch.
    pub dispatch: DispatchId,
    /// How long the caller wants to wait, in milliseconds.
    pub wait_ms: u64,
}

impl DispatcherHandle {
    /// Starts the dispatcher; it runs until `shutdown`, and the returned task ends when all its
    /// work is put away.
    pub fn start(
        dependencies: Dependencies,
        options: Options,
        shutdown: CancellationToken,
    ) -> (Self, JoinHandle<()>) {
        let (control, from_control) = mpsc::unbounded_channel();
        let (submissions, from_submissions) = mpsc::channel(SUBMISSIONS_MAX);
        let (traces, from_traces) = mpsc::channel(TRACES_MAX);
        let rules = Arc::new(OwnedRules::new(&options, Arc::clone(&dependencies.paths)));
        let caps = Caps {
            dispatches_open_max: options.dispatches_open_max,
            workers_total_max: options.workers_total_max,
        };
        let dispatcher = Dispatcher::new(
            dependencies.clone(),
            Inboxes {
                control: from_control,
                to_control: control.downgrade(),
                submissions: from_submissions,
            },
            traces,
            (Arc::clone(&rules), caps),
            shutdown.clone(),
        );
        let sinks = Sinks {
            files: Arc::clone(&dependencies.traces),
            spans: dependencies.spans.clone(),
            journal: Arc::clone(&dependencies.journal),
        };
        let watch = orphans::run(
            Adopter { dependencies: dependencies.clone(), control: control.downgrade() },
            options.recover,
            shutdown.clone(),
        );
        let (lookout, orders) = mpsc::unbounded_channel();
        let looking = lookout::run(Arc::clone(&dependencies.journal), orders, shutdown.clone());
        let upkeep = retention::run(dependencies.clone(), options.retention, shutdown);
        let task = tokio::spawn(async move {
            let writing = tracer::run(from_traces, sinks);
            tokio::join!(dispatcher.run(), writing, watch, looking, upkeep);
        });
        let options = Arc::new(options);
        let handle = Self {
            dependencies,
            options,
            rules,
            control,
            submissions,
            workers: None,
            viewer: None,
            lookout,
            trace: None,
        };
        (handle, task)
    }

    /// Checks a document or a request, stores the plan, and says what it means; cut to one answer.
    pub async fn plan(&self, args: &Json<'_>) -> Result<PlanReport, Refusal> {
        self.plan_whole(args).await.map(report::cut_plan)
    }

    /// The same, however long it is.
    pub async fn plan_whole(&self, args: &Json<'_>) -> Result<PlanReport, Refusal> {
        let checked = plan::check_plan(args, &self.rules())?;
        let id = PlanId::new(Uuid::now_v7());
        let document = serde_json::json!({ "tasks": checked.tasks, "config": checked.config });
        let at = self.dependencies.clock.now();
        let (document, caller) = (document.to_string(), self.caller_name());
        let write = Write::Plan { plan: id, at, document, caller };
        self.dependencies.journal.commit(vec![write].into()).await?;
        Ok(self.plan_report(id, checked).await)
    }

    /// What a plan means by what is known now.
    pub(super) async fn plan_report(&self, id: PlanId, checked: Checked) -> PlanReport {
        let workers = checked.config.max_workers.unwrap_or(self.options.max_workers);
        let mut tasks = checked.tasks.clone();
        for it in &mut tasks {
            defaults::task(it, &self.options);
        }
        let forecast = Forecast::make(&self.dependencies.journal, &tasks).await;
        plan::report(id, checked, &forecast.expected, workers)
    }

    /// Checks what `dispatch` takes and makes it durable.
    pub async fn dispatch(&self, args: &Json<'_>, caller: Caller) -> Result<Ticket, Refusal> {
        let DispatchCall { source, wait_ms, idempotency_key } =
            plan::check_dispatch(args, &self.rules())?;
        let checked = match source {
            Source::Document(checked) => *checked,
            Source::Plan(plan) => self.planned(plan).await?,
            Source::Addition(dispatch, tasks) => {
                self.add_tasks(dispatch, &tasks).await?;
                return Ok(Ticket { dispatch, wait_ms });
            }
        };
        let key = idempotency_key.or(caller.key).map(|it| self.own_key(it));
        let extras = Extras { key, parent: caller.parent, ..Extras::default() };
        let dispatch = Box::pin(self.submit(checked, extras)).await?;
        Ok(Ticket { dispatch, wait_ms })
    }

    /// Checks a whole document, as `run` takes it, and makes it durable.
    pub async fn dispatch_document(&self, document: &Json<'_>) -> Result<DispatchId, Refusal> {
        let checked = plan::check_document(document, &self.rules())?;
        Box::pin(self.submit(checked, Extras::default())).await
    }

    /// A dispatch's result; the first page of it where it is long.
    pub async fn result(&self, dispatch: DispatchId) -> Result<DispatchResult, Refusal> {
        self.answer(ResultQuery::page(dispatch)).await
    }

    /// A dispatch's result, however long it is.
    pub async fn whole_result(
        &self,
        dispatch: DispatchId,
        view: View,
    ) -> Result<DispatchResult, Refusal> {
        self.answer(ResultQuery { view, chars_max: usize::MAX, ..ResultQuery::page(dispatch) })
            .await
    }

    /// Answers `get_result`, after waiting if that was asked for.
    pub async fn get_result(&self, request: GetResultRequest) -> Result<DispatchResult, Refusal> {
        let GetResultRequest { dispatch_id, task_ids, wait_ms, view, cursor } = request;
        let start = cursor.map_or(Ok(0), |it| it.parse()).map_err(|_| unknown_cursor())?;
        let wait = Duration::from_millis(wait_ms.unwrap_or(0));
        if !wait.is_zero() {
            let tasks = self.places(dispatch_id, task_ids.as_deref()).await?;
            self.wait_for(dispatch_id, tasks, wait).await?;
        }
        let view = view.unwrap_or_default();
        let first = ResultQuery::page(dispatch_id);
        self.answer(ResultQuery { tasks: task_ids, view, start, ..first }).await
    }

    /// Answers `read_trace`.
    pub async fn read_trace(&self, request: ReadTraceRequest) -> Result<TracePage, Refusal> {
        let ReadTraceRequest { dispatch_id, task_id, kinds, cursor, limit } = request;
        let limit = limit.unwrap_or(TRACE_LIMIT) as usize;
        let journal = &self.dependencies.journal;
        let Some(dispatch) = dispatch_id else {
            let before = cursor.map(|it| it.parse()).transpose().map_err(|_| unknown_cursor())?;
            return query::recent(journal, before, limit).await;
        };
        let after = cursor.map_or(Ok(0), |it| it.parse()).map_err(|_| unknown_cursor())?;
        query::trace_page(journal, dispatch, task_id, kinds.unwrap_or_default(), (after, limit))
            .await
    }

    /// Runs again what did not succeed, as a new dispatch that keeps the results of the rest.
    pub async fn retry(
        &self,
        call: RetryCall,
        parent: Option<ParentTask>,
    ) -> Result<Ticket, Refusal> {
        let RetryCall { request, wait_ms } = call;
        let (checked, extras) = self.retried(request).await?;
        let extras = Extras { parent, ..extras };
        let dispatch = Box::pin(self.submit(checked, extras)).await?;
        Ok(Ticket { dispatch, wait_ms })
    }

    /// Checks the arguments of `control_dispatch`.
    pub fn check_control(&self, args: &Json<'_>) -> Result<ControlRequest, Refusal> {
        plan::check_control(args, &self.rules())
    }

    /// Removes what is older than `retention` says, or says what would go.
    pub async fn prune(&self, retention: Retention, mode: PruneMode) -> Result<Pruned, Refusal> {
        self.check_sees_all("removing old dispatches")?;
        let pruned = retention::prune(&self.dependencies, retention, mode, usize::MAX).await;
        pruned.map_err(|it| query::refuse(&it))
    }

    /// The agents that documents may name.
    pub fn agents(&self) -> impl Iterator<Item = &AgentName> {
        self.options.agents.keys()
    }

    /// How many workers a document may ask for at most.
    pub fn workers_max(&self) -> u32 {
        self.options.limits.workers_max()
    }

    pub(super) fn rules(&self) -> Rules<'_> {
        self.rules.as_rules()
    }

    pub(super) async fn answer(&self, query: ResultQuery) -> Result<DispatchResult, Refusal> {
        let now = self.dependencies.clock.now();
        query::result(&self.dependencies.journal, query, now).await
    }

    pub(super) async fn planned(&self, plan: PlanId) -> Result<Checked, Refusal> {
        let stored = self.dependencies.journal.plan(plan).await?;
        let stored = stored.ok_or_else(|| unknown_plan(plan))?;
        let json = crate::model::json::read(stored.document.as_bytes())?;
        plan::check_document(&json, &self.rules())
    }

    /// Fills in the defaults, finds the agents and makes the dispatch durable.
    async fn submit(&self, checked: Checked, extras: Extras) -> Result<DispatchId, Refusal> {
        let Extras { key, parent, retried, kept, warnings: own_warnings, spent } = extras;
        let Checked { mut tasks, config, graph, mut warnings } = checked;
        warnings.extend(own_warnings);
        let digest = digest(&tasks, &config);
        if let Some(key) = &key
            && let Some(known) = self.by_key(key, digest).await?
        {
            return Ok(known);
        }
        let parent = parent.or_else(|| self.default_parent());
        let above = self.find_parent(parent, &mut warnings).await?;
        let mut settings = defaults::config(&config, &self.options, &mut warnings);
        if let Some(budget) = &mut settings.budget {
            budget.before = spent;
        }
        let has_requirements = tasks.iter().any(|it| !it.context_requirements.is_empty());
        if has_requirements && !settings.enable_context {
            warnings.push("context_requirements are not gathered: set enable_context".into());
        }
        for task in &mut tasks {
            defaults::task(task, &self.options);
        }
        let wants_context = has_requirements && settings.enable_context;
        let forecast = Forecast::make(&self.dependencies.journal, &tasks).await;
        let mut document = StoredDocument::new(tasks, settings);
        let mut graph = graph;
        if forecast.is_learned() {
            graph = graph.with_estimates(forecast.estimates());
            document = document.with_estimates(forecast.estimates());
        }
        let names = document.agents().into_iter().cloned();
        let (backends, bind_warnings) = bind_all(&self.dependencies.agents, names).await?;
        warnings.extend(bind_warnings);
        let trace_dir = match config.trace_dir.as_deref() {
            Some(dir) => self.dependencies.paths.trace_dir(dir),
            None => self.options.trace_dir.clone(),
        };
        let dispatch = DispatchId::new(Uuid::now_v7());
        let mut meta = Meta::new(trace_dir, warnings, None, wants_context);
        meta.retry_of = retried.as_ref().map(|it| it.dispatch);
        meta.caller = self.new_caller(retried.as_ref(), above.as_ref());
        meta.trace = self.trace_of(above.as_ref().map(|it| &it.parent)).await?;
        meta.parent = above.map(|it| it.parent);
        meta.budget = document.config.budget;
        meta.estimated = forecast.makespan(&graph, &kept, &document);
        let submission = Submission {
            dispatch,
            document: Arc::new(document),
            meta: Arc::new(meta),
            keys: forecast.keys,
            graph: Arc::new(graph),
            backends,
            idempotency: key.clone().map(|it| (it, digest)),
            kept,
        };
        match self.send(submission).await? {
            Submitted::Accepted => Ok(dispatch),
            Submitted::Refused(refusal) => Err(refusal),
            Submitted::Elsewhere { above, submission } => {
                self.submit_elsewhere(above, submission.to_nest()).await
            }
            Submitted::KeyTaken => {
                let known = self.by_key(&key.unwrap_or_default(), digest).await?;
                known.ok_or_else(gone)
            }
        }
    }

    async fn send(&self, submission: Submission) -> Result<Submitted, Refusal> {
        let (reply, answer) = oneshot::channel();
        let message = Message::Submit { submission: Box::new(submission), reply };
        self.submissions.try_send(message).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                let message = "too many dispatches are being submitted at once";
                Refusal::of(ErrorCode::Busy, "", message, "come back later").retry_after(500)
            }
            mpsc::error::TrySendError::Closed(_) => gone(),
        })?;
        answer.await.map_err(|_| gone())
    }

    /// The dispatch that a key stands for; a refusal if it stands for another document.
    async fn by_key(&self, key: &str, digest: [u8; 32]) -> Result<Option<DispatchId>, Refusal> {
        let known = self.dependencies.journal.by_idempotency_key(key.to_owned()).await;
        match known? {
            None => Ok(None),
            Some(known) if known.digest == digest => Ok(Some(known.dispatch)),
            Some(known) => {
                let message = format!(
                    "the idempotency key stands for another document, dispatched as {}",
                    known.dispatch
                );
                let hint = "use another key, or send the same document";
                let code = ErrorCode::IdempotencyConflict;
                Err(Refusal::of(code, "/idempotency_key", &message, hint))
            }
        }
    }
}

fn unknown_cursor() -> Refusal {
    let hint = "pass the next_cursor of the answer before, as it is";
    Refusal::of(ErrorCode::OutOfRange, "/cursor", "the cursor is none of ours", hint)
}

fn gone() -> Refusal {
    let hint = "the server is shutting down; ask again when it is back";
    Refusal::of(ErrorCode::Internal, "", "the dispatcher is gone", hint)
}
