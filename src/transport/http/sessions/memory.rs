//! What a session's handler was told that another one must be told before it can take its place.

use std::collections::BTreeMap;

use rmcp::{
    model::{ClientJsonRpcMessage, ClientRequest, GetExtensions as _},
    transport::streamable_http_server::session::local::{LocalSessionHandle, SessionError},
};
use thiserror::Error;

use crate::model::{Identity, MadeAgain};

/// How many messages are kept of one session. Who has more to say stays awake.
const MESSAGES_MAX: usize = 32;
/// How long they may be together, in bytes.
const BYTES_MAX: usize = 8 * 1024;

/// The messages of one session that leave something in its handler, in JSON.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    /// The client's `initialize`; empty before that was answered.
    hello: Box<[u8]>,
    said: BTreeMap<Topic, Box<[u8]>>,
    /// Whether something was not kept.
    has_gaps: bool,
}

/// What a message is about; a later one about the same takes its place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Topic {
    /// `logging/setLevel`.
    LogLevel,
    /// `resources/list`, by which a client shows that it wants to hear when the list changes.
    Resources,
    /// `resources/subscribe`, of this address.
    Subscription(String),
}

/// Why a handler could not be told.
#[derive(Debug, Error)]
pub(super) enum NotTold {
    /// What was kept is no message.
    #[error("what was kept of the session cannot be read: {0}")]
    Kept(#[from] serde_json::Error),
    /// The handler or its worker is gone.
    #[error(transparent)]
    Session(#[from] SessionError),
}

impl Memory {
    /// Keeps the client's `initialize`.
    pub(super) fn greet(&mut self, hello: Vec<u8>) {
        self.hello = hello.into();
    }

    /// Whether another handler can be told all that this one was.
    pub(super) fn is_whole(&self) -> bool {
        !self.hello.is_empty() && !self.has_gaps
    }

    /// Keeps a message if it leaves something in the handler.
    pub(super) fn note(&mut self, message: &ClientJsonRpcMessage) {
        let ClientJsonRpcMessage::Request(request) = message else { return };
        if let ClientRequest::UnsubscribeRequest(it) = &request.request {
            self.said.remove(&Topic::Subscription(it.params.uri.clone()));
        }
        if let Some(topic) = Topic::of(&request.request) {
            self.keep(topic, serde_json::to_vec(message).unwrap_or_default());
        }
    }

    fn keep(&mut self, topic: Topic, message: Vec<u8>) {
        if self.has_gaps {
            return;
        }
        self.said.insert(topic, message.into());
        let n_bytes: usize = self.said.values().map(|it| it.len()).sum();
        if self.said.len() > MESSAGES_MAX || n_bytes > BYTES_MAX {
            self.has_gaps = true;
            self.said.clear();
        }
    }

    /// Tells all of it to a new handler, as said by `owner`, and hears its answers.
    pub(super) async fn tell(
        &self,
        handle: &LocalSessionHandle,
        owner: Option<&Identity>,
    ) -> Result<(), NotTold> {
        handle.initialize(read(&self.hello, owner)?).await?;
        for said in self.said.values() {
            let mut answers = handle.establish_request_wise_channel().await?;
            handle.push_message(read(said, owner)?, answers.http_request_id).await?;
            while answers.inner.recv().await.is_some() {}
        }
        Ok(())
    }
}

impl Topic {
    fn of(request: &ClientRequest) -> Option<Self> {
        if let ClientRequest::SubscribeRequest(it) = request {
            return Some(Self::Subscription(it.params.uri.clone()));
        }
        if matches!(request, ClientRequest::SetLevelRequest(_)) {
            return Some(Self::LogLevel);
        }
        matches!(request, ClientRequest::ListResourcesRequest(_)).then_some(Self::Resources)
    }
}

fn read(json: &[u8], owner: Option<&Identity>) -> Result<ClientJsonRpcMessage, serde_json::Error> {
    let mut message: ClientJsonRpcMessage = serde_json::from_slice(json)?;
    if let ClientJsonRpcMessage::Request(it) = &mut message {
        let extensions = it.request.extensions_mut();
        extensions.insert(MadeAgain);
        if let Some(owner) = owner {
            extensions.insert(owner.clone());
        }
    }
    Ok(message)
}
