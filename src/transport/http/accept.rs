//! Accepts connections and speaks HTTP/1.1 on them, with the timeouts that `axum::serve` lacks.

use std::{io, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time,
};
use tokio_util::sync::CancellationToken;

use super::HttpOptions;

/// How long connections get to close once their streams were ended.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long nothing is accepted after the system refused to (no descriptors left, for one).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The longest head of a request, in bytes, and how much of a body is read at once.
const READ_BYTES: usize = 64 * 1024;

/// The accept loop.
#[derive(Debug)]
pub(super) struct Acceptor {
    listener: TcpListener,
    places: Arc<Semaphore>,
    header_timeout: Duration,
}

impl Acceptor {
    /// Prepares to accept from `listener`.
    pub(super) fn new(listener: TcpListener, options: &HttpOptions) -> Self {
        let places = Arc::new(Semaphore::new(options.connections_max.max(1)));
        Self { listener, places, header_timeout: options.header_timeout }
    }

    /// Accepts until `shutdown`; hands out the connections that are still open then.
    pub(super) async fn run(self, app: &Router, shutdown: &CancellationToken) -> JoinSet<()> {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return connections,
                Some(ended) = connections.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "connection broke off");
                    }
                }
                accepted = self.accept() => match accepted {
                    Ok((stream, place)) => {
                        let (app, shutdown) = (app.clone(), shutdown.clone());
                        let served = serve(stream, app, self.header_timeout, shutdown);
                        connections.spawn(async move {
                            served.await;
                            drop(place);
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "failed to accept a connection");
                        time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        }
    }

    async fn accept(&self) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(io::Error::other)?;
        let (stream, _) = self.listener.accept().await?;
        // Without it, every event of a stream waits 40 ms for the acknowledgement of the last.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY not set");
        }
        Ok((stream, place))
    }
}

/// Speaks HTTP/1.1 on one connection until its end.
pub(super) async fn serve<S>(
    stream: S,
    app: Router,
    header_timeout: Duration,
    shutdown: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_buf_size(READ_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}
