//! Schedules a graph of agent tasks, proxies the agents' work to MCP servers, and keeps a trace.
//!
//! The rooms, from the ground up: [`model`] names things, [`plan`] checks and orders them,
//! [`scheduler`] decides what happens next, [`ports`] are the edges.

pub mod model;
pub mod plan;
pub mod ports;
pub mod scheduler;
