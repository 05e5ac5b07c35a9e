//! One session: a handler between what is posted and what is streamed.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::{StreamExt as _, stream::BoxStream};
use parking_lot::Mutex;
use rmcp::{
    ServerHandler, ServiceExt as _,
    model::{ClientJsonRpcMessage, GetExtensions as _, ServerJsonRpcMessage},
};
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time,
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{CancellationToken, DropGuard, PollSender};
use uuid::Uuid;

use crate::{
    model::Identity,
    transport::{
        flow::Places,
        lifecycle::{Lifecycle, Speaks, Verdict},
    },
};

/// How many messages wait at most, each way.
const QUEUE_MAX: usize = 64;

/// The sessions that are open.
#[derive(Clone, Debug, Default)]
pub(super) struct Sessions {
    /// Guards the table for the length of one look-up or change; several connections use it.
    table: Arc<Mutex<BTreeMap<String, Ends>>>,
}

/// A session that was just opened.
pub(super) struct Opened {
    /// For the handler.
    pub(super) wires: Wires,
    /// What the handler says.
    pub(super) said: mpsc::Receiver<ServerJsonRpcMessage>,
    /// To be kept as long as the client listens.
    pub(super) membership: Membership,
}

/// The handler's ends of a session's queues.
pub(super) struct Wires {
    posted: mpsc::Receiver<ClientJsonRpcMessage>,
    said: mpsc::Sender<ServerJsonRpcMessage>,
}

/// A place in the table; dropping it ends the session.
#[derive(Debug)]
pub(super) struct Membership {
    id: String,
    sessions: Sessions,
    _place: OwnedSemaphorePermit,
    _session: DropGuard,
}

/// What became of a posted message.
#[derive(Debug)]
pub(super) enum Posted {
    /// The handler will see it.
    Taken,
    /// There is no such session, or no longer.
    Unknown,
    /// The session has no room for it, since the client does not read its answers.
    Stuck,
}

#[derive(Clone, Debug)]
struct Ends {
    /// Who opened the session, where callers are told apart.
    owner: Option<Identity>,
    posted: mpsc::Sender<ClientJsonRpcMessage>,
    /// Weak, so that the stream ends when the handler does.
    said: mpsc::WeakSender<ServerJsonRpcMessage>,
}

impl Sessions {
    /// Opens a session of `owner` in a `place` of its own; dropping its membership cancels `token`.
    pub(super) fn open(
        &self,
        place: OwnedSemaphorePermit,
        owner: Option<Identity>,
        token: &CancellationToken,
    ) -> Opened {
        let (posted_sender, posted) = mpsc::channel(QUEUE_MAX);
        let (said_sender, said) = mpsc::channel(QUEUE_MAX);
        let id = Uuid::new_v4().simple().to_string();
        let ends = Ends { owner, posted: posted_sender, said: said_sender.downgrade() };
        self.table.lock().insert(id.clone(), ends);
        let membership = Membership {
            id,
            sessions: self.clone(),
            _place: place,
            _session: token.clone().drop_guard(),
        };
        Opened { wires: Wires { posted, said: said_sender }, said, membership }
    }

    /// Passes a message of `caller` to the handler of their session `id`.
    pub(super) async fn post(
        &self,
        id: &str,
        caller: Option<&Identity>,
        mut message: ClientJsonRpcMessage,
        timeout: Duration,
    ) -> Posted {
        let ends = self.table.lock().get(id).cloned();
        let Some(ends) = ends.filter(|it| it.owner.as_ref() == caller) else {
            return Posted::Unknown;
        };
        if let Some(caller) = caller {
            sign(&mut message, caller);
        }
        time::timeout(timeout, ends.post(message)).await.unwrap_or(Posted::Stuck)
    }
}

impl Ends {
    /// Waits for room in both queues: who does not read the answers may not ask for more.
    async fn post(self, message: ClientJsonRpcMessage) -> Posted {
        let Some(said) = self.said.upgrade() else { return Posted::Unknown };
        if said.reserve().await.is_err() || self.posted.send(message).await.is_err() {
            return Posted::Unknown;
        }
        Posted::Taken
    }
}

impl Membership {
    /// The session's unguessable name.
    pub(super) fn id(&self) -> &str {
        &self.id
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.sessions.table.lock().remove(&self.id);
    }
}

/// Tells the handler who sent a message.
fn sign(message: &mut ClientJsonRpcMessage, caller: &Identity) {
    let extensions = match message {
        ClientJsonRpcMessage::Request(it) => it.request.extensions_mut(),
        ClientJsonRpcMessage::Notification(it) => it.notification.extensions_mut(),
        ClientJsonRpcMessage::Response(_) | ClientJsonRpcMessage::Error(_) => return,
    };
    extensions.insert(caller.clone());
}

/// Runs a session until `token` is cancelled, or the handshake fails. At `shutdown` it hears no
/// more, and requests that run get 5 s.
pub(super) async fn run<H: ServerHandler>(
    handler: H,
    wires: Wires,
    shutdown: CancellationToken,
    token: CancellationToken,
) {
    let Wires { posted, said } = wires;
    let messages = admitted(posted, said.downgrade());
    let messages = messages.take_until(shutdown.cancelled_owned()).boxed();
    let opened = handler.serve_with_ct((PollSender::new(said), messages), token);
    match opened.await {
        Ok(session) => {
            if let Err(error) = session.waiting().await {
                tracing::error!(%error, "session broke off");
            }
        }
        Err(error) => tracing::debug!(%error, "session not opened"),
    }
}

/// The messages that may reach rmcp; the others are answered here.
fn admitted(
    posted: mpsc::Receiver<ClientJsonRpcMessage>,
    said: mpsc::WeakSender<ServerJsonRpcMessage>,
) -> BoxStream<'static, ClientJsonRpcMessage> {
    let (mut lifecycle, places) = (Lifecycle::new(Speaks::InitializeOnly), Places::default());
    let messages = ReceiverStream::new(posted).filter_map(move |message| {
        let (verdict, said) = (lifecycle.judge(&message), said.clone());
        let places = places.clone();
        async move {
            let answer = match verdict {
                Verdict::Admit => match places.admit(message).await {
                    Ok(message) => return Some(message),
                    Err(rejection) => rejection.to_message(),
                },
                Verdict::Ignore => {
                    tracing::debug!("message before the session dropped");
                    return None;
                }
                Verdict::Refuse(answer) => *answer,
            };
            if said.upgrade()?.send(answer).await.is_err() {
                tracing::debug!("nobody listens to the answer");
            }
            None
        }
    });
    messages.boxed()
}
