//! The command line: what the program can be asked from a shell, one file a command.
//!
//! Commands only translate; what they need is handed to them by the root.

mod approve;
mod args;
mod cancel;
mod config;
mod control;
mod doctor;
pub mod expand;
mod list;
mod output;
mod plan;
mod prune;
mod result;
mod retry;
mod run;
mod schema;
mod show;
mod source;
mod trace;

pub use args::{
    ApproveArguments, Arguments, BudgetArguments, Command, DocumentSource, ExceededMode,
    IdArguments, PauseArguments, PlanFormat, PruneArguments, RunArguments, ServeArguments,
    SettingsArguments, SteerArguments, WorkersArguments,
};
pub use doctor::{Check, Verdict};
pub use output::{Exit, Outcome, report_error, report_usage};

/// The commands, each as a function of what it needs.
pub mod commands {
    pub use super::{
        approve::approve,
        cancel::cancel,
        config::config,
        control::{budget, pause, steer, workers},
        doctor::doctor,
        list::list,
        plan::plan,
        prune::prune,
        result::result,
        retry::retry,
        run::run,
        schema::schema,
        trace::trace,
    };
}
