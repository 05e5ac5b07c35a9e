//! Accepts connections and speaks HTTP/1.1 on them, over TLS if there is a certificate, with the
//! timeouts that `axum::serve` lacks.

use std::{fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time,
};
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::{HttpOptions, Load, Tls};
use crate::transport::guard::Guarded;

/// How long connections get to close once their streams were ended.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long nothing is accepted after the system refused to (no descriptors left, for one).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The longest head of a request, in bytes, and how much of a body is read at once.
const READ_BYTES: usize = 64 * 1024;

/// Listens on `address`. As many connections may wait to be accepted as are served at once, as far
/// as the system lets them: one that finds the queue full is tried again after a second, then two,
/// then four.
pub(super) fn listen(address: SocketAddr, connections_max: usize) -> io::Result<TcpListener> {
    let socket = if address.is_ipv6() { TcpSocket::new_v6() } else { TcpSocket::new_v4() }?;
    // Else a server could not be started again while connections of the last one fade away.
    // Elsewhere the option would let two servers share the address.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(u32::try_from(connections_max).unwrap_or(u32::MAX))
}

/// The accept loop.
#[derive(Debug)]
pub(super) struct Acceptor {
    listener: TcpListener,
    places: Arc<Semaphore>,
    load: Load,
    speaker: Speaker,
}

/// How connections are spoken on.
#[derive(Clone)]
struct Speaker {
    tls: Option<TlsAcceptor>,
    header_timeout: Duration,
    write_timeout: Duration,
}

impl Acceptor {
    /// Prepares to accept from `listener`.
    pub(super) fn new(listener: TcpListener, options: &HttpOptions) -> Self {
        let places = Arc::new(Semaphore::new(options.connections_max.max(1)));
        let tls = options.tls.as_ref().map(Tls::acceptor);
        let HttpOptions { header_timeout, write_timeout, .. } = *options;
        let speaker = Speaker { tls, header_timeout, write_timeout };
        Self { listener, places, load: options.load.clone(), speaker }
    }

    /// Accepts until `shutdown`; hands out the connections that are still open then.
    pub(super) async fn run(self, app: &Guarded, shutdown: &CancellationToken) -> JoinSet<()> {
        let mut connections = JoinSet::new();
        loop {
            self.load.set_connections(connections.len());
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
                        let served = self.speaker.clone().serve(stream, app, shutdown);
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

impl Speaker {
    async fn serve(self, stream: TcpStream, app: Guarded, shutdown: CancellationToken) {
        let header_timeout = self.header_timeout;
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(self.write_timeout));
        let stream = Box::pin(stream);
        let Some(tls) = &self.tls else {
            return serve(stream, app, header_timeout, shutdown).await;
        };
        let greeted = time::timeout(header_timeout, tls.accept(stream));
        let greeted = tokio::select! {
            greeted = greeted => greeted,
            () = shutdown.cancelled() => return,
        };
        match greeted {
            Ok(Ok(stream)) => Box::pin(serve(stream, app, header_timeout, shutdown)).await,
            Ok(Err(error)) => tracing::debug!(%error, "no TLS on a connection"),
            Err(_) => tracing::debug!("TLS was not agreed on in time"),
        }
    }
}

/// Speaks HTTP/1.1 on one connection until its end.
pub(super) async fn serve<S>(
    stream: S,
    app: Guarded,
    header_timeout: Duration,
    shutdown: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_buf_size(READ_BYTES)
        .serve_connection(TokioIo::new(stream), app);
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

impl fmt::Debug for Speaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_encrypted = self.tls.is_some();
        f.debug_struct("Speaker").field("is_encrypted", &is_encrypted).finish_non_exhaustive()
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::TcpStream as Client;

    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    use super::*;

    /// More than a listener of tokio's own would keep.
    const RUSH: usize = 1_500;

    #[tokio::test]
    async fn a_rush_of_connections_waits_in_the_queue() {
        let maximum = getrlimit(Resource::Nofile).maximum;
        setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
        let listener = listen("127.0.0.1:0".parse().unwrap(), 4_096).unwrap();
        let address = listener.local_addr().unwrap();
        let patience = Duration::from_millis(900);
        let clients = (0..RUSH).map(|_| Client::connect_timeout(&address, patience));
        assert_eq!(clients.map_while(Result::ok).collect::<Vec<_>>().len(), RUSH);
    }
}
