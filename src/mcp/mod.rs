//! The MCP face: translates tool calls to the runtime's service, over whatever transport.

mod answer;
mod catalog;
mod completion;
mod parent;
mod progress;
mod prompts;
mod resources;
mod server;
mod tools;

pub use catalog::{ToolSchemas, schemas};
pub use server::DispatchServer;
