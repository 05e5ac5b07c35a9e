//! The program as its users meet it: processes, sockets, files, and clients of every revision.
//!
//! An Archon that happens to run on this machine must not be reached: where a stand-in serves, the
//! environment names its address; where the embedded Archon is meant, the test first makes sure
//! that nothing listens on port 8051 and fails with that word if something does.

#![cfg(test)]
#![cfg(unix)]

mod access;
mod asking;
mod attacks;
mod budget;
mod claude;
mod client;
mod collector;
mod commands;
mod control;
mod crash;
mod evidence;
mod faces;
#[cfg(debug_assertions)]
mod failpoints;
mod inspector;
#[path = "../support/jwt.rs"]
mod jwt;
mod messages;
mod nesting;
#[path = "../support/node.rs"]
mod node;
mod processes;
mod prune;
mod python;
mod raw;
mod recipes;
mod resources;
mod run;
mod schema;
mod schemas;
mod shutdown;
mod sleepers;
mod space;
#[path = "../support/sse.rs"]
mod sse;
mod standin;
mod tasks;
mod telemetry;
mod upstreams;
mod workers;
