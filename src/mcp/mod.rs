//! The MCP face: translates tool calls to the runtime's service, over whatever transport.

mod answer;
mod catalog;
mod parent;
mod progress;
mod server;
mod tools;
mod trace;

pub use catalog::{ToolSchemas, schemas};
pub use server::DispatchServer;
