//! The embedded Archon: an MCP server in this process, for those who run none.
//!
//! It offers the two agents under their own names, so that it is bound like any upstream that has
//! them. It reads and writes beneath the workspaces only, asks nothing outside, and says of each
//! answer that it was made by rules: what it writes is a scaffold, what it finds is read from
//! files and traces.

mod coder;
mod debug;
mod error;
mod python;
mod server;
#[cfg(test)]
mod tests;
mod tools;

pub use error::ArchonError;
pub use server::EmbeddedArchon;
