//! The scheduler: one dispatch as a state machine without IO.
//!
//! [`Scheduler::handle`] takes an [`Input`] and the time, and fills an [`Outbox`] with [`Event`]s,
//! which are facts to be journaled, and [`Action`]s, which the shell may carry out once the events
//! are durable. [`Scheduler::apply`] alone changes state, so a journal replays into the same
//! machine.
//!
//! A [`Governor`] lets several schedulers have so many workers together, and each upstream so many
//! attempts as it takes.
//!
//! ```text
//! Blocked ──► Held ──► Ready ──► Running ──► Succeeded | Failed | Cancelled
//!    │          │         │  ◄── interrupted ──┤
//!    │          │         │  ◄── Backoff ◄─────┘ failed, and is tried again
//!    └──────────┴─────────┴──► Skipped | Omitted | Cancelled
//! ```

mod apply;
#[cfg(test)]
mod asserts;
mod budget;
#[cfg(test)]
mod budget_tests;
mod check;
#[cfg(test)]
mod claim_tests;
mod claims;
mod family;
#[cfg(test)]
mod family_tests;
#[cfg(test)]
mod fleet_tests;
mod gate;
#[cfg(test)]
mod gate_tests;
mod governor;
mod grow;
#[cfg(test)]
mod grow_tests;
#[cfg(test)]
mod growing;
mod lane;
mod load;
mod machine;
mod message;
#[cfg(test)]
mod oracle;
mod pause;
#[cfg(test)]
mod pause_tests;
mod policy;
#[cfg(test)]
mod purse;
mod queue;
#[cfg(test)]
mod random;
mod react;
mod ready;
mod reasons;
mod retry;
mod share;
mod state;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod timer;
mod trigger;

pub use budget::{Funds, Left, SpendEstimate, settlement};
pub use gate::{Gate, GateAnswer, GateSet};
pub use governor::{Fleet, Governor, LaneId};
pub use grow::Growth;
pub use lane::Verdict;
pub use machine::Scheduler;
pub use message::{Action, Decision, Event, Input, Outbox};
pub use policy::{Policy, TaskPolicy};
pub use retry::{CodeSet, REQUEUES_MAX, RetryPolicy};
pub use state::TaskState;
