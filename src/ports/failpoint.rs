//! Places at which a test lets the process end, as a crash there would end it.
//!
//! Every edge of durability has one: a test names it in an environment variable, starts the
//! program, and looks at what the next start makes of the remains. Builds without debug assertions,
//! and so every release, have none of this: [`Failpoint::reach`] is empty there. A feature of the
//! crate would have the same effect, but the tests start the program that was built next to them,
//! and with a feature all of it would be built twice.

use std::sync::{
    OnceLock,
    atomic::{AtomicU32, Ordering},
};

use super::Write;

/// An edge: what happened before it may be durable, what comes after it has not happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failpoint {
    /// The writer took a group of commits, and has not begun the transaction.
    StoreAsked,
    /// The transaction has begun.
    StoreBegun,
    /// A dispatch and its tasks were written, in a transaction that goes on; so with the next six.
    WroteAccept,
    /// An entry of the journal was written.
    WroteRecord,
    /// The row of a task was written.
    WroteTask,
    /// An output was written, and not yet the fact that it belongs to.
    WroteOutput,
    /// A dispatch's verdict was written.
    WroteEnd,
    /// A dispatch's new owner was written.
    WroteAdopt,
    /// A sample for estimates was noted.
    WroteDuration,
    /// Everything was written, and nothing committed.
    StoreWritten,
    /// The transaction is committed, and nobody knows.
    StoreCommitted,
    /// The dispatcher has heard that its round is durable.
    RoundDurable,
    /// A caller was told that its dispatch is accepted; nothing was started.
    SubmitterTold,
    /// An attempt was started.
    AttemptLaunched,
    /// All was carried out that the round led to.
    RoundCarriedOut,
    /// A dispatch has ended; its last trace files are not written.
    TracesDue,
    /// A trace file is written under a temporary name.
    TraceUnnamed,
    /// All trace files are written; nobody was told of the end.
    TracesWritten,
    /// Those who waited were told of the end.
    EndTold,
}

/// The edge to end at, and how often it is still to be reached.
static ARMED: OnceLock<(Failpoint, AtomicU32)> = OnceLock::new();

impl Failpoint {
    /// All edges.
    pub const ALL: [Self; 19] = [
        Self::StoreAsked,
        Self::StoreBegun,
        Self::WroteAccept,
        Self::WroteRecord,
        Self::WroteTask,
        Self::WroteOutput,
        Self::WroteEnd,
        Self::WroteAdopt,
        Self::WroteDuration,
        Self::StoreWritten,
        Self::StoreCommitted,
        Self::RoundDurable,
        Self::SubmitterTold,
        Self::AttemptLaunched,
        Self::RoundCarriedOut,
        Self::TracesDue,
        Self::TraceUnnamed,
        Self::TracesWritten,
        Self::EndTold,
    ];

    /// Lets the process end where `wish`, `NAME COUNT`, says: when the edge is reached for the
    /// COUNT-th time. Says whether there is such an edge. Only the first wish counts.
    pub fn arm(wish: &str) -> bool {
        let Some((name, count)) = wish.split_once(' ') else { return false };
        let point = Self::ALL.into_iter().find(|it| format!("{it:?}") == name);
        let (Some(point), Ok(count)) = (point, count.parse()) else { return false };
        ARMED.set((point, AtomicU32::new(count))).is_ok()
    }

    /// Ends the process if this is what it was armed for.
    #[inline]
    pub fn reach(self) {
        if cfg!(debug_assertions)
            && let Some((armed, left)) = ARMED.get()
            && *armed == self
            && left.fetch_sub(1, Ordering::SeqCst) == 1
        {
            std::process::abort();
        }
    }

    /// Ends the process if it was armed for writes of this kind.
    #[inline]
    pub fn reach_after(write: &Write) {
        match write {
            Write::Accept(_) => Self::WroteAccept.reach(),
            Write::Record { .. } => Self::WroteRecord.reach(),
            Write::Task { .. } => Self::WroteTask.reach(),
            Write::Output { .. } => Self::WroteOutput.reach(),
            Write::End { .. } => Self::WroteEnd.reach(),
            Write::Adopt { .. } => Self::WroteAdopt.reach(),
            Write::Duration { .. } => Self::WroteDuration.reach(),
            // What any of these leaves behind is nothing that another one does not.
            Write::Meta { .. }
            | Write::Document { .. }
            | Write::Request(_)
            | Write::RequestHandled { .. }
            | Write::Claim { .. }
            | Write::Lease { .. }
            | Write::Plan { .. }
            | Write::Remember(_) => {}
        }
    }
}
