//! The event stream of one session.

use std::{convert::Infallible, time::Duration};

use futures::{Stream, stream};
use hyper::body::Bytes;
use rmcp::model::ServerJsonRpcMessage;
use tokio::{sync::mpsc, time};

use super::session::Membership;

/// What a client sees as a sign of life and otherwise ignores.
const COMMENT: &[u8] = b": keep-alive\n\n";

struct State {
    said: mpsc::Receiver<ServerJsonRpcMessage>,
    _membership: Membership,
    keep_alive: Duration,
    /// The first event, until it is sent.
    greeting: Option<Bytes>,
}

/// Tells the client where to post, and then all that is `said`, until nobody says more.
pub(super) fn events(
    said: mpsc::Receiver<ServerJsonRpcMessage>,
    membership: Membership,
    post_path: &str,
    keep_alive: Duration,
) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static {
    let address = format!("{post_path}?session_id={}", membership.id());
    let greeting = Some(event("endpoint", address.as_bytes()));
    let state = State { said, _membership: membership, keep_alive, greeting };
    stream::unfold(state, |mut state| async move {
        let event = state.next().await?;
        Some((Ok(event), state))
    })
}

impl State {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(greeting) = self.greeting.take() {
            return Some(greeting);
        }
        match time::timeout(self.keep_alive, self.said.recv()).await {
            Ok(message) => message.map(|it| write(&it)),
            Err(_) => Some(Bytes::from_static(COMMENT)),
        }
    }
}

fn write(message: &ServerJsonRpcMessage) -> Bytes {
    match serde_json::to_vec(message) {
        Ok(json) => event("message", &json),
        Err(error) => {
            tracing::error!(%error, "message could not be written");
            Bytes::from_static(COMMENT)
        }
    }
}

/// One event; `data` must have no line break, and JSON has none.
fn event(name: &str, data: &[u8]) -> Bytes {
    let mut event = Vec::with_capacity(name.len() + data.len() + 16);
    for part in [b"event: ", name.as_bytes(), b"\ndata: ", data, b"\n\n"] {
        event.extend_from_slice(part);
    }
    Bytes::from(event)
}
