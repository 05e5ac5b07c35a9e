//! Turns documents into checked graphs, all faults at once, and says what a graph means.
//!
//! Pure: no IO, no clock. What comes out of here can be run; nothing downstream checks it again.

mod cycle;
mod graph;
mod order;
#[cfg(test)]
pub(crate) mod testing;

pub use cycle::{Cycles, find_cycles};
pub use graph::{Edge, TaskGraph};
