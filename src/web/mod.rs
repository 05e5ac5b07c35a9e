//! The HTTP face beside MCP: what monitors read.

mod health;

pub use health::{UpstreamStates, router};
