//! What goes wrong on the wire to an upstream, whatever the transport.

use std::sync::Arc;

use parking_lot::Mutex;
use reqwest::StatusCode;
use rmcp::model::{ErrorCode, ErrorData, RequestId, ServerJsonRpcMessage};
use serde_json::{Value, json};

use super::later::RetryAfter;
use crate::model::text;

/// What went wrong on the wire.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum LinkFault {
    /// Nothing was sent: no connection came about.
    #[error("nothing answers there: {0}")]
    NotConnected(String),
    /// What was to be sent did not go out whole.
    #[error("it listens no more: {0}")]
    NotSent(String),
    /// The server does not know the session, as after its restart.
    #[error("it does not know the session")]
    SessionUnknown,
    /// The connection ended in the middle.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// More than is let in.
    #[error("its answer is larger than {0} bytes")]
    TooLarge(usize),
    /// HTTP 429.
    #[error("it asks to come back later{}", .retry_after)]
    RateLimited {
        /// When to come back.
        retry_after: RetryAfter,
    },
    /// HTTP 5xx.
    #[error("it answered HTTP {status}{}", .retry_after)]
    Unavailable {
        /// The status.
        status: u16,
        /// Whether it has too much to do: 503, and 529 as some write it.
        is_overload: bool,
        /// When to come back.
        retry_after: RetryAfter,
    },
    /// Something that is not MCP.
    #[error("it does not speak MCP: {0}")]
    Protocol(String),
}

impl LinkFault {
    /// The code of errors that this client puts at the end of an event stream.
    const RPC_CODE: ErrorCode = ErrorCode(-32_097);

    /// Reads an error that [`Self::to_rpc`] wrote. A server that writes the same says no more than
    /// that its own answer broke.
    pub(super) fn from_rpc(error: &ErrorData) -> Option<Self> {
        if error.code != Self::RPC_CODE {
            return None;
        }
        let data = |field: &str| error.data.as_ref()?.get(field);
        let bytes_max = data("bytes_max").and_then(Value::as_u64);
        let message = error.message.to_string();
        Some(match bytes_max.and_then(|it| usize::try_from(it).ok()) {
            Some(bytes_max) => Self::TooLarge(bytes_max),
            None if data("protocol").is_some() => Self::Protocol(message),
            None => Self::Broken(message),
        })
    }

    /// How long the server asks to be left alone, in milliseconds.
    pub(super) fn retry_after_ms(&self) -> Option<u64> {
        match self {
            Self::RateLimited { retry_after } | Self::Unavailable { retry_after, .. } => {
                retry_after.millis()
            }
            Self::NotConnected(_)
            | Self::NotSent(_)
            | Self::SessionUnknown
            | Self::Broken(_)
            | Self::TooLarge(_)
            | Self::Protocol(_) => None,
        }
    }

    /// An error of request `id`, as an event stream ends with.
    pub(super) fn to_rpc(&self, id: &RequestId) -> ServerJsonRpcMessage {
        let (data, message) = match self {
            Self::TooLarge(it) => (Some(json!({ "bytes_max": it })), self.to_string()),
            Self::Protocol(it) => (Some(json!({ "protocol": true })), it.clone()),
            Self::Broken(it) => (None, it.clone()),
            Self::NotConnected(_)
            | Self::NotSent(_)
            | Self::SessionUnknown
            | Self::RateLimited { .. }
            | Self::Unavailable { .. } => (None, self.to_string()),
        };
        ServerJsonRpcMessage::error(ErrorData::new(Self::RPC_CODE, message, data), Some(id.clone()))
    }

    /// What the status of a refusal means; `is_in_session` if the request named a session.
    pub(super) fn from_status(
        status: StatusCode,
        retry_after: RetryAfter,
        is_in_session: bool,
        body: &[u8],
    ) -> Self {
        let number = status.as_u16();
        if status == StatusCode::TOO_MANY_REQUESTS {
            return Self::RateLimited { retry_after };
        }
        if status.is_redirection() {
            return Self::Protocol(format!("it redirects (HTTP {number}); set the final URL"));
        }
        if status.is_server_error() {
            let is_overload = matches!(number, 503 | 529);
            return Self::Unavailable { status: number, is_overload, retry_after };
        }
        // The specification says 404; Archon, like others on the Python SDK of its time, says 400.
        let is_lost = matches!(status, StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST);
        if is_lost && is_in_session {
            return Self::SessionUnknown;
        }
        Self::Protocol(format!("it answered HTTP {number}: {}", quote(body)))
    }

    /// Reads why a request was not sent, or not answered.
    pub(super) fn from_sending(error: reqwest::Error) -> Self {
        if error.is_connect() {
            return Self::NotConnected(describe(error));
        }
        Self::from_reading(error)
    }

    /// Reads why an answer ended too early.
    pub(super) fn from_reading(error: reqwest::Error) -> Self {
        let error = error.without_url();
        let mut cause: &dyn std::error::Error = &error;
        let mut is_http = true;
        while let Some(inner) = cause.source() {
            is_http &= !inner.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse);
            cause = inner;
        }
        let cause = cause.to_string();
        if is_http { Self::Broken(cause) } else { Self::Protocol(format!("nor HTTP: {cause}")) }
    }
}

/// Why a connection ended, for those who waited for answers; clones are the same one.
///
/// The lock guards the first cause, for the moment of a look or a change.
#[derive(Clone, Debug, Default)]
pub(super) struct Cause(Arc<Mutex<Option<LinkFault>>>);

impl Cause {
    /// Notes a cause; the first one counts.
    pub(super) fn note(&self, fault: LinkFault) {
        self.0.lock().get_or_insert(fault);
    }

    /// Notes a cause; the last one counts.
    pub(super) fn replace(&self, fault: LinkFault) {
        *self.0.lock() = Some(fault);
    }

    /// The cause, if one was noted.
    pub(super) fn get(&self) -> Option<LinkFault> {
        self.0.lock().clone()
    }

    /// Whether one was noted.
    pub(super) fn is_known(&self) -> bool {
        self.0.lock().is_some()
    }
}

/// The start of what came instead of an answer.
pub(super) fn quote(body: &[u8]) -> String {
    let start = String::from_utf8_lossy(&body[..body.len().min(400)]);
    if start.is_empty() {
        "an empty body".to_owned()
    } else {
        format!("{:?}", text::cut(&start, 100))
    }
}

/// The innermost cause: the outer ones repeat the URL and say little.
fn describe(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
