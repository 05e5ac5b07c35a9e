//! One upstream as its callers see it: a session for all, opened anew when it is gone.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use reqwest::{Client, Url, redirect};
use rmcp::model::{CallToolRequestParams, RequestMetaObject};
use serde_json::{Map, Value, json};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Probe, ToolInfo, UpstreamError, UpstreamSettings, UpstreamTransport,
    breaker::{Breaker, Verdict},
    decode,
    error::SessionFault,
    session::Session,
};
use crate::{
    model::{Attempt, Failure, FailureCode, Millis, Timestamp, UpstreamCall, Usage},
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
    pub traceparent: Option<String>,
    /// Beats with each progress notification of the call.
    pub heartbeat: Heartbeat,
}

/// How a call ended, and what the trace keeps of it.
#[derive(Clone, Debug, PartialEq)]
pub struct CallOutcome {
    /// The agent's output, decoded.
    pub result: Result<Value, UpstreamError>,
    /// What the trace keeps.
    pub record: UpstreamCall,
}

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
            settings,
            clock,
            http: OnceLock::new(),
            slot: Mutex::default(),
            opening: tokio::sync::Mutex::default(),
            breaker: Breaker::default(),
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

    /// The tools on offer: asked for once a session.
    pub async fn tools(&self) -> Result<Arc<[ToolInfo]>, UpstreamError> {
        let limit = self.settings.call_timeout.min(LIST_TIMEOUT);
        let listed = self.in_session(|session| Box::pin(async move { session.tools().await }));
        self.within(limit, Box::pin(listed)).await
    }

    /// Calls a tool once; within `deadline` and the upstream's own limit, whichever is shorter.
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
        let heartbeat = meta.heartbeat.clone();
        let request =
            (CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments), fields(meta));
        let limit = self.settings.call_timeout.min(deadline);
        let answer = self.within(limit, Box::pin(self.call_and_decode(&request, &heartbeat)));
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
            request_bytes,
            response_bytes,
            usage,
        };
        CallOutcome { result, record }
    }

    /// Looks whether anything is there; never opens a session.
    pub async fn probe(&self) -> Probe {
        match (&self.settings.transport, self.http()) {
            (UpstreamTransport::Http { url, .. }, Ok(http)) => {
                Probe::of(http, url, self.settings.connect_timeout).await
            }
            (UpstreamTransport::Http { .. }, Err(_)) | (UpstreamTransport::InMemory { .. }, _) => {
                Probe::PRESENT
            }
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
    ) -> Result<(Result<Value, Failure>, Option<Usage>, u64), UpstreamError> {
        let called = self.in_session(|session| {
            let (params, meta) = (params.clone(), meta.clone());
            Box::pin(async move { session.call_tool(params, meta, heartbeat).await })
        });
        let result = called.await?;
        let response_bytes = result
            .structured_content
            .as_ref()
            .map_or_else(|| json_bytes(&result.content), json_bytes);
        let (result, usage) = decode(result);
        Ok((result, usage, response_bytes))
    }

    /// Does something in the current session, unless the breaker keeps it away.
    async fn in_session<'a, T>(
        &'a self,
        act: impl Fn(Arc<Session>) -> BoxFuture<'a, Result<T, SessionFault>>,
    ) -> Result<T, UpstreamError> {
        let pass = self.breaker.pass(self.clock.now()).map_err(|wait| self.left_alone(wait))?;
        let (done, verdict) = match self.try_in_session(act).await {
            Ok(done) => (Ok(done), Verdict::Healthy),
            Err((error, verdict)) => (Err(error), verdict),
        };
        pass.settle(verdict, self.clock.now());
        done
    }

    /// Does something in the current session; once more in a new one if it certainly did not
    /// arrive.
    async fn try_in_session<'a, T>(
        &'a self,
        act: impl Fn(Arc<Session>) -> BoxFuture<'a, Result<T, SessionFault>>,
    ) -> Result<T, (UpstreamError, Verdict)> {
        let mut may_repeat = true;
        loop {
            let session = self.session().await.map_err(|error| {
                let is_asked_to_wait = error.kind == FailureCode::RateLimited;
                let verdict = if is_asked_to_wait { Verdict::Unknown } else { Verdict::Failed };
                (error, verdict)
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
                return Err((error, verdict));
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
        let opened = match &self.settings.transport {
            UpstreamTransport::Http { url, headers } => {
                let http = self.http().clone()?;
                Session::open_http(&self.settings, url, headers, http, &self.tracker).await
            }
            UpstreamTransport::InMemory { connect } => {
                Session::open_in_memory(&self.settings, connect, &self.tracker).await
            }
        };
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
        self.http.get_or_init(|| {
            build_http(&self.settings).map_err(|error| {
                let message = format!("failed to set up HTTP: {}", error.without_url());
                UpstreamError::new(FailureCode::UpstreamUnavailable, &message)
            })
        })
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

/// Keeps connections open between calls; goes to the address in the settings and nowhere else.
fn build_http(settings: &UpstreamSettings) -> Result<Client, reqwest::Error> {
    let UpstreamTransport::Http { url, .. } = &settings.transport else {
        return Client::builder().build();
    };
    install_tls();
    let mut builder = Client::builder()
        .pool_max_idle_per_host(settings.max_concurrent.max(1))
        .tcp_nodelay(true)
        .redirect(redirect::Policy::none())
        .referer(false)
        .connect_timeout(settings.connect_timeout);
    let url = Url::parse(url).ok();
    if url.as_ref().is_some_and(is_loopback) {
        builder = builder.no_proxy();
    }
    if url.as_ref().is_some_and(|it| it.scheme() == "http") {
        // Reading the system's certificates takes longer than all the rest of the start.
        builder = builder.tls_certs_only([]);
    }
    builder.build()
}

/// Chooses ring for the whole process, unless that was done before.
fn install_tls() {
    if rustls::crypto::CryptoProvider::get_default().is_none()
        && rustls::crypto::ring::default_provider().install_default().is_err()
    {
        tracing::trace!("another thread chose the TLS provider first");
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || ip.is_ok_and(|it| it.is_loopback())
}

/// What stands in `_meta`.
fn fields(meta: CallMeta) -> RequestMetaObject {
    let mut fields = Map::new();
    fields.insert("parallel-dispatch/key".to_owned(), json!(meta.key));
    fields.insert("parallel-dispatch/attempt".to_owned(), json!(meta.attempt));
    if let Some(traceparent) = meta.traceparent {
        fields.insert("traceparent".to_owned(), json!(traceparent));
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
