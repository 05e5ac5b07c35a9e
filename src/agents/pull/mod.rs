//! Agents whose tasks are done by workers that pull: other processes, or an editor's subagents.
//!
//! Each attempt is put on a board and waits for a worker. A worker claims it under a lease, renews
//! that with heartbeats, and hands in a result. When a lease lapses the attempt goes back on the
//! board under another lease, so whoever had it before is heard no more. The board need not outlive
//! the process: the dispatch does, and its next owner offers the next attempt.

mod agent;
mod board;
#[cfg(test)]
mod board_tests;
#[cfg(test)]
mod tests;
mod workers;

pub use workers::PullWorkers;
