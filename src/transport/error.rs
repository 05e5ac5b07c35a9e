//! What can keep a transport from serving.

use std::{io, net::SocketAddr};

use rmcp::service::ServerInitializeError;
use thiserror::Error;
use tokio::task::JoinError;

/// Why a transport could not serve, or stopped serving.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The address can be reached from other machines, and there is nothing to tell callers apart.
    #[error(
        "{address}: an address that other machines reach is served only if callers must show a \
         token: set server.tokens or server.oauth, or use 127.0.0.1:{}", address.port()
    )]
    NotLoopback {
        /// The address asked for.
        address: SocketAddr,
    },
    /// The address could not be bound.
    #[error("{address}: failed to listen: {source}")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The session could not be opened.
    #[error("failed to open the session: {0}")]
    Open(#[from] Box<ServerInitializeError>),
    /// The session's task panicked or was stopped from outside.
    #[error("the session broke off: {0}")]
    Broken(#[from] JoinError),
}
