//! Serves one client over standard input and output, one message a line.

mod lines;
mod pipe;

use rmcp::{
    ServerHandler, ServiceExt as _,
    service::{QuitReason, ServerInitializeError},
    transport::{TransportAdapterIdentity, stdio_pipes},
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use self::pipe::Pipe;
use super::TransportError;

/// Serves `handler` on the program's standard streams until input ends or `shutdown` is cancelled.
///
/// The end of the input cancels `shutdown`, so that whoever waits can hear of it; a client that
/// leaves much unread then is waited for 5 s first. Either way requests that run get 5 s to answer
/// before they are cancelled. Nothing else may write to standard output meanwhile. Where standard
/// input is no pipe, a thread of the runtime may stay blocked in a read afterwards: shut the
/// runtime down without waiting for it.
pub async fn serve_stdio<H: ServerHandler>(
    handler: H,
    shutdown: CancellationToken,
) -> Result<(), TransportError> {
    let (reader, writer) = stdio_pipes();
    serve_lines(handler, reader, writer, shutdown).await
}

/// Serves `handler` on any two byte streams, as [`serve_stdio`] does on the standard ones.
pub async fn serve_lines<H, R, W>(
    handler: H,
    reader: R,
    writer: W,
    shutdown: CancellationToken,
) -> Result<(), TransportError>
where
    H: ServerHandler,
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    // At shutdown the input ends. A cancelled token would cancel the requests at once, which
    // handlers could not tell from a client that lost interest.
    let versions = handler.supported_protocol_versions();
    let pipe = Pipe::new(reader, writer, versions, shutdown);
    match handler.serve::<_, _, TransportAdapterIdentity>(pipe).await {
        Ok(session) => {
            if let QuitReason::JoinError(error) = session.waiting().await? {
                return Err(error.into());
            }
            Ok(())
        }
        Err(ServerInitializeError::ConnectionClosed(_) | ServerInitializeError::Cancelled) => {
            Ok(())
        }
        Err(error) => Err(Box::new(error).into()),
    }
}
