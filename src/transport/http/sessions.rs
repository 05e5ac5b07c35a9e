//! Sessions on `/mcp`: rmcp's own, with a cap on their number and a truer notion of idleness.

use std::{collections::BTreeMap, time::Duration};

use futures::{Stream, StreamExt as _, future, stream};
use parking_lot::Mutex as SyncMutex;
use rmcp::{
    model::{ClientJsonRpcMessage, ServerJsonRpcMessage},
    transport::streamable_http_server::session::{
        ServerSseMessage, SessionId, SessionManager,
        local::{LocalSessionHandle, LocalSessionManager, LocalSessionManagerError, SessionConfig},
    },
};
use thiserror::Error;
use tokio::{sync::Mutex, time};

use crate::model::Identity;

/// Sessions in this process's memory.
#[derive(Debug)]
pub(super) struct Sessions {
    inner: LocalSessionManager,
    n_max: usize,
    idle: Duration,
    /// Guards the step from counting the sessions to adding one.
    adding: Mutex<()>,
    /// Guards the table of whose the sessions are, where callers are told apart, for the length of
    /// one look-up or change.
    owners: SyncMutex<BTreeMap<SessionId, Identity>>,
}

/// Why a session could not be used.
#[derive(Debug, Error)]
pub(super) enum SessionsError {
    /// There are as many as there may be.
    #[error("there are {0} sessions already")]
    Full(usize),
    /// rmcp says so.
    #[error(transparent)]
    Inner(#[from] LocalSessionManagerError),
}

impl Sessions {
    /// Allows `n_max` sessions, and ends each that was `idle` for so long.
    pub(super) fn new(n_max: usize, idle: Duration) -> Self {
        let mut config = SessionConfig::default();
        config.keep_alive = Some(idle);
        let mut inner = LocalSessionManager::default();
        inner.session_config = config;
        Self { inner, n_max, idle, adding: Mutex::new(()), owners: SyncMutex::default() }
    }

    /// Whether there are as many sessions as there may be.
    pub(super) async fn is_full(&self) -> bool {
        self.inner.sessions.read().await.len() >= self.n_max
    }

    /// Notes that a session was opened by `caller`, if it is still there.
    pub(super) async fn claim(&self, id: SessionId, caller: Identity) {
        // As long as this is held, the session cannot go, and its owner is removed after it.
        let sessions = self.inner.sessions.read().await;
        if sessions.contains_key(&id) {
            self.owners.lock().insert(id, caller);
        }
    }

    /// Whether `caller` may use the session, if there is one.
    pub(super) fn is_of(&self, id: &str, caller: Option<&Identity>) -> bool {
        self.owners.lock().get(id) == caller
    }

    async fn handle(&self, id: &SessionId) -> Option<LocalSessionHandle> {
        self.inner.sessions.read().await.get(id).cloned()
    }

    /// Keeps the session of `id` awake for as long as the stream is read.
    ///
    /// rmcp counts a session as idle while a call runs in it that says nothing, and would end both.
    async fn keep_awake<S>(
        &self,
        id: &SessionId,
        events: S,
    ) -> impl Stream<Item = ServerSseMessage> + Send + Sync + 'static + use<S>
    where
        S: Stream<Item = ServerSseMessage> + Send + Sync + 'static,
    {
        let beats = stream::unfold((self.handle(id).await, self.idle / 3), beat);
        let events = events.map(Some).chain(stream::once(future::ready(None)));
        // `Some(None)` is a beat, `None` the end of the events.
        stream::select(events.map(|it| it.map(Some)), beats.map(|()| Some(None)))
            .take_while(|it| future::ready(it.is_some()))
            .filter_map(|it| future::ready(it.flatten()))
    }
}

impl SessionManager for Sessions {
    type Error = SessionsError;
    type Transport = <LocalSessionManager as SessionManager>::Transport;

    async fn create_session(&self) -> Result<(SessionId, Self::Transport), SessionsError> {
        let _adding = self.adding.lock().await;
        if self.is_full().await {
            return Err(SessionsError::Full(self.n_max));
        }
        Ok(self.inner.create_session().await?)
    }

    async fn initialize_session(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<ServerJsonRpcMessage, SessionsError> {
        Ok(self.inner.initialize_session(id, message).await?)
    }

    async fn has_session(&self, id: &SessionId) -> Result<bool, SessionsError> {
        Ok(self.inner.has_session(id).await?)
    }

    async fn close_session(&self, id: &SessionId) -> Result<(), SessionsError> {
        let closed = self.inner.close_session(id).await;
        self.owners.lock().remove(id);
        Ok(closed?)
    }

    async fn create_stream(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, SessionsError> {
        let events = self.inner.create_stream(id, message).await?;
        Ok(self.keep_awake(id, events).await)
    }

    async fn accept_message(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<(), SessionsError> {
        Ok(self.inner.accept_message(id, message).await?)
    }

    async fn create_standalone_stream(
        &self,
        id: &SessionId,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, SessionsError> {
        let events = self.inner.create_standalone_stream(id).await?;
        Ok(self.keep_awake(id, events).await)
    }

    async fn resume(
        &self,
        id: &SessionId,
        last_event_id: String,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, SessionsError> {
        let events = self.inner.resume(id, last_event_id).await?;
        Ok(self.keep_awake(id, events).await)
    }
}

/// Waits, and then does something in the session that has no effect but to count as a sign of life:
/// it closes a channel that cannot exist.
async fn beat(
    (session, pause): (Option<LocalSessionHandle>, Duration),
) -> Option<((), (Option<LocalSessionHandle>, Duration))> {
    let session = session?;
    time::sleep(pause).await;
    session.close_request_wise_channel(u64::MAX).await.ok()?;
    Some(((), (Some(session), pause)))
}
