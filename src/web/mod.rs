//! The HTTP face beside MCP: what monitors read.

mod health;
mod metrics;
mod monitor;

pub use monitor::{Crowd, Monitored, StoreStanding, router};
