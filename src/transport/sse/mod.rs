//! `/sse` and `/messages`: the HTTP+SSE transport of the revisions with `initialize`.
//!
//! A GET opens a session and stays open for what the server says; what the client says is posted.
//! The session ends with its stream.

mod session;
mod stream;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use rmcp::ServerHandler;
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::session::{Posted, Sessions};
use super::{
    HttpOptions,
    guard::{self, Message, Refused},
};
use crate::model::Identity;

/// Where messages are posted.
pub(super) const POST_PATH: &str = "/messages";

/// Where a session is opened.
const STREAM_PATH: &str = "/sse";

/// When a client that found no room should come back, in milliseconds.
const RETRY_AFTER_MS: u64 = 5_000;

/// The transport's state.
pub(super) struct Sse<F> {
    new_handler: Arc<F>,
    sessions: Sessions,
    running: TaskTracker,
    places: Arc<Semaphore>,
    shutdown: CancellationToken,
    ending: CancellationToken,
    keep_alive: Duration,
    post_timeout: Duration,
}

impl<F, H> Sse<F>
where
    F: Fn() -> H + Send + Sync + 'static,
    H: ServerHandler,
{
    /// Makes one handler a session with `new_handler`. At `shutdown` no session hears more, at
    /// `ending` they end.
    pub(super) fn new(
        new_handler: Arc<F>,
        options: &HttpOptions,
        shutdown: CancellationToken,
        ending: CancellationToken,
    ) -> Self {
        let running = TaskTracker::new();
        running.close();
        Self {
            new_handler,
            sessions: Sessions::default(),
            running,
            places: Arc::new(Semaphore::new(options.sessions_max)),
            shutdown,
            ending,
            keep_alive: options.keep_alive,
            post_timeout: options.post_timeout,
        }
    }

    /// Waits for the sessions that run.
    pub(super) fn sessions(&self) -> TaskTracker {
        self.running.clone()
    }

    /// The routes, to stand behind the guard.
    pub(super) fn routes(self) -> Router {
        Router::new()
            .route(STREAM_PATH, get(open::<F, H>))
            .route(POST_PATH, post(take::<F, H>))
            .with_state(Arc::new(self))
    }
}

async fn open<F, H>(State(sse): State<Arc<Sse<F>>>, request: Request) -> Response
where
    F: Fn() -> H + Send + Sync + 'static,
    H: ServerHandler,
{
    let Ok(place) = Arc::clone(&sse.places).try_acquire_owned() else {
        return guard::busy("there are too many sessions", RETRY_AFTER_MS).into_response();
    };
    let token = sse.ending.child_token();
    let caller = request.extensions().get::<Identity>().cloned();
    let opened = sse.sessions.open(place, caller, &token);
    sse.running.spawn(session::run((sse.new_handler)(), opened.wires, sse.shutdown.clone(), token));
    let events = stream::events(opened.said, opened.membership, POST_PATH, sse.keep_alive);
    let mut response = Response::new(Body::from_stream(events));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

async fn take<F, H>(State(sse): State<Arc<Sse<F>>>, mut request: Request) -> Response
where
    F: Fn() -> H + Send + Sync + 'static,
    H: ServerHandler,
{
    let message = request.extensions_mut().remove::<Message>();
    let Some(id) = session_id(request.uri().query()) else {
        return refuse(StatusCode::BAD_REQUEST, "missing_session", "there is no session_id");
    };
    let Some(message) = message else {
        return refuse(StatusCode::BAD_REQUEST, "bad_request", "there is no message");
    };
    let message = match message.read() {
        Ok(message) => message,
        Err(refused) => return refused.into_response(),
    };
    let caller = request.extensions().get::<Identity>();
    match sse.sessions.post(id, caller, message, sse.post_timeout).await {
        Posted::Taken => StatusCode::ACCEPTED.into_response(),
        Posted::Unknown => {
            refuse(StatusCode::NOT_FOUND, "unknown_session", "there is no such session")
        }
        Posted::Stuck => {
            guard::busy("the session's stream is not read", RETRY_AFTER_MS).into_response()
        }
    }
}

fn session_id(query: Option<&str>) -> Option<&str> {
    query?.split('&').find_map(|it| it.strip_prefix("session_id=")).filter(|it| !it.is_empty())
}

fn refuse(status: StatusCode, code: &str, message: &str) -> Response {
    let hint = "open a session with GET /sse, and post to the address that its first event names";
    Refused::new(status, code, message, "", hint).into_response()
}
