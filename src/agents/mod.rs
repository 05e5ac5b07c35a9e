//! Who does the work: agents by name, bound to the tools of upstreams (contract, section 5).
//!
//! An agent is bound to the first tool that its upstream offers, of those it could mean, else to a
//! recipe for the form of Archon that the upstream's tools show; a tool or a recipe named in the
//! settings goes before all. An upstream that cannot be reached does not unbind an
//! agent: its attempts fail until the upstream is back, and each looks again.

mod any_tool;
mod call;
pub mod command;
mod detect;
mod directory;
mod pull;
mod recipe;
mod tool;

pub use directory::{AgentSetting, Agents, AgentsSettings};
pub use pull::PullWorkers;
pub use recipe::{RecipeFault, Recipes};
