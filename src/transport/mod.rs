//! Carries MCP messages over stdio, streamable HTTP and legacy HTTP+SSE, for any server handler.
//!
//! ```text
//! stdin  ─ stdio ──┐ envelope: strict JSON, JSON-RPC shape
//! POST ─ guard ────┤ batch: several messages in one, where the revision has that
//!   /mcp           │ lifecycle: what may come before a session is open
//!   /sse /messages ┴─► rmcp service ─► handler
//! ```
//!
//! Promises: a message that cannot be served is answered with a JSON-RPC error, never with silence
//! or a closed connection; every HTTP route stands behind one guard; every queue, body and wait has
//! a limit that [`HttpOptions`] or a constant names.

mod access;
mod batch;
mod body;
mod call;
mod envelope;
mod error;
mod flow;
mod fuzzing;
mod guard;
mod http;
mod lifecycle;
mod scan;
mod sse;
mod stdio;

pub use access::{Access, BearerTokens, KeySource, KeysError, OAuth, OAuthOptions, TokenError};
pub use error::TransportError;
#[doc(hidden)]
pub use fuzzing::{fuzz_envelope, fuzz_headers, fuzz_http, fuzz_sessions};
pub use guard::Glimpse;
pub use http::{HttpOptions, HttpServer, Load, Tls, TlsError};
pub use stdio::{serve_lines, serve_stdio};

/// The longest message that is read, in bytes: a 4 MiB document and 64 KiB for what is around it.
pub const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024 + 64 * 1024;
