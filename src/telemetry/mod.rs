//! Logs: one line an entry, to standard error or a file, never to standard output.
//!
//! Text of strangers may stand in an entry, so control, bidirectional and zero-width characters
//! are escaped on the way out, and no entry can look like two.

mod init;
mod writer;

pub use init::{TelemetryError, init};
