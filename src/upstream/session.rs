//! One session with an upstream: opened, used by many calls at once, closed.

use std::{
    collections::BTreeMap,
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
        ServerNotification, ServerRequest, ServerResult, Tool,
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
use serde_json::{Map, Value};
use tokio::sync::OnceCell;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use super::{Connect, Era, UpstreamSettings, error::SessionFault, link::Link};
use crate::{
    model::{FailureCode, text},
    ports::Heartbeat,
};

/// A tool that an upstream offers.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolInfo {
    /// Its name.
    pub name: String,
    /// What it does, as the upstream says.
    pub description: String,
    /// The JSON Schema of its arguments.
    pub input_schema: Arc<Map<String, Value>>,
}

/// An open session. Dropping the last reference closes it.
#[derive(Debug)]
pub(super) struct Session {
    peer: Peer<RoleClient>,
    beats: Arc<Beats>,
    tools: OnceCell<Arc<[ToolInfo]>>,
    is_gone: AtomicBool,
    tracker: TaskTracker,
    _stop: DropGuard,
}

/// How long telling the upstream of a cancellation may take.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(2);

/// How many pages of tools are read, and how many tools are kept.
const PAGES_MAX: usize = 100;
const TOOLS_MAX: usize = 10_000;

impl Session {
    /// Opens a session over HTTP.
    pub(super) async fn open_http(
        settings: &UpstreamSettings,
        url: &str,
        headers: &BTreeMap<String, String>,
        http: Client,
        tracker: &TaskTracker,
    ) -> Result<Self, SessionFault> {
        let stop = CancellationToken::new();
        let link =
            Link::new(http, read_headers(headers)?, settings.response_bytes_max, stop.clone());
        let mut config = StreamableHttpClientTransportConfig::with_uri(url)
            .max_concurrent_requests(settings.max_concurrent)
            .control_request_timeout(CANCEL_TIMEOUT);
        config.reinit_on_expired_session = false;
        let transport = StreamableHttpClientTransport::with_client(link.clone(), config);
        Self::open(transport, settings.protocol, stop, tracker)
            .await
            .map_err(|error| SessionFault::from_opening(&error, link.last_fault()))
    }

    /// Opens a session with a server in this process.
    pub(super) async fn open_in_memory(
        settings: &UpstreamSettings,
        connect: &Connect,
        tracker: &TaskTracker,
    ) -> Result<Self, SessionFault> {
        Self::open(connect(), settings.protocol, CancellationToken::new(), tracker)
            .await
            .map_err(|error| SessionFault::from_opening(&error, None))
    }

    /// Opens a session; whatever has started by then stops if this future is dropped.
    async fn open<T, E, A>(
        transport: T,
        protocol: Era,
        stop: CancellationToken,
        tracker: &TaskTracker,
    ) -> Result<Self, ClientInitializeError>
    where
        T: IntoTransport<RoleClient, E, A>,
        E: std::error::Error + Send + Sync + 'static,
    {
        let guard = stop.clone().drop_guard();
        let lifecycle = match protocol {
            Era::Legacy => ClientLifecycleMode::Initialize,
            Era::Auto => ClientLifecycleMode::Auto {
                preferred_versions: vec![ProtocolVersion::LATEST],
                legacy_version: None,
            },
        };
        let beats = Arc::<Beats>::default();
        let listener = Listener(Arc::clone(&beats));
        let running =
            serve_client_with_lifecycle_and_ct(listener, transport, lifecycle, stop).await?;
        let peer = running.peer().clone();
        tracker.spawn(running.waiting());
        Ok(Self {
            peer,
            beats,
            tools: OnceCell::new(),
            is_gone: AtomicBool::new(false),
            tracker: tracker.clone(),
            _stop: guard,
        })
    }

    /// Whether calls may still be sent.
    pub(super) fn is_usable(&self) -> bool {
        !self.is_gone.load(Ordering::Relaxed) && !self.peer.is_transport_closed()
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

    /// The tools on offer: read once a session, by whoever asks first.
    pub(super) async fn tools(&self) -> Result<Arc<[ToolInfo]>, SessionFault> {
        self.tools.get_or_try_init(|| self.read_tools()).await.cloned()
    }

    async fn read_tools(&self) -> Result<Arc<[ToolInfo]>, SessionFault> {
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
                return Ok(tools.into());
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
        let _listening = self.beats.listen(handle.progress_token.clone(), heartbeat);
        let mut pending = Pending { handle: Some(handle), tracker: &self.tracker };
        let answer = pending.answer().await;
        pending.handle = None;
        answer.map_err(|error| {
            let fault = SessionFault::from_service(&error);
            let is_session_gone = fault.is_session_gone || self.peer.is_transport_closed();
            SessionFault { is_session_gone, ..fault }
        })
    }
}

impl From<Tool> for ToolInfo {
    fn from(tool: Tool) -> Self {
        Self {
            name: tool.name.into_owned(),
            description: tool.description.unwrap_or_default().into_owned(),
            input_schema: tool.input_schema,
        }
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
struct Listener(Arc<Beats>);

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

    async fn handle_notification(
        &self,
        notification: ServerNotification,
        _context: NotificationContext<RoleClient>,
    ) -> Result<(), ErrorData> {
        if let ServerNotification::ProgressNotification(it) = notification {
            self.0.beat(&it.params.progress_token);
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

fn read_headers(headers: &BTreeMap<String, String>) -> Result<HeaderMap, SessionFault> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let refuse = || {
            let message =
                format!("the header {:?} of the settings cannot be sent", text::cut(name, 60));
            SessionFault::of(FailureCode::UpstreamUnavailable, &message)
        };
        let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| refuse())?;
        let mut value = HeaderValue::from_str(value).map_err(|_| refuse())?;
        value.set_sensitive(true);
        map.insert(key, value);
    }
    Ok(map)
}
