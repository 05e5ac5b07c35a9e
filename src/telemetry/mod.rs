//! What the program tells of itself: logs, counts, traces.
//!
//! Logs are one line an entry, to standard error or a file, never to standard output. Text of
//! strangers may stand in an entry, so control, bidirectional and zero-width characters are escaped
//! on the way out, and no entry can look like two. Counts and traces have names and numbers only.

mod init;
mod metrics;
mod named;
mod otlp;
mod process;
mod watched;
mod writer;

pub use init::{TelemetryError, check, init};
pub use metrics::Metrics;
pub use otlp::{Exporter, Known, look};
