//! Clients of other MCP servers: one shared session each, with a deadline on everything.
//!
//! [`Upstream`] opens its session when it is first needed and opens another when the server has
//! forgotten it. One that fails again and again is left alone for a while, until a probe
//! succeeds. A call is sent a second time only if the first certainly never arrived. Whatever
//! the server does (hangs, floods, answers nonsense), only the call it does it to fails, in time
//! and with a typed cause.

mod archon;
mod breaker;
mod decode;
mod error;
mod fault;
mod frames;
mod fuzzing;
mod http;
mod later;
mod ledger;
mod link;
mod pool;
mod probe;
mod retry;
mod session;
mod settings;
mod sse;
mod stdio;
mod supply;
mod tools;

pub use archon::{Archon, ArchonChoice};
pub use decode::decode;
pub use error::UpstreamError;
#[doc(hidden)]
pub use fuzzing::fuzz_answers;
pub use pool::{CallMeta, CallOutcome, Upstream};
pub use probe::{Health, Presence, Probe};
pub use settings::{
    BreakerSettings, Connect, Era, MemoryLink, Retry, UpstreamSettings, UpstreamTransport,
    UrlError, normalise_url,
};
pub use supply::Supply;
pub use tools::{ToolFilter, ToolInfo};

#[cfg(test)]
mod later_tests;
#[cfg(test)]
mod limits_tests;
#[cfg(test)]
mod sse_tests;
#[cfg(test)]
mod stdio_tests;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
