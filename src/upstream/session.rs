//! One session with an upstream: opened, used by many calls at once, closed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use reqwest::{
    Client,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use rmcp::{
    RoleClient, Service, ServiceError,
    model::{
        CallToolRequest, CallToolRequestParams, CallToolResult, ClientCapabilities, ClientConfig,
        ClientRequest, ClientResult, ErrorCode, ErrorData, Implementation, ListToolsRequest,
        PaginatedRequestParams, ProgressToken, ProtocolVersion, RequestMetaObject,
        ServerNotification, ServerRequest, ServerResult,
    },
    service::{
        ClientInitializeError, ClientLifecycleMode, NotificationContext, Peer, PeerRequestOptions,
        RequestContext, RequestHandle, serve_client_with_lifecycle_and_ct,
    },
    transport::{
        IntoTransport, StreamableHttpClientTransport,
        streamable_http_client::StreamableHttpClientTransportConfig,
    },
};
use rustc_hash::FxHashMap;
use tokio::time::Instant;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use super::{
    Era, Supply, ToolInfo, UpstreamError, UpstreamSettings, UpstreamTransport,
    error::SessionFault,
    fault::Cause,
    link::Link,
    sse::SseLink,
    stdio::{ChildLink, Program},
    tools::{ToolFilter, ToolList},
};
use crate::{
    model::{FailureCode, text},
    ports::Heartbeat,
};

/// An open session. Dropping the last reference closes it.
#[derive(Debug)]
pub(super) struct Session {
    peer: Peer<RoleClient>,
    heard: Arc<Heard>,
    /// Held while the list is read, so that one reading serves all who ask meanwhile.
    tools: tokio::sync::Mutex<Option<(ToolList, Instant)>>,
    tools_allow: ToolFilter,
    is_gone: AtomicBool,
    /// Why the connection ended, where its transport says it.
    cause: Cause,
    tracker: TaskTracker,
    _stop: DropGuard,
}

/// Who said what was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The server, now.
    Server,
    /// Nobody was asked: it was known from before.
    Memory,
}

/// How long telling the upstream of a cancellation may take.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a list of tools counts, if the server does not say that it has another one.
const TOOLS_VALID: Duration = Duration::from_mins(5);
/// How many requests there is room for besides calls: cancellations, and lists of tools.
const CONTROL_REQUESTS: usize = 16;
/// How many pages of tools are read, and how many tools are kept.
const PAGES_MAX: usize = 100;
const TOOLS_MAX: usize = 10_000;

impl Session {
    /// Opens a session; `http` connects to where the settings say.
    pub(super) async fn open(
        settings: &UpstreamSettings,
        http: impl FnOnce() -> Result<Client, UpstreamError>,
        tracker: &TaskTracker,
    ) -> Result<Self, SessionFault> {
        let no_client = |error| SessionFault { error, is_session_gone: false, is_unsent: false };
        let opening =
            Opening { settings, tracker, stop: CancellationToken::new(), cause: Cause::default() };
        match &settings.transport {
            UpstreamTransport::Http { url, headers } => {
                let headers = read_headers(headers).await?;
                opening.http(url, headers, http().map_err(no_client)?).await
            }
            UpstreamTransport::Sse { url, headers } => {
                let headers = read_headers(headers).await?;
                opening.sse(url, (http().map_err(no_client)?, headers)).await
            }
            UpstreamTransport::Stdio { command, args, env } => {
                let env = env.read().await?;
                let UpstreamSettings { name, open_files, .. } = settings;
                let open_files = *open_files;
                opening.stdio(Program { name, command, args, env, open_files }).await
            }
            UpstreamTransport::InMemory { connect } => opening.with(connect()).await,
        }
    }

    /// Whether calls may still be sent.
    pub(super) fn is_usable(&self) -> bool {
        !self.is_gone.load(Ordering::Relaxed)
            && !self.peer.is_transport_closed()
            && !self.cause.is_known()
    }

    /// Keeps new calls away; those in flight go on.
    pub(super) fn retire(&self) {
        self.is_gone.store(true, Ordering::Relaxed);
    }

    /// Calls a tool. Dropping the future tells the upstream that nobody listens any more.
    pub(super) async fn call_tool(
        &self,
        params: CallToolRequestParams,
        meta: RequestMetaObject,
        heartbeat: &Heartbeat,
    ) -> Result<CallToolResult, SessionFault> {
        let request = ClientRequest::CallToolRequest(CallToolRequest::new(params));
        let options = PeerRequestOptions::no_options().with_meta(meta);
        let answer = self.send(request, options, heartbeat).await?;
        if let ServerResult::CallToolResult(result) = answer {
            return Ok(result);
        }
        let wants_input = matches!(answer, ServerResult::InputRequiredResult(_));
        let (kind, message) = if wants_input {
            (FailureCode::AgentError, "the tool asks for input, which nobody here can give")
        } else {
            (FailureCode::UpstreamProtocol, "it answered the call with what is no tool result")
        };
        Err(SessionFault::of(kind, message))
    }

    /// The tools on offer; read by whoever asks first, and again when the server has others. Says
    /// whether the server was asked.
    pub(super) async fn tools(&self) -> Result<(ToolList, Origin), SessionFault> {
        let mut known = self.tools.lock().await;
        let is_stale = self.heard.is_list_stale.swap(false, Ordering::Relaxed);
        if let Some((tools, at)) = &*known
            && !is_stale
            && at.elapsed() < TOOLS_VALID
        {
            return Ok((tools.clone(), Origin::Memory));
        }
        *known = None;
        let tools = ToolList::new(self.read_tools().await?);
        *known = Some((tools.clone(), Instant::now()));
        Ok((tools, Origin::Server))
    }

    async fn read_tools(&self) -> Result<Vec<ToolInfo>, SessionFault> {
        let mut tools: Vec<ToolInfo> = Vec::new();
        let mut cursor = None;
        for _ in 0..PAGES_MAX {
            let params = PaginatedRequestParams::default().with_cursor(cursor.take());
            let request = ClientRequest::ListToolsRequest(ListToolsRequest::with_param(params));
            let ServerResult::ListToolsResult(page) =
                self.send(request, PeerRequestOptions::no_options(), &Heartbeat::default()).await?
            else {
                let message = "it answered tools/list with something that is no list of tools";
                return Err(SessionFault::of(FailureCode::UpstreamProtocol, message));
            };
            tools.extend(page.tools.into_iter().map(ToolInfo::from));
            cursor = page.next_cursor;
            if cursor.is_none() && tools.len() <= TOOLS_MAX {
                tools.retain(|it| self.tools_allow.allows(&it.name));
                return Ok(tools);
            }
            if tools.len() > TOOLS_MAX {
                break;
            }
        }
        Err(SessionFault::of(FailureCode::UpstreamLimit, "its list of tools has no end"))
    }

    async fn send(
        &self,
        request: ClientRequest,
        options: PeerRequestOptions,
        heartbeat: &Heartbeat,
    ) -> Result<ServerResult, SessionFault> {
        if !self.is_usable() {
            return Err(SessionFault::closed_before_sending());
        }
        let handle = self.peer.send_request_with_option(request, options).await;
        let handle = handle.map_err(|_| SessionFault::closed_before_sending())?;
        let _listening = self.heard.beats.listen(handle.progress_token.clone(), heartbeat);
        let mut pending = Pending { handle: Some(handle), tracker: &self.tracker };
        let answer = pending.answer().await;
        pending.handle = None;
        answer.map_err(|error| {
            let fault = match (&error, self.cause.get()) {
                (ServiceError::TransportClosed, Some(cause)) => {
                    // It was on its way when the connection ended, so it may have arrived.
                    SessionFault { is_unsent: false, ..SessionFault::from_link(&cause) }
                }
                _ => SessionFault::from_service(&error),
            };
            let is_session_gone = fault.is_session_gone || self.peer.is_transport_closed();
            SessionFault { is_session_gone, ..fault }
        })
    }
}

/// A session on its way to be opened.
struct Opening<'a> {
    settings: &'a UpstreamSettings,
    tracker: &'a TaskTracker,
    stop: CancellationToken,
    cause: Cause,
}

impl Opening<'_> {
    async fn http(
        self,
        url: &str,
        headers: HeaderMap,
        http: Client,
    ) -> Result<Session, SessionFault> {
        let settings = self.settings;
        let link = Link::new(http, headers, settings.response_bytes_max, self.stop.clone());
        let mut config = StreamableHttpClientTransportConfig::with_uri(url)
            .max_concurrent_requests(settings.max_concurrent.saturating_add(CONTROL_REQUESTS))
            .control_request_timeout(CANCEL_TIMEOUT);
        config.reinit_on_expired_session = false;
        let transport = StreamableHttpClientTransport::with_client(link.clone(), config);
        let opened = Box::pin(self.serve(transport)).await;
        opened.map_err(|error| SessionFault::from_opening(&error, link.last_fault()))
    }

    async fn sse(self, url: &str, with: (Client, HeaderMap)) -> Result<Session, SessionFault> {
        let (cause, stop) = (self.cause.clone(), self.stop.clone());
        let link = SseLink::open(with, url, self.settings.response_bytes_max, cause, stop).await;
        self.with(link.map_err(|it| SessionFault::from_link(&it))?).await
    }

    async fn stdio(self, program: Program<'_>) -> Result<Session, SessionFault> {
        let link = ChildLink::start(program, self.settings.response_bytes_max, self.cause.clone());
        self.with(link.map_err(|it| SessionFault::from_link(&it))?).await
    }

    async fn with<T, E, A>(self, transport: T) -> Result<Session, SessionFault>
    where
        T: IntoTransport<RoleClient, E, A>,
        E: std::error::Error + Send + Sync + 'static,
    {
        let cause = self.cause.clone();
        let opened = Box::pin(self.serve(transport)).await;
        opened.map_err(|error| SessionFault::from_opening(&error, cause.get()))
    }

    /// Begins the protocol; whatever has started by then stops if this future is dropped.
    async fn serve<T, E, A>(self, transport: T) -> Result<Session, ClientInitializeError>
    where
        T: IntoTransport<RoleClient, E, A>,
        E: std::error::Error + Send + Sync + 'static,
    {
        let Self { settings, tracker, stop, cause } = self;
        let guard = stop.clone().drop_guard();
        let lifecycle = match settings.protocol {
            Era::Legacy => ClientLifecycleMode::Initialize,
            Era::Auto => ClientLifecycleMode::Auto {
                preferred_versions: vec![ProtocolVersion::LATEST],
                legacy_version: None,
            },
        };
        let heard = Arc::<Heard>::default();
        let listener = Listener(Arc::clone(&heard));
        let running =
            serve_client_with_lifecycle_and_ct(listener, transport, lifecycle, stop).await?;
        let peer = running.peer().clone();
        tracker.spawn(running.waiting());
        Ok(Session {
            peer,
            heard,
            tools: tokio::sync::Mutex::default(),
            tools_allow: settings.tools_allow.clone(),
            is_gone: AtomicBool::new(false),
            cause,
            tracker: tracker.clone(),
            _stop: guard,
        })
    }
}

/// A request in flight; if it is dropped before its answer came, the upstream is told.
struct Pending<'a> {
    handle: Option<RequestHandle<RoleClient>>,
    tracker: &'a TaskTracker,
}

impl Pending<'_> {
    async fn answer(&mut self) -> Result<ServerResult, ServiceError> {
        let Some(handle) = &mut self.handle else { return Err(ServiceError::TransportClosed) };
        (&mut handle.rx).await.unwrap_or(Err(ServiceError::TransportClosed))
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        let Some(handle) = self.handle.take() else { return };
        let cancel = handle.cancel(Some("nobody waits for the answer any more".to_owned()));
        self.tracker.spawn(async move {
            let told = tokio::time::timeout(CANCEL_TIMEOUT, cancel).await;
            if !matches!(told, Ok(Ok(()))) {
                tracing::debug!("upstream was not told of a cancelled call");
            }
        });
    }
}

/// Who is told of the progress of which request.
///
/// The lock guards the map, for the moment of a look or a change.
#[derive(Debug, Default)]
struct Beats(Mutex<FxHashMap<ProgressToken, Heartbeat>>);

impl Beats {
    /// Tells `heartbeat` of the progress of a request until the answer is dropped.
    fn listen(&self, token: ProgressToken, heartbeat: &Heartbeat) -> Listening<'_> {
        self.0.lock().insert(token.clone(), heartbeat.clone());
        Listening { beats: self, token }
    }

    fn beat(&self, token: &ProgressToken) {
        if let Some(heartbeat) = self.0.lock().get(token) {
            heartbeat.beat();
        }
    }
}

struct Listening<'a> {
    beats: &'a Beats,
    token: ProgressToken,
}

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        self.beats.0.lock().remove(&self.token);
    }
}

/// The client's side of the protocol: it hears of progress, and offers nothing, so whatever a
/// server asks is refused.
#[derive(Debug)]
struct Listener(Arc<Heard>);

/// What a server said by itself.
#[derive(Debug, Default)]
struct Heard {
    beats: Beats,
    /// Its list of tools is another one since it was read.
    is_list_stale: AtomicBool,
}

impl Service<RoleClient> for Listener {
    async fn handle_request(
        &self,
        request: ServerRequest,
        _context: RequestContext<RoleClient>,
    ) -> Result<ClientResult, ErrorData> {
        if matches!(request, ServerRequest::PingRequest(_)) {
            return Ok(ClientResult::empty(()));
        }
        Err(ErrorData::new(ErrorCode::METHOD_NOT_FOUND, "this client offers nothing", None))
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "nothing else is of interest")]
    async fn handle_notification(
        &self,
        notification: ServerNotification,
        _context: NotificationContext<RoleClient>,
    ) -> Result<(), ErrorData> {
        match notification {
            ServerNotification::ProgressNotification(it) => {
                self.0.beats.beat(&it.params.progress_token);
            }
            ServerNotification::ToolListChangedNotification(_) => {
                self.0.is_list_stale.store(true, Ordering::Relaxed);
            }
            _ => {}
        }
        Ok(())
    }

    fn get_info(&self) -> ClientConfig {
        let me = Implementation::new("parallel-dispatch", env!("CARGO_PKG_VERSION"));
        // The version counts for `initialize` only; a probe names its own.
        ClientConfig::new(ClientCapabilities::default(), me)
            .with_protocol_version(ProtocolVersion::LATEST_WITH_INITIALIZE)
    }
}

async fn read_headers(headers: &Supply) -> Result<HeaderMap, SessionFault> {
    let mut map = HeaderMap::new();
    for (name, value) in headers.read().await? {
        let refuse = || {
            let message =
                format!("the header {:?} of the settings cannot be sent", text::cut(&name, 60));
            SessionFault::of(FailureCode::UpstreamUnavailable, &message)
        };
        let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| refuse())?;
        let mut value = HeaderValue::from_str(&value).map_err(|_| refuse())?;
        value.set_sensitive(true);
        map.insert(key, value);
    }
    Ok(map)
}
