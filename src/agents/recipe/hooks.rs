//! Hooks: calls that mirror tasks on a board while others do the work.
//!
//! They run behind the tasks, in order, and can neither fail nor delay one: what does not fit into
//! the queue is left out, and what fails is a line in the log.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use indexmap::IndexMap;
use minijinja::Value as Dynamic;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::field::{DisplayValue, display};

use super::{
    super::call,
    act::arguments,
    read::{Reading, RecipeFault, Sight},
    template::{Expr, Template, to_dynamic},
};
use crate::{
    model::{Attempt, DispatchId, Failure, Lineage, TraceId, UpstreamCall},
    ports::{AgentBackend, AttemptCall, Span, Spans, UpstreamWish},
    upstream::{CallMeta, Upstream},
};

/// How many moments may wait to be told; more are left out.
const WAITING_MAX: usize = 1_024;
/// How many tasks have something saved; the oldest are forgotten first.
const SAVED_MAX: usize = 10_000;
/// How long one call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// What the settings say of hooks, by moment.
#[derive(Debug, Default)]
pub(in crate::agents) struct Hooks(BTreeMap<Moment, Hook>);

/// When a hook is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
enum Moment {
    /// Before a task's first attempt.
    #[serde(rename = "task_queued")]
    Queued,
    /// Before each attempt.
    #[serde(rename = "task_started")]
    Started,
    /// After the attempt that succeeded.
    #[serde(rename = "task_success")]
    Success,
    /// After each attempt that failed.
    #[serde(rename = "task_failure")]
    Failure,
}

#[derive(Debug)]
struct Hook {
    upstream: Option<String>,
    tool: String,
    when: Option<Expr>,
    args: Vec<(String, Template)>,
    save: Vec<(String, Template)>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HookSpec {
    upstream: Option<String>,
    call: String,
    when: Option<String>,
    #[serde(default)]
    args: Map<String, Value>,
    #[serde(default)]
    save: Map<String, Value>,
}

/// The names that hooks see; `r` only where something is saved.
const NAMES: [&str; 3] = ["task", "saved", "error"];

impl Hooks {
    /// Reads the hooks of the settings.
    pub(super) fn read(value: &Value) -> Result<Self, Vec<RecipeFault>> {
        let mut reading = Reading::at("recipes.hooks");
        let specs: Option<BTreeMap<Moment, Value>> = reading.parse(value);
        let mut hooks = BTreeMap::new();
        for (moment, value) in specs.into_iter().flatten() {
            let hook = reading.inside(moment.as_str(), |it| Hook::read(it, &value));
            hooks.extend(hook.map(|it| (moment, it)));
        }
        reading.end(Self(hooks))
    }

    /// The upstreams that they name.
    pub(super) fn upstreams(&self) -> impl Iterator<Item = &str> {
        self.0.values().filter_map(|it| it.upstream.as_deref())
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Hook {
    fn read(reading: &mut Reading, value: &Value) -> Option<Self> {
        let spec: HookSpec = reading.parse(value)?;
        let sight = Sight::bare(&NAMES);
        let after = [NAMES.as_slice(), &["r"]].concat();
        Some(Self {
            when: reading.expr("when", spec.when.as_deref(), sight),
            args: reading.inside("args", |it| it.args(&spec.args, sight)),
            save: reading.inside("save", |it| it.args(&spec.save, Sight::bare(&after))),
            upstream: spec.upstream,
            tool: spec.call,
        })
    }
}

impl Moment {
    fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "task_queued",
            Self::Started => "task_started",
            Self::Success => "task_success",
            Self::Failure => "task_failure",
        }
    }
}

/// Finds an upstream by name; nothing means the one that is always there.
pub(in crate::agents) trait FindUpstream: std::fmt::Debug + Send + Sync {
    fn find<'a>(&'a self, name: Option<&'a str>) -> BoxFuture<'a, Option<Arc<Upstream>>>;
}

/// Where moments are told; clones tell the same teller.
#[derive(Clone, Debug)]
pub(in crate::agents) struct Board(mpsc::Sender<Told>);

/// A moment of a task.
#[derive(Debug)]
struct Told {
    moment: Moment,
    /// `<dispatch_id>/<task_id>`.
    key: Arc<str>,
    dispatch: DispatchId,
    attempt: Attempt,
    task: Arc<Value>,
    /// The trace of the attempt.
    trace: Option<Lineage>,
    error: Option<Box<str>>,
}

impl Told {
    /// The trace that it is about, as it stands in logs.
    fn trace_id(&self) -> Option<DisplayValue<TraceId>> {
        self.trace.as_ref().map(|it| display(it.context.trace))
    }
}

impl Board {
    /// Makes a board, and the work of telling it, which ends when every board is gone or `stop`
    /// fires. Nothing where there are no hooks. The spans of its calls are told to `spans`.
    pub(in crate::agents) fn new(
        hooks: &Arc<Hooks>,
        upstreams: Arc<dyn FindUpstream>,
        spans: Option<Arc<dyn Spans>>,
        stop: CancellationToken,
    ) -> Option<(Self, BoxFuture<'static, ()>)> {
        if hooks.is_empty() {
            return None;
        }
        let (told, heard) = mpsc::channel(WAITING_MAX);
        let teller = Teller { hooks: Arc::clone(hooks), upstreams, spans, saved: IndexMap::new() };
        let telling = async move {
            let _stopped = stop.run_until_cancelled(teller.tell_all(heard)).await;
        };
        Some((Self(told), Box::pin(telling)))
    }

    /// The same agent, with its attempts told.
    pub(in crate::agents) fn watch(&self, inner: Arc<dyn AgentBackend>) -> Arc<dyn AgentBackend> {
        Arc::new(Watched { inner, board: self.clone() })
    }

    fn tell(&self, told: Told) {
        if let Err(error) = self.0.try_send(told) {
            tracing::debug!(%error, "a hook is left out");
        }
    }
}

/// An agent whose attempts are told.
#[derive(Debug)]
struct Watched {
    inner: Arc<dyn AgentBackend>,
    board: Board,
}

impl AgentBackend for Watched {
    fn run(&self, call: AttemptCall) -> BoxFuture<'_, Result<Value, Failure>> {
        let (key, attempt) = (Arc::<str>::from(call::key(&call)), call.attempt);
        let (task, dispatch) = (Arc::new(task_of(&call)), call.dispatch_id);
        let trace = call.trace.clone();
        let tell = move |moment, error| {
            let (key, task, trace) = (Arc::clone(&key), Arc::clone(&task), trace.clone());
            self.board.tell(Told { moment, key, dispatch, attempt, task, trace, error });
        };
        Box::pin(async move {
            if attempt == Attempt(1) {
                tell(Moment::Queued, None);
            }
            tell(Moment::Started, None);
            let result = self.inner.run(call).await;
            match &result {
                Ok(_) => tell(Moment::Success, None),
                Err(failure) => tell(Moment::Failure, Some(failure.message.clone())),
            }
            result
        })
    }

    fn lane(&self) -> &str {
        self.inner.lane()
    }

    fn upstream_wish(&self) -> UpstreamWish {
        self.inner.upstream_wish()
    }

    fn binding(&self) -> String {
        self.inner.binding()
    }
}

/// What templates see as `task`.
pub(super) fn task_of(call: &AttemptCall) -> Value {
    json!({
        "dispatch_id": call.dispatch_id.to_string(),
        "task_id": call.task_id.as_str(),
        "agent": call.agent.as_str(),
        "attempt": call.attempt.0,
        "description": &*call.description,
    })
}

/// Tells the boards, one moment after the other.
struct Teller {
    hooks: Arc<Hooks>,
    upstreams: Arc<dyn FindUpstream>,
    spans: Option<Arc<dyn Spans>>,
    /// What hooks saved, by the task's key.
    saved: IndexMap<Arc<str>, Map<String, Value>>,
}

impl Teller {
    async fn tell_all(mut self, mut heard: mpsc::Receiver<Told>) {
        while let Some(told) = heard.recv().await {
            let hooks = Arc::clone(&self.hooks);
            if let Some(hook) = hooks.0.get(&told.moment)
                && let Err(error) = self.tell(hook, &told).await
            {
                let (moment, trace_id) = (told.moment.as_str(), told.trace_id());
                tracing::warn!(key = &*told.key, moment, trace_id, error, "hook failed");
            }
            if told.moment == Moment::Success {
                self.saved.shift_remove(&told.key);
            }
        }
    }

    async fn tell(&mut self, hook: &Hook, told: &Told) -> Result<(), String> {
        let saved = Value::from(self.saved.get(&told.key).cloned().unwrap_or_default());
        let error = told.error.as_deref().map_or(Value::Null, Value::from);
        let names = [
            ("task", to_dynamic(&told.task)),
            ("saved", to_dynamic(&saved)),
            ("error", to_dynamic(&error)),
        ];
        let scope = Dynamic::from_pairs(names.clone());
        if let Some(when) = &hook.when
            && !when.is_true(&scope).map_err(|error| format!("when: {error}"))?
        {
            return Ok(());
        }
        let args = arguments(&hook.args, &scope).map_err(|it| it.failure.message)?;
        let upstream = self.upstreams.find(hook.upstream.as_deref()).await;
        let upstream = upstream.ok_or("its upstream is not among the settings")?;
        let meta = CallMeta::new((*told.key).to_owned(), told.attempt, told.trace.as_ref());
        let never = CancellationToken::new();
        let outcome = upstream.call(&hook.tool, args, meta, CALL_TIMEOUT, &never).await;
        self.tell_span(told, &outcome.record);
        let answer = outcome.result.map_err(|error| error.message)?;
        let (moment, tool) = (told.moment.as_str(), hook.tool.as_str());
        let ms = outcome.record.duration_ms;
        let trace_id = told.trace_id();
        tracing::info!(key = &*told.key, moment, tool, trace_id, ms, "hook called");
        let r = [("r", to_dynamic(&answer))];
        let scope = Dynamic::from_pairs(names.into_iter().chain(r));
        let save = arguments(&hook.save, &scope).map_err(|it| it.failure.message)?;
        self.keep(&told.key, save);
        Ok(())
    }

    /// Tells the span of a call: a part of the attempt, behind which it may run.
    fn tell_span(&self, told: &Told, call: &UpstreamCall) {
        if let (Some(spans), Some(lineage)) = (&self.spans, &told.trace)
            && lineage.context.is_sampled
        {
            spans
                .record(Span::of_call(told.dispatch, &lineage.context, call).into_iter().collect());
        }
    }

    fn keep(&mut self, key: &Arc<str>, save: Map<String, Value>) {
        if save.is_empty() {
            return;
        }
        self.saved.entry(Arc::clone(key)).or_default().extend(save);
        if self.saved.len() > SAVED_MAX {
            self.saved.shift_remove_index(0);
        }
    }
}
