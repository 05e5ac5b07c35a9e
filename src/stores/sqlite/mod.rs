//! The store on disk: one `SQLite` file that several processes may use at once.
//!
//! ```text
//! commit() ──► queue ──► writer thread ──► one transaction, one sync ──► answers
//! reads    ──► queue ──► reader threads (each its own connection; WAL: they wait for nobody)
//! changes() ◄─ watcher thread: looks for commits of any process, while somebody wants to know
//! ```
//!
//! Promises: an answered commit survives power loss (`synchronous=FULL`); a commit that fails
//! takes nobody else's with it; a connection that failed to write is never used again.

#[cfg(test)]
mod crash;
mod database;
#[cfg(test)]
mod disk_tests;
mod duration;
mod glance;
mod place;
mod query;
mod reader;
mod reuse;
mod row;
mod snapshot;
mod store;
#[cfg(test)]
mod tests;
mod transaction;
mod trouble;
mod upkeep;
mod watcher;
mod writer;

pub use store::SqliteStore;
