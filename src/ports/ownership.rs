//! Which process owns which dispatch: one process drives a dispatch, others only read it.

use std::fmt::Debug;

use super::OwnerId;

/// Knows who this process is, and which other owners still live.
pub trait Ownership: Debug + Send + Sync {
    /// The name that this process owns dispatches under.
    fn me(&self) -> OwnerId;

    /// Whether the process of that name still lives; a few microseconds of IO.
    fn is_alive(&self, owner: OwnerId) -> bool;
}
