//! Schedules a graph of agent tasks, proxies the agents' work to MCP servers, and keeps a trace.
//!
//! The rooms, from the ground up: [`model`] names things.

pub mod model;
