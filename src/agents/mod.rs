//! Who does the work: agents by name, each a tool, a recipe, a program, or workers that pull
//! (contract, section 5).
//!
//! What the settings say of an agent goes first, and they let it be one thing only. Else an agent
//! is bound to the first tool that its upstream offers, of those it could mean, else to a recipe
//! for the form of Archon that the upstream's tools show; the agent `tool` calls what its input
//! names. An upstream that cannot be reached does not unbind an agent: its attempts fail until the
//! upstream is back, and each looks again.

mod any_tool;
mod call;
pub mod command;
mod detect;
mod directory;
#[cfg(test)]
mod directory_tests;
mod pull;
mod recipe;
mod tool;

pub use directory::{AgentSetting, Agents, AgentsSettings};
pub use pull::PullWorkers;
pub use recipe::{RecipeFault, Recipes};
