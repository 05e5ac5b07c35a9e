//! The MCP face: translates tool calls to the runtime's service, over whatever transport.

mod answer;
mod call;
mod caller;
#[cfg(test)]
mod caller_tests;
mod catalog;
mod completion;
mod elicit;
#[cfg(test)]
mod elicit_tests;
mod form;
mod log;
mod parent;
mod progress;
mod prompts;
mod resources;
mod seal;
mod server;
mod tasks;
#[cfg(test)]
mod testing;
mod tools;
mod trace;

pub use catalog::{ToolSchemas, schemas};
pub use seal::Seal;
pub use server::DispatchServer;
