//! Keeping the store from growing without end: old dispatches go, and their room with them.
//!
//! Every call is one short transaction, so that nobody who writes is held up by much.

use std::fmt::Debug;

use futures::future::BoxFuture;

use super::StoreError;
use crate::model::{DispatchId, DispatchStatus, Millis};

/// A dispatch that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedDispatch {
    /// Its id.
    pub dispatch: DispatchId,
    /// The verdict.
    pub status: DispatchStatus,
    /// When it was accepted.
    pub created_at: Millis,
    /// When it ended.
    pub ended_at: Millis,
    /// How many tasks it has.
    pub n_tasks: usize,
    /// What the runtime gave when it was accepted.
    pub meta: String,
}

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreUsage {
    /// How many dispatches have ended.
    pub n_ended: usize,
    /// Bytes that hold something.
    pub bytes_used: u64,
    /// Bytes that the store takes on disk, room for later included.
    pub bytes_taken: u64,
}

/// What one sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// How many plans it removed.
    pub n_plans: usize,
    /// Whether nothing is left to sweep.
    pub is_done: bool,
}

/// The upkeep of a store.
pub trait Upkeep: Debug + Send + Sync {
    /// How much there is.
    fn usage(&self) -> BoxFuture<'static, Result<StoreUsage, StoreError>>;

    /// Dispatches that ended before `before`, the one that ended first first: at most `limit`,
    /// after the one that ended at the given time.
    fn ended(
        &self,
        before: Millis,
        after: Option<(Millis, DispatchId)>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<EndedDispatch>, StoreError>>;

    /// About how many bytes a dispatch takes, for a forecast; costs a look at each of its rows.
    fn size_of(&self, dispatch: DispatchId) -> BoxFuture<'static, Result<u64, StoreError>>;

    /// Takes dispatches out of the store, with their idempotency keys: nobody finds them any more.
    /// Their rows take room until they are swept. Those that have not ended stay.
    fn forget(&self, dispatches: Vec<DispatchId>) -> BoxFuture<'static, Result<(), StoreError>>;

    /// Removes some of the rows of what was forgotten, some plans made before `plans_before`, and
    /// what is known of processes whose leases ended before `plans_before` and that own no open
    /// dispatch.
    fn sweep(&self, plans_before: Millis) -> BoxFuture<'static, Result<Swept, StoreError>>;

    /// Gives some room back to the disk. Returns whether none is left to give.
    fn shrink(&self) -> BoxFuture<'static, Result<bool, StoreError>>;
}
