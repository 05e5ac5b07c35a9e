//! Agents that are programs: Claude Code, Codex, Gemini CLI, or any other command.
//!
//! An attempt is one run of the program. Its command line comes from the settings alone; what the
//! task says goes into the prompt, never through a shell. A guard process stands around the
//! program, so that nothing of it is left however the attempt ends; see [`guard()`].

mod agent;
mod arguments;
mod check;
mod decode;
mod directory;
mod guard;
mod memory;
mod proc;
mod process;
mod prompt;
mod runner;
mod settings;
#[cfg(test)]
mod testing;
mod worktree;
mod writes;

pub use check::{CheckCommands, CheckSetting};
pub use directory::Commands;
pub use guard::guard;
pub use process::{GuardProgram, Variables};
pub use runner::CommandRunner;
pub(super) use runner::StepCommand;
pub use settings::{CommandHost, CommandSetting, OutputForm, Program, PromptBy};
