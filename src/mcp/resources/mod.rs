//! Dispatches, tasks, traces, plans and agents as resources: lists, contents, word of changes.

mod fault;
mod feed;
mod link;
mod list;
mod listen;
mod read;
mod subscriptions;
#[cfg(test)]
mod tests;
mod uri;

pub(super) use fault::to_error;
pub(super) use link::Linked;
pub(super) use list::{list, templates};
pub(super) use listen::{accepted, listen};
pub(super) use read::read;
pub(super) use subscriptions::{Subscriptions, tell_again};
pub(super) use uri::{DISPATCH, PLAN, ResourceUri, TASK, TRACE};

/// How long clients may keep what cannot change any more, in milliseconds; it may be removed.
pub(super) const FINAL_TTL_MS: u64 = 600_000;
