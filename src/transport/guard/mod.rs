//! What every HTTP request must pass before a handler sees it: Host, Origin, token, type,
//! size, JSON.

mod answer;
mod body;
mod caller;
mod content;
mod cors;
mod host;
mod origin;
mod service;

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderName, Method, request::Parts},
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
    service::Guarded,
};
use super::{
    HttpOptions,
    access::Access,
    batch,
    envelope::{self, Unreadable},
};

/// The header that names a session of `/mcp`.
pub(super) const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
/// The header that names the revision of a request.
const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");

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
pub(super) enum Message {
    /// A call of a tool, the text of which is right.
    Call(Bytes),
    /// Any message.
    Read(Arc<ClientJsonRpcMessage>),
}

/// The messages of a POST body that is a batch, each with its text.
#[derive(Clone, Debug)]
pub(super) struct Batch(pub(super) Vec<(Message, Bytes)>);

impl Message {
    /// What is asked for, if it is something else than a tool.
    pub(super) fn request(&self) -> Option<&ClientRequest> {
        match self {
            Self::Call(_) => None,
            Self::Read(message) => match &**message {
                ClientJsonRpcMessage::Request(it) => Some(&it.request),
                ClientJsonRpcMessage::Response(_)
                | ClientJsonRpcMessage::Notification(_)
                | ClientJsonRpcMessage::Error(_) => None,
            },
        }
    }

    /// The message itself.
    pub(super) fn read(self) -> Result<ClientJsonRpcMessage, Refused> {
        match self {
            Self::Call(text) => to_readable(envelope::read(&text)),
            Self::Read(message) => Ok(Arc::unwrap_or_clone(message)),
        }
    }
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
        if batch::is_one(&bytes) && may_be_batch(&parts.headers) {
            parts.extensions.insert(read_batch(&bytes)?);
        } else {
            let read = to_readable(envelope::check(&bytes))?;
            let message = read.map_or_else(|| Message::Call(bytes.clone()), to_message);
            parts.extensions.insert(message);
        }
        Ok((Request::from_parts(parts, Body::from(bytes)), admission))
    }

    fn is_message(&self, parts: &Parts) -> bool {
        parts.method == Method::POST && self.message_paths.contains(&parts.uri.path())
    }
}

/// Whether a client's revision has batches: it has sessions, and a later one would name itself.
fn may_be_batch(headers: &HeaderMap) -> bool {
    let revision = headers.get(PROTOCOL_VERSION);
    headers.contains_key(SESSION_ID)
        && revision.is_none_or(|it| it.as_bytes() == batch::REVISION.as_str().as_bytes())
}

/// Reads all messages of a batch; one that is none has the whole refused.
fn read_batch(bytes: &Bytes) -> Result<Batch, Refused> {
    let parts = to_readable(batch::read(bytes))?;
    let part = |(it, text)| Ok((to_message(to_readable(it)?), bytes.slice_ref(text)));
    parts.into_iter().map(part).collect::<Result<_, _>>().map(Batch)
}

fn to_message(read: ClientJsonRpcMessage) -> Message {
    Message::Read(Arc::new(read))
}

fn to_readable<T>(read: Result<T, Unreadable>) -> Result<T, Refused> {
    read.map_err(|it| Refused::unreadable(&it.into_rejection()))
}
