//! What goes wrong with an upstream, by cause.

use rmcp::{
    ServiceError,
    model::{ErrorCode, ErrorData},
    service::ClientInitializeError,
    transport::{DynamicTransportError, streamable_http_client::StreamableHttpError},
};

use super::fault::LinkFault;
use crate::model::{Failure, FailureCode, redact::redact, text};

/// Why a call of an upstream failed. The message is cut, escaped and free of secrets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct UpstreamError {
    /// The code to branch on.
    pub kind: FailureCode,
    /// One sentence for the user.
    pub message: String,
    /// How long it asks to be left alone, in milliseconds.
    pub retry_after_ms: Option<u64>,
}

/// What went wrong in a session, and what that means for the session and the call.
#[derive(Debug)]
pub(super) struct SessionFault {
    /// The error as the caller gets it if nothing helps.
    pub(super) error: UpstreamError,
    /// The session can serve nobody any more.
    pub(super) is_session_gone: bool,
    /// The server certainly did not get the request.
    pub(super) is_unsent: bool,
}

impl UpstreamError {
    const MESSAGE_CHARS_MAX: usize = 1_000;

    /// Makes an error; `message` may quote the upstream.
    pub fn new(kind: FailureCode, message: &str) -> Self {
        // Cut twice: a secret that the first cut halves has no shape any more, and falls to the
        // second one.
        let start = text::cut(message, 4 * Self::MESSAGE_CHARS_MAX);
        let clean = redact(&start);
        let message = text::escape(&text::cut(&clean, Self::MESSAGE_CHARS_MAX));
        Self { kind, message, retry_after_ms: None }
    }
}

impl From<UpstreamError> for Failure {
    fn from(error: UpstreamError) -> Self {
        Self::new(error.kind, error.message).retry_after(error.retry_after_ms)
    }
}

impl SessionFault {
    /// The request may have arrived; the session goes on.
    pub(super) fn of(kind: FailureCode, message: &str) -> Self {
        let error = UpstreamError::new(kind, message);
        Self { error, is_session_gone: false, is_unsent: false }
    }

    /// The session ended before the request was handed to it.
    pub(super) fn closed_before_sending() -> Self {
        let fault = Self::of(FailureCode::UpstreamUnavailable, "the session is closed");
        Self { is_session_gone: true, is_unsent: true, ..fault }
    }

    /// Reads what rmcp makes of a request that failed.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the rest cannot happen to plain requests")]
    pub(super) fn from_service(error: &ServiceError) -> Self {
        match error {
            ServiceError::McpError(error) => Self::from_rpc(error),
            ServiceError::TransportSend(error) => Self::from_transport(error),
            ServiceError::TransportClosed => Self::of(
                FailureCode::UpstreamUnavailable,
                "the connection closed before the answer came",
            ),
            ServiceError::Timeout { .. } => Self::of(FailureCode::Timeout, "no answer in time"),
            other => Self::of(FailureCode::UpstreamProtocol, &other.to_string()),
        }
    }

    /// Reads what rmcp makes of a session that did not open; `seen` is the last fault on the
    /// wire, which rmcp does not always keep.
    pub(super) fn from_opening(error: &ClientInitializeError, seen: Option<LinkFault>) -> Self {
        match (error, seen) {
            (ClientInitializeError::TransportError { error, .. }, _) => Self::from_transport(error),
            (ClientInitializeError::LegacyFallbackFailed { fallback, .. }, seen) => {
                Self::from_opening(fallback, seen)
            }
            (ClientInitializeError::JsonRpcError(error), _) => {
                let message = format!("it refused to open a session: {}", error.message);
                Self::of(FailureCode::UpstreamProtocol, &message)
            }
            (_, Some(seen)) => Self::from_link(&seen),
            (ClientInitializeError::ConnectionClosed(_), None) => {
                Self::of(FailureCode::UpstreamUnavailable, "it closed the connection")
            }
            (other, None) => Self::of(FailureCode::UpstreamProtocol, &other.to_string()),
        }
    }

    fn from_transport(error: &DynamicTransportError) -> Self {
        if let Some(fault) = error.error.downcast_ref::<LinkFault>() {
            return Self::from_link(fault);
        }
        match error.error.downcast_ref::<StreamableHttpError<LinkFault>>() {
            Some(StreamableHttpError::Client(fault)) => Self::from_link(fault),
            Some(StreamableHttpError::TransportChannelClosed) => Self::closed_before_sending(),
            Some(other) => Self::of(FailureCode::UpstreamProtocol, &other.to_string()),
            None => {
                let message = format!("the connection broke: {}", error.error);
                let fault = Self::of(FailureCode::UpstreamUnavailable, &message);
                Self { is_session_gone: true, ..fault }
            }
        }
    }

    /// Reads a fault on the wire.
    pub(super) fn from_link(fault: &LinkFault) -> Self {
        let kind = match fault {
            LinkFault::NotConnected(_)
            | LinkFault::NotSent(_)
            | LinkFault::SessionUnknown
            | LinkFault::Broken(_)
            | LinkFault::Unavailable { is_overload: false, .. } => FailureCode::UpstreamUnavailable,
            LinkFault::TooLarge(_) => FailureCode::UpstreamLimit,
            LinkFault::RateLimited { .. } | LinkFault::Unavailable { is_overload: true, .. } => {
                FailureCode::RateLimited
            }
            LinkFault::Protocol(_) => FailureCode::UpstreamProtocol,
        };
        let is_unsent = matches!(
            fault,
            LinkFault::NotConnected(_) | LinkFault::NotSent(_) | LinkFault::SessionUnknown
        );
        let retry_after_ms = fault.retry_after_ms();
        let Self { error, .. } = Self::of(kind, &fault.to_string());
        let error = UpstreamError { retry_after_ms, ..error };
        Self { error, is_session_gone: is_unsent, is_unsent }
    }

    fn from_rpc(error: &ErrorData) -> Self {
        if let Some(fault) = LinkFault::from_rpc(error) {
            return Self::from_link(&fault);
        }
        let message = error.message.to_ascii_lowercase();
        let is_unknown_tool = error.code == ErrorCode::METHOD_NOT_FOUND
            || message.contains("unknown tool")
            || message.contains("tool not found");
        let kind =
            if is_unknown_tool { FailureCode::UpstreamProtocol } else { FailureCode::AgentError };
        Self::of(kind, &format!("{} (JSON-RPC error {})", error.message, error.code.0))
    }
}
