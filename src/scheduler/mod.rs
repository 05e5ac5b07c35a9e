//! The scheduler: one dispatch as a state machine without IO.
//!
//! [`Scheduler::handle`] takes an [`Input`] and the time, and fills an [`Outbox`] with [`Event`]s,
//! which are facts to be journaled, and [`Action`]s, which the shell may carry out once the events
//! are durable. [`Scheduler::apply`] alone changes state, so a journal replays into the same
//! machine.
//!
//! ```text
//! Blocked ──► Ready ──► Running ──► Succeeded | Failed | Cancelled
//!    │          │  ◄── interrupted ──┘
//!    └──────────┴──► Skipped | Cancelled
//! ```

mod machine;
mod message;
mod ready;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod timer;

pub use machine::{Policy, Scheduler, TaskState};
pub use message::{Action, Decision, Event, Input, Outbox};
