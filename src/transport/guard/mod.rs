//! What every HTTP request must pass before a handler sees it: Host, Origin, token, type,
//! size, JSON.

mod answer;
mod body;
mod caller;
mod content;
mod cors;
mod host;
mod origin;

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{Method, header, request::Parts},
    middleware::Next,
    response::Response,
};
use hyper::body::Bytes;
use rmcp::model::{ClientJsonRpcMessage, ClientRequest};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

pub use self::caller::Glimpse;
use self::caller::{Admission, Open};
pub(super) use self::{
    answer::{Refused, busy},
    cors::layer as cors,
};
use super::{
    HttpOptions,
    access::Access,
    body::{Ending, Holding},
    envelope,
};

/// When a client that found no room for a stream should come back, in milliseconds.
const STREAMS_AFTER_MS: u64 = 5_000;

/// The rules of one server.
#[derive(Debug)]
pub(super) struct Guard {
    /// The address that the server is bound to.
    bound: IpAddr,
    /// Names and addresses by which the server is reached besides the loopback ones.
    hosts: Vec<String>,
    /// Origins that are let in besides the loopback ones.
    origins: Vec<String>,
    access: Access,
    open: Open,
    /// The paths whose POST bodies are JSON-RPC messages.
    message_paths: [&'static str; 2],
    /// How long a body may take to arrive.
    body_timeout: Duration,
    /// Room for the bodies that are being read.
    bodies: body::Room,
    /// The places of streams, which may last: fewer than of connections, so that some of these are
    /// left for whoever asks something.
    streams: Arc<Semaphore>,
    /// Holds a token for every POST whose answer is not sent to its end.
    answers: TaskTracker,
}

/// The JSON-RPC message of a POST body, for the handler behind the guard.
#[derive(Clone, Debug)]
pub(super) struct Message(pub(super) Arc<ClientJsonRpcMessage>);

/// The layer that stands before every route and everything else: no name and no page from
/// elsewhere comes in.
pub(super) async fn gate(
    State(guard): State<Arc<Guard>>,
    request: Request,
    next: Next,
) -> Response {
    let response = match guard.check_origin(request) {
        Ok(request) => next.run(request).await,
        Err(refused) => refuse(refused),
    };
    answer::with_security_headers(response)
}

/// The layer that stands before every route: who calls, and what is sent.
pub(super) async fn stand(
    State(guard): State<Arc<Guard>>,
    request: Request,
    next: Next,
) -> Response {
    let token = (request.method() == Method::POST).then(|| guard.answers.token());
    let mut end = None;
    let mut response = match guard.check(request).await {
        Ok((request, Admission { shown, term })) => {
            // What runs for a call goes on, and is answered to nobody.
            let is_call = token.is_some() && !is_listen(&request);
            end = term.map(|it| (it, is_call.then(|| guard.answers.clone())));
            shown.of(answer::in_json(next.run(request).await).await).await
        }
        Err(refused) => refuse(refused),
    };
    if let Some(token) = token {
        response = response.map(|body| Holding::body(body, token));
    }
    if !is_stream(&response) {
        return response;
    }
    let Ok(place) = Arc::clone(&guard.streams).try_acquire_owned() else {
        return refuse(busy("there are too many streams", STREAMS_AFTER_MS));
    };
    response.map(|body| {
        let body = Holding::body(body, place);
        match end {
            Some((term, calls)) => Ending::body(body, term.end(), calls),
            None => body,
        }
    })
}

fn refuse(refused: Refused) -> Response {
    tracing::debug!(status = refused.status().as_u16(), "HTTP request refused");
    refused.into_response()
}

impl Guard {
    /// Guards the server that is bound to `bound`; POST bodies to `message_paths` are messages.
    pub(super) fn new(
        bound: IpAddr,
        options: &HttpOptions,
        message_paths: [&'static str; 2],
        answers: TaskTracker,
    ) -> Self {
        let metadata = options.access.metadata();
        let mut hosts = options.allowed_hosts.clone();
        hosts.extend(metadata.as_ref().and_then(|it| it.host()).map(str::to_owned));
        let paths = metadata.map(|it| it.paths()).unwrap_or_default();
        Self {
            bound,
            hosts,
            origins: options.allowed_origins.clone(),
            access: options.access.clone(),
            open: Open { paths, glimpses: options.glimpses.clone() },
            message_paths,
            body_timeout: options.body_timeout,
            bodies: body::Room::default(),
            streams: Arc::new(Semaphore::new((options.connections_max * 3 / 4).max(1))),
            answers,
        }
    }

    fn check_origin(&self, request: Request) -> Result<Request, Refused> {
        let (parts, body) = request.into_parts();
        host::check(&parts, self.bound, &self.hosts)?;
        origin::check(&parts.headers, &self.origins)?;
        Ok(Request::from_parts(parts, body))
    }

    async fn check(&self, request: Request) -> Result<(Request, Admission), Refused> {
        let (mut parts, body) = request.into_parts();
        let admission = caller::admit(&mut parts, &self.access, &self.open).await?;
        content::check(&parts)?;
        if !self.is_message(&parts) {
            // Nothing else has a use for a body, so none is waited for or kept.
            return Ok((Request::from_parts(parts, Body::empty()), admission));
        }
        let (bytes, _room) =
            body::read(&parts.headers, body, self.body_timeout, &self.bodies).await?;
        parts.extensions.insert(read_message(&bytes)?);
        Ok((Request::from_parts(parts, Body::from(bytes)), admission))
    }

    fn is_message(&self, parts: &Parts) -> bool {
        parts.method == Method::POST && self.message_paths.contains(&parts.uri.path())
    }
}

/// Whether an answer is a stream of events, which may last.
fn is_stream(response: &Response) -> bool {
    let said = response.headers().get(header::CONTENT_TYPE);
    said.is_some_and(|it| it.as_bytes().starts_with(b"text/event-stream"))
}

/// Whether a request only wants to hear.
fn is_listen(request: &Request) -> bool {
    let Some(Message(message)) = request.extensions().get() else { return false };
    let ClientJsonRpcMessage::Request(request) = message.as_ref() else { return false };
    matches!(request.request, ClientRequest::SubscriptionsListenRequest(_))
}

fn read_message(bytes: &Bytes) -> Result<Message, Refused> {
    match envelope::read(bytes) {
        Ok(message) => Ok(Message(Arc::new(message))),
        Err(unreadable) => Err(Refused::unreadable(&unreadable.into_rejection())),
    }
}
