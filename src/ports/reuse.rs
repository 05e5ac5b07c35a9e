//! Results that later tasks may take instead of doing the same work again.

use crate::model::{DispatchId, Millis, Reused, TaskIdx};

/// A SHA-256 digest: of all that decides on a result, or of a file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Stands for a file that is not there.
    pub const ABSENT: Self = Self([0; 32]);
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|it| write!(f, "{it:02x}"))
    }
}

/// A result to be found by whoever is about to do the same work. Its output is the one that stands
/// in the store for the task; a later result of the same work takes its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remember {
    /// The dispatch.
    pub dispatch: DispatchId,
    /// The task that did the work.
    pub task: TaskIdx,
    /// What decides on the result.
    pub work: Digest,
    /// When it was done.
    pub at: Millis,
    /// The files that the work left, in an order that its maker knows; [`Digest::ABSENT`] for one
    /// that is not there.
    pub evidence: Vec<Digest>,
}

/// A result of work that was done before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownResult {
    /// Where it comes from.
    pub from: Reused,
    /// The output, as JSON text.
    pub output: String,
    /// As [`Remember::evidence`].
    pub evidence: Vec<Digest>,
}
