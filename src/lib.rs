//! Schedules a graph of agent tasks, proxies the agents' work to MCP servers, and keeps a trace.
//!
//! The rooms and who may import whom are described in `ARCHITECTURE.md` and checked by
//! `tests/tidy.rs`.

pub mod agents;
pub mod app;
pub mod archon;
pub mod cli;
pub mod config;
pub mod confine;
pub mod mcp;
pub mod model;
pub mod plan;
pub mod ports;
pub mod runtime;
pub mod scheduler;
pub mod sources;
pub mod stores;
pub mod telemetry;
pub mod traces;
pub mod transport;
pub mod upstream;
pub mod web;
