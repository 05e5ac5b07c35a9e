//! `/mcp`: streamable HTTP, with sessions for old clients and without for new ones.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, Method, StatusCode},
    response::{IntoResponse as _, Response},
    routing,
};
use rmcp::{
    ServerHandler,
    model::ClientRequest,
    transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService},
};
use tokio_util::sync::CancellationToken;

use super::{
    HttpOptions, batch,
    sessions::{Admitted, Purpose, Sessions},
};
use crate::{
    model::Identity,
    transport::{
        MESSAGE_BYTES_MAX,
        body::Holding,
        guard::{self, Batch, Message, SESSION_ID},
    },
};

/// Where it is served.
pub(super) const PATH: &str = "/mcp";

/// A name that no session has.
const NO_SESSION: HeaderValue = HeaderValue::from_static("none");

/// When a client that found no room for a session should come back, in milliseconds.
const RETRY_AFTER_MS: u64 = 5_000;

/// The streamable HTTP service.
pub(super) struct Mcp<H> {
    service: StreamableHttpService<H, Sessions>,
    sessions: Arc<Sessions>,
}

impl<H: ServerHandler> Mcp<H> {
    /// Makes handlers with `new_handler`; `ending` ends all sessions and streams.
    pub(super) fn new<F>(
        new_handler: Arc<F>,
        options: &HttpOptions,
        ending: CancellationToken,
    ) -> Self
    where
        F: Fn() -> H + Send + Sync + 'static,
    {
        let sessions = Sessions::new(Arc::clone(&new_handler), options, ending.clone());
        let sessions = Arc::new(sessions);
        // Host and Origin are checked by the guard, for all routes alike.
        let config = StreamableHttpServerConfig::default()
            .disable_allowed_hosts()
            .with_max_request_body_bytes(MESSAGE_BYTES_MAX)
            .with_sse_keep_alive(Some(options.keep_alive))
            .with_json_response(true)
            .with_cancellation_token(ending);
        let service =
            StreamableHttpService::new(move || Ok(new_handler()), Arc::clone(&sessions), config);
        Self { service, sessions }
    }

    /// The route, to stand behind the guard.
    pub(super) fn routes(self) -> Router {
        Router::new().route(PATH, routing::any(serve)).with_state(Arc::new(self))
    }
}

async fn serve<H: ServerHandler>(State(mcp): State<Arc<Mcp<H>>>, mut request: Request) -> Response {
    let sessions = &mcp.sessions;
    let caller = request.extensions().get::<Identity>().cloned();
    let is_delete = request.method() == Method::DELETE;
    let purpose = if is_delete { Purpose::End } else { Purpose::Use };
    let named = request.headers().get(SESSION_ID).map(|it| it.to_str().unwrap_or_default());
    let mut visit = None;
    if let Some(id) = named.map(str::to_owned) {
        match sessions.visit(&id, caller.as_ref(), purpose).await {
            Admitted::Yes(it) => {
                request.extensions_mut().insert(it.keep_awake());
                visit = Some(it);
            }
            // rmcp would end it, and say that it did.
            Admitted::Unknown if is_delete => {
                return (StatusCode::NOT_FOUND, "Not Found: Session not found").into_response();
            }
            // What belongs to another is answered as what there never was.
            Admitted::Unknown => drop(request.headers_mut().insert(SESSION_ID, NO_SESSION)),
            Admitted::Late => {
                let message = "the session is not to be had now";
                return guard::busy(message, RETRY_AFTER_MS).into_response();
            }
        }
    }
    if is_initialize(&request) && !sessions.has_room() {
        return guard::busy("there are too many sessions", RETRY_AFTER_MS).into_response();
    }
    // Boxed where they are made: the router moves this future, with all that is in it.
    let mut response = match request.extensions_mut().remove::<Batch>() {
        Some(parts) => Box::pin(batch::serve(&mcp.service, request, parts)).await,
        None => Box::pin(mcp.service.handle(request)).await.map(Body::new),
    };
    if is_delete && response.status() == StatusCode::ACCEPTED {
        // rmcp says 202 although the session is gone; the Python client takes that for a failure.
        *response.status_mut() = StatusCode::NO_CONTENT;
    }
    match visit {
        Some(visit) => response.map(|body| Holding::body(body, visit)),
        None => response,
    }
}

fn is_initialize(request: &Request) -> bool {
    let asked = request.extensions().get().and_then(Message::request);
    matches!(asked, Some(ClientRequest::InitializeRequest(_)))
}
