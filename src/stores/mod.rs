//! Stores: where dispatches are kept. All of them keep the one contract of [`Journal`].
//!
//! [`SqliteStore`] keeps them on disk, for several processes at once; [`MemoryStore`] keeps them
//! as long as the process lives. Both run through the same suite of tests.
//!
//! [`Journal`]: crate::ports::Journal

#[cfg(test)]
mod contract;
#[cfg(test)]
mod duration_contract;
mod head;
mod memory;
mod owners;
mod results;
#[cfg(test)]
mod reuse_contract;
mod sqlite;

pub use memory::MemoryStore;
pub use owners::LockFileOwners;
pub use sqlite::SqliteStore;
