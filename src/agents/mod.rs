//! Who does the work: agents by name, bound to the tools of upstreams (contract, section 5).
//!
//! An agent is bound to the first tool that its upstream offers, of those it could mean; a tool
//! named in the settings goes before all. An upstream that cannot be reached does not unbind an
//! agent: its attempts fail until the upstream is back, and each looks again.

pub mod command;
mod directory;
mod pull;
mod tool;

pub use directory::{AgentSetting, Agents, AgentsSettings};
pub use pull::PullWorkers;
