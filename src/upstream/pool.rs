//! One upstream as its callers see it: a session for all, opened anew when it is gone.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use reqwest::Client;
use rmcp::model::{CallToolRequestParams, RequestMetaObject};
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use super::{
    Probe, Retry, ToolInfo, UpstreamError, UpstreamSettings,
    breaker::{Breaker, Verdict},
    decode,
    error::SessionFault,
    http,
    ledger::Ledger,
    retry::{Failed, Tries},
    session::{Origin, Session},
};
use crate::{
    model::{
        Attempt, Failure, FailureCode, Lineage, Millis, SpanId, Timestamp, TraceContext,
        UpstreamCall, UpstreamState, UpstreamStatus, Usage, text,
    },
    ports::{Clock, Heartbeat},
};

/// A client of one upstream server.
#[derive(Debug)]
pub struct Upstream {
    settings: UpstreamSettings,
    clock: Arc<dyn Clock>,
    http: OnceLock<Result<Client, UpstreamError>>,
    /// Guards which session is current and how the last try to open one ended; held for the
    /// moment of a look or a change.
    slot: Mutex<Slot>,
    /// Whoever holds it opens a session; the others wait and take over how that ended.
    opening: tokio::sync::Mutex<()>,
    breaker: Breaker,
    /// The calls that may be in flight.
    places: Semaphore,
    ledger: Ledger,
    tracker: TaskTracker,
    closed: CancellationToken,
}

/// What a call says of itself in its `_meta`, and who is told of its progress.
#[derive(Clone, Debug)]
pub struct CallMeta {
    /// `<dispatch_id>/<task_id>`: the same on every attempt at a task.
    pub key: String,
    /// Which try.
    pub attempt: Attempt,
    /// The W3C trace context, if there is one.
    pub trace: Option<TraceContext>,
    /// The span that the call is, if it is one.
    pub span_id: Option<SpanId>,
    /// Beats with each progress notification of the call.
    pub heartbeat: Heartbeat,
}

impl CallMeta {
    /// Of a new call in a trace, if there is one, whose progress nobody hears.
    pub fn new(key: String, attempt: Attempt, lineage: Option<&Lineage>) -> Self {
        let (trace, span_id) = match lineage {
            Some(it) => {
                let (trace, span_id) = it.of_call(SpanId::new(&Uuid::new_v4().as_bytes()[8..]));
                (Some(trace), span_id)
            }
            None => (None, None),
        };
        Self { key, attempt, trace, span_id, heartbeat: Heartbeat::default() }
    }
}

/// How a call ended, and what the trace keeps of it.
#[derive(Clone, Debug, PartialEq)]
pub struct CallOutcome {
    /// The agent's output, decoded.
    pub result: Result<Value, UpstreamError>,
    /// What the trace keeps.
    pub record: UpstreamCall,
}

/// Something that is done in a session: what came of it, and who said so.
type Acting<'a, T> = BoxFuture<'a, Result<(T, Origin), SessionFault>>;

#[derive(Debug, Default)]
struct Slot {
    session: Option<Arc<Session>>,
    n_tries: u64,
    failure: Option<UpstreamError>,
}

/// The longest that listing an upstream's tools may take.
const LIST_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest that closing waits for sessions to say goodbye.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

impl Upstream {
    /// Makes a client; nothing is connected yet.
    pub fn new(settings: UpstreamSettings, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            breaker: Breaker::new(settings.breaker),
            places: Semaphore::new(settings.max_concurrent.max(1)),
            ledger: Ledger::default(),
            settings,
            clock,
            http: OnceLock::new(),
            slot: Mutex::default(),
            opening: tokio::sync::Mutex::default(),
            tracker: TaskTracker::new(),
            closed: CancellationToken::new(),
        })
    }

    /// The name in the settings.
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// Where the upstream is, for messages.
    pub fn address(&self) -> String {
        self.settings.transport.describe()
    }

    /// Tells it from every other server, for what is kept of its answers; a hash, which shows no
    /// address and no secret.
    pub fn identity(&self) -> String {
        self.settings.transport.identity()
    }

    /// How it stands, as far as calls have shown; nothing is asked.
    pub fn status(&self) -> UpstreamStatus {
        let is_connected = self.look().is_ok();
        let is_open = self.breaker.is_open_for(self.clock.now()).is_some();
        let down_since = self.ledger.down_since();
        let state = match (is_open, down_since) {
            (true, _) => UpstreamState::BreakerOpen,
            (false, Some(_)) => UpstreamState::Down,
            (false, None) if is_connected => UpstreamState::Connected,
            (false, None) => UpstreamState::Idle,
        };
        let (n_tools, tools) = self.ledger.tools();
        UpstreamStatus {
            name: self.settings.name.clone(),
            transport: self.settings.transport.kind(),
            address: self.address(),
            state,
            down_since: down_since.map(Timestamp),
            n_tools,
            tools,
        }
    }

    /// The tools on offer, of those that may be used: asked for once a session, now and then, and
    /// when the server says that it has others.
    pub async fn tools(&self) -> Result<Arc<[ToolInfo]>, UpstreamError> {
        let limit = self.settings.call_timeout.min(LIST_TIMEOUT);
        self.list_tools(limit, Retry::default()).await
    }

    /// As [`Self::tools`], but asks again as a call does, within `limit`: for those who are about
    /// to make one.
    pub async fn tools_for_call(&self, limit: Duration) -> Result<Arc<[ToolInfo]>, UpstreamError> {
        let limit = self.settings.call_timeout.min(LIST_TIMEOUT).min(limit);
        self.list_tools(limit, self.settings.retry).await
    }

    async fn list_tools(
        &self,
        limit: Duration,
        retry: Retry,
    ) -> Result<Arc<[ToolInfo]>, UpstreamError> {
        let listed = self.in_session(Tries::new(retry, limit), |session| {
            Box::pin(async move { session.tools().await })
        });
        let list = self.within(limit, Box::pin(listed)).await?;
        if self.ledger.note_tools(&list) {
            tracing::warn!(upstream = self.settings.name, "the upstream's tools became others");
        }
        Ok(list.tools)
    }

    /// Calls a tool, and again only while the call certainly did not arrive; within `deadline` and
    /// the upstream's own limit, whichever is shorter.
    ///
    /// When `cancelled` fires or the future is dropped, the upstream is told to stop.
    #[expect(clippy::too_many_arguments, reason = "each is one thing, and there is one caller")]
    pub async fn call(
        &self,
        tool: &str,
        arguments: Map<String, Value>,
        meta: CallMeta,
        deadline: Duration,
        cancelled: &CancellationToken,
    ) -> CallOutcome {
        let started = self.clock.now();
        let request_bytes = json_bytes(&arguments);
        let (heartbeat, span_id) = (meta.heartbeat.clone(), meta.span_id);
        let request =
            (CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments), fields(meta));
        let limit = self.settings.call_timeout.min(deadline);
        let tries = Tries::new(self.settings.retry, limit);
        let calling = self.call_and_decode(&request, &heartbeat, tries);
        let answer = self.within(limit, Box::pin(calling));
        let answer = cancelled.run_until_cancelled(answer).await;
        let gone = || Err(UpstreamError::new(FailureCode::Cancelled, "the call was cancelled"));
        let (result, usage, response_bytes) = match answer.unwrap_or_else(gone) {
            Ok((result, usage, bytes)) => (result.map_err(from_failure), usage, bytes),
            Err(error) => (Err(error), None, 0),
        };
        let record = UpstreamCall {
            upstream: self.settings.name.clone(),
            tool: tool.to_owned(),
            at: Timestamp(started),
            duration_ms: self.clock.now().since(started).0,
            ok: result.is_ok(),
            error: result.as_ref().err().map(ToString::to_string),
            code: result.as_ref().err().map(|it| it.kind),
            span_id,
            request_bytes,
            response_bytes,
            usage,
        };
        CallOutcome { result, record }
    }

    /// Looks whether anything is there; never opens a session.
    pub async fn probe(&self) -> Probe {
        match self.settings.transport.url().map(|it| (it, self.http())) {
            Some((url, Ok(http))) => Probe::of(http, url, self.settings.connect_timeout).await,
            Some((_, Err(_))) | None => Probe::PRESENT,
        }
    }

    /// Closes the session, and fails what is still in flight; nothing can be called afterwards.
    pub async fn close(&self) {
        self.closed.cancel();
        let session = self.slot.lock().session.take();
        drop(session);
        self.tracker.close();
        if tokio::time::timeout(CLOSE_TIMEOUT, self.tracker.wait()).await.is_err() {
            tracing::debug!(upstream = self.settings.name, "upstream did not say goodbye in time");
        }
    }

    async fn call_and_decode(
        &self,
        (params, meta): &(CallToolRequestParams, RequestMetaObject),
        heartbeat: &Heartbeat,
        tries: Tries,
    ) -> Result<(Result<Value, Failure>, Option<Usage>, u64), UpstreamError> {
        if !self.settings.tools_allow.allows(&params.name) {
            let tool = text::cut(&params.name, 100);
            let message = format!("its settings (tools_allow) do not allow the tool {tool:?}");
            let error = UpstreamError::new(FailureCode::UpstreamProtocol, &message);
            return Err(self.name_upstream(&error));
        }
        let called = self.in_session(tries, |session| {
            let (params, meta) = (params.clone(), meta.clone());
            Box::pin(async move {
                // Never closed, so this waits for a place and does not fail.
                let _place = self.places.acquire().await;
                let answer = session.call_tool(params, meta, heartbeat).await?;
                Ok((answer, Origin::Server))
            })
        });
        let result = called.await?;
        let response_bytes = result
            .structured_content
            .as_ref()
            .map_or_else(|| json_bytes(&result.content), json_bytes);
        let (result, usage) = decode(result);
        Ok((result, usage, response_bytes))
    }

    /// Does something in the current session, unless the breaker keeps it away; once more after a
    /// pause as often as `tries` allows.
    async fn in_session<'a, T>(
        &'a self,
        mut tries: Tries,
        act: impl Fn(Arc<Session>) -> Acting<'a, T> + Sync,
    ) -> Result<T, UpstreamError> {
        let mut earlier = None;
        loop {
            let failed = match self.try_with_pass(&act).await {
                Ok(done) => return Ok(done),
                Err(failed) => failed,
            };
            // What was met says more than that nobody looks again for now.
            let was_kept_away = failed.error.kind == FailureCode::CircuitOpen;
            if was_kept_away && let Some(earlier) = earlier {
                return Err(earlier);
            }
            let Some(pause) = tries.next(&failed) else { return Err(failed.error) };
            tracing::debug!(upstream = self.settings.name, ?pause, "calling again");
            tokio::time::sleep(pause).await;
            earlier = Some(failed.error);
        }
    }

    async fn try_with_pass<'a, T>(
        &'a self,
        act: &(impl Fn(Arc<Session>) -> Acting<'a, T> + Sync),
    ) -> Result<T, Failed> {
        let pass = self.breaker.pass(self.clock.now());
        let pass = pass.map_err(|wait| Failed {
            error: self.left_alone(wait),
            verdict: Verdict::Unknown,
            is_unsent: false,
        })?;
        let done = self.try_in_session(act).await;
        let verdict = match &done {
            Ok((_, Origin::Server)) => Verdict::Healthy,
            // Nothing was tried, so a probe that only found this leaves the next one to probe.
            Ok((_, Origin::Memory)) => Verdict::Unknown,
            Err(failed) => failed.verdict,
        };
        let now = self.clock.now();
        self.ledger.note_verdict(verdict, now);
        pass.settle(verdict, now);
        done.map(|it| it.0)
    }

    /// Does something in the current session; at once in a new one if that was forgotten.
    async fn try_in_session<'a, T>(
        &'a self,
        act: &(impl Fn(Arc<Session>) -> Acting<'a, T> + Sync),
    ) -> Result<(T, Origin), Failed> {
        let mut may_repeat = true;
        loop {
            let session = self.session().await.map_err(|error| {
                let is_asked_to_wait = error.kind == FailureCode::RateLimited;
                let verdict = if is_asked_to_wait { Verdict::Unknown } else { Verdict::Failed };
                // Without a session nothing was sent; but what hangs or talks nonsense will again.
                let is_unsent = error.kind == FailureCode::UpstreamUnavailable;
                Failed { error, verdict, is_unsent }
            })?;
            let fault = match act(Arc::clone(&session)).await {
                Ok(it) => return Ok(it),
                Err(fault) => fault,
            };
            if fault.is_session_gone {
                session.retire();
            }
            if !(fault.is_unsent && may_repeat) {
                let error = self.name_upstream(&fault.error);
                let verdict = Verdict::of(error.kind);
                return Err(Failed { error, verdict, is_unsent: fault.is_unsent });
            }
            may_repeat = false;
        }
    }

    fn left_alone(&self, wait: Millis) -> UpstreamError {
        let message =
            format!("it failed again and again, and is left alone for {} ms more", wait.0);
        let error = UpstreamError::new(FailureCode::CircuitOpen, &message);
        self.name_upstream(&UpstreamError { retry_after_ms: Some(wait.0), ..error })
    }

    /// The current session; opens one if there is none. Many may ask: one opens, and the others
    /// share what comes of it, be it a session or a failure.
    async fn session(&self) -> Result<Arc<Session>, UpstreamError> {
        let n_tries = match self.look() {
            Ok(session) => return Ok(session),
            Err((n_tries, _)) => n_tries,
        };
        let _turn = self.opening.lock().await;
        match self.look() {
            Ok(session) => return Ok(session),
            Err((n_now, Some(failure))) if n_now != n_tries => return Err(failure),
            Err(_) => {}
        }
        let opened = self.within(self.settings.connect_timeout, Box::pin(self.open())).await;
        let mut slot = self.slot.lock();
        slot.n_tries += 1;
        slot.session = opened.as_ref().ok().cloned();
        slot.failure = opened.as_ref().err().cloned();
        opened
    }

    fn look(&self) -> Result<Arc<Session>, (u64, Option<UpstreamError>)> {
        let slot = self.slot.lock();
        match slot.session.as_ref().filter(|it| it.is_usable()) {
            Some(session) => Ok(Arc::clone(session)),
            None => Err((slot.n_tries, slot.failure.clone())),
        }
    }

    async fn open(&self) -> Result<Arc<Session>, UpstreamError> {
        let http = || self.http().clone();
        let opened = Session::open(&self.settings, http, &self.tracker).await;
        match opened {
            Ok(session) => {
                tracing::debug!(upstream = self.settings.name, "session opened");
                Ok(Arc::new(session))
            }
            Err(fault) => Err(self.name_upstream(&fault.error)),
        }
    }

    /// Bounds the time of `work`, which is boxed because futures inside futures grow large.
    async fn within<T>(
        &self,
        limit: Duration,
        work: BoxFuture<'_, Result<T, UpstreamError>>,
    ) -> Result<T, UpstreamError> {
        let late = || {
            let message = format!("it gave no answer within {} ms", limit.as_millis());
            Err(self.name_upstream(&UpstreamError::new(FailureCode::Timeout, &message)))
        };
        let closed = || {
            let message = "this program stops using it";
            Err(self.name_upstream(&UpstreamError::new(FailureCode::UpstreamUnavailable, message)))
        };
        let timed = tokio::time::timeout(limit, work);
        match self.closed.run_until_cancelled(timed).await {
            Some(Ok(done)) => done,
            Some(Err(_)) => late(),
            None => closed(),
        }
    }

    fn http(&self) -> &Result<Client, UpstreamError> {
        self.http.get_or_init(|| http::build(&self.settings))
    }

    /// Says which upstream an error is about.
    fn name_upstream(&self, error: &UpstreamError) -> UpstreamError {
        let prefix = format!("upstream \"{}\" ({})", self.settings.name, self.address());
        let is_agents = matches!(error.kind, FailureCode::AgentError | FailureCode::Cancelled);
        if is_agents || error.message.starts_with(&prefix) {
            return error.clone();
        }
        let named = UpstreamError::new(error.kind, &format!("{prefix}: {}", error.message));
        UpstreamError { retry_after_ms: error.retry_after_ms, ..named }
    }
}

/// What stands in `_meta`.
fn fields(meta: CallMeta) -> RequestMetaObject {
    let mut fields = Map::new();
    fields.insert("parallel-dispatch/key".to_owned(), json!(meta.key));
    fields.insert("parallel-dispatch/attempt".to_owned(), json!(meta.attempt));
    if let Some(trace) = meta.trace {
        fields.insert(TraceContext::TRACEPARENT.to_owned(), json!(trace.traceparent()));
        if let Some(state) = trace.state {
            fields.insert(TraceContext::TRACESTATE.to_owned(), json!(state));
        }
    }
    RequestMetaObject::from(fields)
}

fn from_failure(failure: Failure) -> UpstreamError {
    let Failure { code: kind, message, retry_after_ms } = failure;
    UpstreamError { kind, message: message.into(), retry_after_ms }
}

/// How many bytes `value` takes as JSON.
fn json_bytes<T: serde::Serialize + ?Sized>(value: &T) -> u64 {
    struct Count(u64);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len() as u64;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    serde_json::to_writer(&mut count, value).map_or(0, |()| count.0)
}
