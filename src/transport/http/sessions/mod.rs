//! Sessions on `/mcp`: rmcp's, with a cap on their number; those that do nothing sleep.
//!
//! A handler and rmcp's worker with their queues cost some 100 kB a session. Of the sessions that
//! do nothing, only so many stay awake; of the others there is only what a new handler must hear
//! to take the old one's place, when the client comes back. The client notices nothing.
//!
//! Promises: no session sleeps while its client listens, a request runs, or the handler says that
//! it has something to do for it ([`KeepAwake`](crate::model::KeepAwake)); who comes while it is
//! put to sleep, or woken, waits for that and is served.

mod memory;
mod table;
#[cfg(test)]
mod tests;
mod visit;
mod wake;

use std::{sync::Arc, time::Duration};

use futures::Stream;
use rmcp::{
    ServerHandler,
    model::{ClientJsonRpcMessage, GetExtensions as _, ServerJsonRpcMessage},
    transport::{
        WorkerTransport,
        streamable_http_server::session::{
            ServerSseMessage, SessionId, SessionManager,
            local::{EventIdParseError, LocalSessionHandle, LocalSessionWorker, SessionError},
        },
    },
};
use thiserror::Error;
use tokio::time::{self, Instant};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use uuid::Uuid;

pub(super) use self::visit::Visit;
use self::{
    table::{Limits, SharedTable, Stir},
    wake::Alarm,
};
use super::HttpOptions;
use crate::model::Identity;

/// How long a request waits for its session. To end a handler takes 5 s at most, to start one too.
const WAIT_MAX: Duration = Duration::from_secs(12);

/// Sessions in this process's memory.
pub(super) struct Sessions {
    table: SharedTable,
    alarm: Alarm,
    n_max: usize,
    _expiry: AbortOnDropHandle<()>,
}

/// What a visitor wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To use the session.
    Use,
    /// To end it.
    End,
}

/// Whether a visitor is let in.
#[derive(Debug)]
pub(super) enum Admitted {
    /// The session is there, for as long as the visit.
    Yes(Visit),
    /// They have no such session.
    Unknown,
    /// It is there, and not to be had now.
    Late,
}

/// Why a session could not be used.
#[derive(Debug, Error)]
pub(super) enum SessionsError {
    /// There are as many as there may be.
    #[error("there are {0} sessions already")]
    Full(usize),
    /// There is no such session, or it sleeps.
    #[error("there is no such session")]
    Unknown,
    /// rmcp says so.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// What is to be resumed is not named as it should be.
    #[error(transparent)]
    EventId(#[from] EventIdParseError),
}

impl Sessions {
    /// Keeps sessions within the options' limits. Those that are woken get a handler of
    /// `new_handler`, which ends at `ending`.
    pub(super) fn new<H, F>(
        new_handler: Arc<F>,
        options: &HttpOptions,
        ending: CancellationToken,
    ) -> Self
    where
        H: ServerHandler,
        F: Fn() -> H + Send + Sync + 'static,
    {
        let limits = Limits {
            n_sessions: options.sessions_max,
            n_awake: options.sessions_awake_max,
            idle: options.session_idle,
        };
        let table = SharedTable::new(limits, options.load.clone());
        let alarm = Alarm::new(table.clone(), new_handler, ending);
        let expiry = tokio::spawn(expire(table.clone()));
        Self { table, alarm, n_max: limits.n_sessions, _expiry: AbortOnDropHandle::new(expiry) }
    }

    /// Whether one more finds room.
    pub(super) fn has_room(&self) -> bool {
        self.table.with(|it| it.has_room(Instant::now()))
    }

    /// Lets `caller` into their session, which is awake then if they want to use it.
    pub(super) async fn visit(
        &self,
        id: &str,
        caller: Option<&Identity>,
        purpose: Purpose,
    ) -> Admitted {
        // From here on it cannot fall asleep again.
        let Some(id) = self.table.with(|it| it.visit(id, caller)) else { return Admitted::Unknown };
        let visit = Visit::counted(self.table.clone(), id);
        let is_there = match purpose {
            Purpose::Use => time::timeout(WAIT_MAX, self.stir(visit.id())).await,
            Purpose::End => time::timeout(WAIT_MAX, self.rest(visit.id())).await,
        };
        match is_there {
            Ok(true) => Admitted::Yes(visit),
            Ok(false) => Admitted::Unknown,
            Err(_) => Admitted::Late,
        }
    }

    /// Waits until the session is awake; answers whether it is.
    async fn stir(&self, id: &SessionId) -> bool {
        loop {
            let done = match self.table.with(|it| it.stir(id)) {
                Stir::Ready => return true,
                Stir::Gone => return false,
                Stir::Wait(done) => done,
                Stir::Wake(sleeper) => {
                    let done = sleeper.done.clone();
                    self.alarm.wake(Arc::clone(id), sleeper);
                    done
                }
            };
            done.cancelled().await;
        }
    }

    /// Waits until the session is awake or asleep.
    async fn rest(&self, id: &SessionId) -> bool {
        loop {
            let Some(done) = self.table.with(|it| it.unrest(id)) else { return true };
            done.cancelled().await;
        }
    }

    fn handle(&self, id: &SessionId) -> Result<LocalSessionHandle, SessionsError> {
        self.table.with(|it| it.handle(id)).ok_or(SessionsError::Unknown)
    }
}

/// Ends the sessions that were left alone for too long.
async fn expire(table: SharedTable) {
    loop {
        let next = table.with(|it| it.expire(Instant::now()));
        time::sleep_until(next).await;
    }
}

impl SessionManager for Sessions {
    type Error = SessionsError;
    type Transport = WorkerTransport<LocalSessionWorker>;

    async fn create_session(&self) -> Result<(SessionId, Self::Transport), SessionsError> {
        let id: SessionId = Uuid::new_v4().to_string().into();
        let (worker, transport) = wake::start_worker(&id);
        if !self.table.with(|it| it.open(&id, worker, Instant::now())) {
            return Err(SessionsError::Full(self.n_max));
        }
        Ok((id, transport))
    }

    async fn initialize_session(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<ServerJsonRpcMessage, SessionsError> {
        let (owner, hello) = (owner(&message), serde_json::to_vec(&message).unwrap_or_default());
        let answer = self.handle(id)?.initialize(message).await?;
        self.table.with(|it| it.opened(id, owner, hello));
        Ok(answer)
    }

    async fn has_session(&self, id: &SessionId) -> Result<bool, SessionsError> {
        Ok(self.table.with(|it| it.handle(id)).is_some())
    }

    /// Called when a client ends its session, and when a handler that rmcp started has ended.
    async fn close_session(&self, id: &SessionId) -> Result<(), SessionsError> {
        self.table.with(|it| it.end(id));
        Ok(())
    }

    async fn create_stream(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, SessionsError> {
        let handle = self.handle(id)?;
        self.table.with(|it| it.note(id, &message));
        let events = handle.establish_request_wise_channel().await?;
        handle.push_message(message, events.http_request_id).await?;
        Ok(ReceiverStream::new(events.inner))
    }

    async fn accept_message(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<(), SessionsError> {
        Ok(self.handle(id)?.push_message(message, None).await?)
    }

    async fn create_standalone_stream(
        &self,
        id: &SessionId,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, SessionsError> {
        let events = self.handle(id)?.establish_common_channel().await?;
        Ok(ReceiverStream::new(events.inner))
    }

    async fn resume(
        &self,
        id: &SessionId,
        last_event_id: String,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, SessionsError> {
        let last = last_event_id.parse()?;
        let events = self.handle(id)?.resume(last).await?;
        Ok(ReceiverStream::new(events.inner))
    }
}

/// Who says a message, where callers are told apart. rmcp puts what is left of the HTTP request
/// there, and the guard has put the caller into that.
fn owner(message: &ClientJsonRpcMessage) -> Option<Identity> {
    let ClientJsonRpcMessage::Request(request) = message else { return None };
    let parts = request.request.extensions().get::<axum::http::request::Parts>()?;
    parts.extensions.get().cloned()
}
