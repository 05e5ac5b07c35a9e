//! Decides what reaches rmcp before a session is open.
//!
//! rmcp ends the connection when anything but a request comes first. Clients do send such things:
//! one that gives up on `server/discover` cancels it, and only then falls back to `initialize`.

use std::borrow::Cow;

use rmcp::model::{
    ClientJsonRpcMessage, ClientRequest, ErrorCode, ErrorData, GetMeta as _, ProtocolVersion,
    ServerJsonRpcMessage,
};

use super::batch;

/// The state of a connection's handshake, as rmcp will see it.
#[derive(Debug)]
pub(super) struct Lifecycle {
    is_open: bool,
    has_batches: bool,
    speaks: Speaks,
}

/// The protocol revisions a transport serves.
#[derive(Debug)]
pub(super) enum Speaks {
    /// Those with `initialize`, and those without among these.
    Both(Cow<'static, [ProtocolVersion]>),
    /// Only those with `initialize`.
    InitializeOnly,
}

/// What becomes of a message.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It is served.
    Admit,
    /// It is too early, and nobody waits for an answer.
    Ignore,
    /// Its sender gets this answer.
    Refuse(Box<ServerJsonRpcMessage>),
}

impl Lifecycle {
    /// Starts with a connection on which nothing was said yet.
    pub(super) fn new(speaks: Speaks) -> Self {
        Self { is_open: false, has_batches: false, speaks }
    }

    /// Decides about the next message of the connection.
    pub(super) fn judge(&mut self, message: &ClientJsonRpcMessage) -> Verdict {
        let ClientJsonRpcMessage::Request(request) = message else {
            return if self.is_open { Verdict::Admit } else { Verdict::Ignore };
        };
        if let Some(error) = self.refuse(&request.request) {
            let answer = ServerJsonRpcMessage::error(error, Some(request.id.clone()));
            return Verdict::Refuse(Box::new(answer));
        }
        self.is_open |= self.opens(&request.request);
        if let ClientRequest::InitializeRequest(it) = &request.request {
            self.has_batches = it.params.protocol_version == batch::REVISION;
        }
        Verdict::Admit
    }

    /// Whether the session is of a revision that has batches.
    pub(super) fn has_batches(&self) -> bool {
        self.has_batches
    }

    fn refuse(&self, request: &ClientRequest) -> Option<ErrorData> {
        match (&self.speaks, request) {
            (Speaks::Both(_), _)
            | (_, ClientRequest::InitializeRequest(_) | ClientRequest::PingRequest(_)) => None,
            (Speaks::InitializeOnly, ClientRequest::DiscoverRequest(_)) => Some(ErrorData::new(
                ErrorCode::METHOD_NOT_FOUND,
                "server/discover is not served over HTTP+SSE; call initialize, or use /mcp",
                None,
            )),
            (Speaks::InitializeOnly, _) if !self.is_open => Some(ErrorData::invalid_request(
                "the session is not open yet; call initialize first",
                None,
            )),
            (Speaks::InitializeOnly, _) => None,
        }
    }

    fn opens(&self, request: &ClientRequest) -> bool {
        match (&self.speaks, request) {
            (_, ClientRequest::InitializeRequest(_)) => true,
            (_, ClientRequest::PingRequest(_) | ClientRequest::DiscoverRequest(_))
            | (Speaks::InitializeOnly, _) => false,
            (Speaks::Both(versions), request) => {
                let meta = request.get_meta();
                meta.missing_required_keys(&ProtocolVersion::V_2026_07_28).is_empty()
                    && meta.protocol_version().is_some_and(|it| versions.contains(&it))
            }
        }
    }
}
