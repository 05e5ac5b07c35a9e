//! Serves many clients over HTTP: `/mcp`, the legacy `/sse` and `/messages`, and routes of others.

mod accept;
mod batch;
mod load;
mod mcp;
mod options;
mod sessions;
mod tls;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::Router;
use rmcp::ServerHandler;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    time,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{accept::Acceptor, mcp::Mcp};
pub use self::{
    load::Load,
    options::HttpOptions,
    tls::{Tls, TlsError},
};
use super::{
    TransportError,
    guard::{Guard, Guarded},
    sse::Sse,
};

/// A bound HTTP server.
#[derive(Debug)]
pub struct HttpServer {
    listener: TcpListener,
    address: SocketAddr,
    options: HttpOptions,
}

impl HttpServer {
    /// Listens on `address`, which must be a loopback one unless callers must show who they are;
    /// port 0 lets the system choose.
    #[expect(clippy::unused_async, reason = "a listener belongs to the runtime that awaits it")]
    pub async fn bind(address: SocketAddr, options: HttpOptions) -> Result<Self, TransportError> {
        let is_local = address.ip().to_canonical().is_loopback();
        if !is_local && !options.access.is_restricted() {
            return Err(TransportError::NotLoopback { address });
        }
        if !is_local && options.tls.is_none() {
            tracing::warn!(%address, "tokens come unencrypted, unless a proxy does TLS");
        }
        let failed = |source| TransportError::Bind { address, source };
        let listener = accept::listen(address, options.connections_max).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address, options })
    }

    /// The address that is listened on.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` is cancelled; requests that run then get [`HttpOptions::grace`].
    ///
    /// `new_handler` makes one handler a session, or a request where the client has no session; it
    /// should be cheap. `extra` adds routes behind the same guard, which also gives their errors in
    /// plain text a JSON body; it must not have `/mcp`, `/sse` or `/messages`.
    pub async fn serve<H, F>(
        self,
        new_handler: F,
        extra: Router,
        shutdown: CancellationToken,
    ) -> Result<(), TransportError>
    where
        H: ServerHandler,
        F: Fn() -> H + Send + Sync + 'static,
    {
        let Self { listener, address, options } = self;
        let house = House::new(new_handler, extra, (address.ip(), &options), &shutdown);
        let House { routes, answers, sessions, ending, .. } = &house;
        let mut connections = Acceptor::new(listener, &options).run(routes, &shutdown).await;

        // Answers first; then the streams that would stay open for ever; then whoever is left.
        answers.close();
        let answered = async { tokio::join!(answers.wait(), sessions.wait()) };
        if time::timeout(options.grace, answered).await.is_err() {
            tracing::warn!("requests broken off by the shutdown");
        }
        ending.cancel();
        let closed = async {
            while connections.join_next().await.is_some() {}
            sessions.wait().await;
        };
        if time::timeout(accept::CLOSE_TIMEOUT, closed).await.is_err() {
            connections.shutdown().await;
        }
        Ok(())
    }
}

/// All that is served, on whatever connections it is asked for.
pub(super) struct House {
    routes: Guarded,
    /// The POSTs whose answers are not sent to their end.
    answers: TaskTracker,
    /// The sessions of the legacy transport.
    sessions: TaskTracker,
    /// Ends all sessions and streams.
    ending: CancellationToken,
    header_timeout: Duration,
}

impl House {
    /// Builds it for a server that is bound to an address. At `shutdown` legacy sessions hear no
    /// more.
    pub(super) fn new<H, F>(
        new_handler: F,
        extra: Router,
        (bound, options): (IpAddr, &HttpOptions),
        shutdown: &CancellationToken,
    ) -> Self
    where
        H: ServerHandler,
        F: Fn() -> H + Send + Sync + 'static,
    {
        let new_handler = Arc::new(new_handler);
        let (answers, ending) = (TaskTracker::new(), CancellationToken::new());
        let mcp = Mcp::new(Arc::clone(&new_handler), options, ending.clone());
        let sse = Sse::new(new_handler, options, shutdown.clone(), ending.clone());
        let sessions = sse.sessions();
        let paths = [mcp::PATH, super::sse::POST_PATH];
        let guard = Guard::new(bound, options, paths, answers.clone());
        let metadata = options.access.metadata().map(|it| it.routes()).unwrap_or_default();
        let routes = mcp.routes().merge(sse.routes()).merge(metadata).merge(extra);
        let routes = Guarded::new(guard, routes);
        Self { routes, answers, sessions, ending, header_timeout: options.header_timeout }
    }

    /// The routes behind the guard.
    pub(super) fn routes(self) -> Guarded {
        self.routes
    }

    /// Speaks on one connection until its end.
    pub(super) async fn serve<S>(&self, stream: S, shutdown: &CancellationToken)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let routes = self.routes.clone();
        accept::serve(stream, routes, self.header_timeout, shutdown.clone()).await;
    }
}
