//! How a session that sleeps gets a handler again.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use rmcp::{
    ServerHandler, ServiceExt as _,
    transport::{
        WorkerTransport,
        streamable_http_server::session::{
            SessionId,
            local::{LocalSessionWorker, SessionConfig, create_local_session},
        },
    },
};
use tokio::time;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::table::{SharedTable, Sleeper, Worker};

/// How long a handler may take until it has heard all that the one before it heard.
const WAKE_MAX: Duration = Duration::from_secs(5);

/// Runs a new handler on a session's worker until one of them ends.
type Start = dyn Fn(WorkerTransport<LocalSessionWorker>) -> BoxFuture<'static, ()> + Send + Sync;

/// Wakes sessions.
#[derive(Clone)]
pub(super) struct Alarm {
    table: SharedTable,
    start: Arc<Start>,
    running: TaskTracker,
}

impl Alarm {
    /// Makes handlers with `new_handler`; `ending` ends them.
    pub(super) fn new<H, F>(
        table: SharedTable,
        new_handler: Arc<F>,
        ending: CancellationToken,
    ) -> Self
    where
        H: ServerHandler,
        F: Fn() -> H + Send + Sync + 'static,
    {
        let start = move |worker| -> BoxFuture<'static, ()> {
            let service = new_handler().serve_with_ct(worker, ending.child_token());
            Box::pin(async move {
                match service.await {
                    Ok(session) => {
                        if let Err(error) = session.waiting().await {
                            tracing::error!(%error, "session broke off");
                        }
                    }
                    Err(error) => tracing::debug!(%error, "session not opened again"),
                }
            })
        };
        Self { table, start: Arc::new(start), running: TaskTracker::new() }
    }

    /// Wakes a session in a task of its own: whoever needs it may give up waiting.
    pub(super) fn wake(&self, id: SessionId, sleeper: Box<Sleeper>) {
        self.running.spawn(self.clone().run(id, sleeper));
    }

    async fn run(self, id: SessionId, sleeper: Box<Sleeper>) {
        let (worker, transport) = start_worker(&id);
        let (table, service, of) = (self.table.clone(), (self.start)(transport), Arc::clone(&id));
        self.running.spawn(async move {
            service.await;
            table.with(|it| it.end(&of));
        });
        let told = sleeper.memory.tell(&worker.handle, sleeper.owner.as_ref());
        match time::timeout(WAKE_MAX, told).await {
            Ok(Ok(())) => self.table.with(|it| it.woken(&id, worker)),
            failed => {
                tracing::warn!(?failed, "a session could not be woken");
                worker.stop.cancel();
                self.table.with(|it| it.end(&id));
            }
        }
        sleeper.done.cancel();
    }
}

/// Starts the worker of a session, and its end for a handler.
pub(super) fn start_worker(id: &SessionId) -> (Worker, WorkerTransport<LocalSessionWorker>) {
    let mut config = SessionConfig::default();
    // The table knows better who is idle: rmcp would end a call that says nothing for long.
    config.keep_alive = None;
    let (handle, worker) = create_local_session(Arc::clone(id), config);
    let stop = CancellationToken::new();
    let transport = WorkerTransport::spawn_with_ct(worker, stop.clone());
    (Worker { handle, stop }, transport)
}
