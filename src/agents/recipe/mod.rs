//! Agents that are recipes: steps over tools of upstreams, programs and files, written in the
//! settings or shipped.
//!
//! A recipe is data. It is read once, with everything that is wrong with it told at once; compared
//! with the lists of tools and the programs that are there when an agent is bound to it, and again
//! when a list has changed; and run for each attempt within the attempt's time. Its templates see
//! the task, the input, what was gathered, what the tasks before it answered, and what earlier
//! steps made, and nothing of the machine. What it reads and writes lies in a workspace. Hooks
//! mirror the tasks of all agents on a board.

mod act;
mod agent;
mod book;
mod fit;
mod hooks;
#[cfg(test)]
mod hooks_tests;
mod input;
mod plan;
#[cfg(test)]
mod programs_tests;
mod read;
mod run;
mod scope;
#[cfg(test)]
mod shipped_tests;
mod spec;
mod template;
#[cfg(test)]
pub(super) mod testing;
#[cfg(test)]
mod tests;
mod work;

pub use book::Recipes;
pub use read::RecipeFault;

pub(super) use self::{
    agent::{Links, RecipeAgent, Unready},
    book::SHIPPED,
    hooks::{Board, FindUpstream},
    plan::Recipe,
};
