//! What tasks claim for themselves while they run: files that they write, and named resources.
//!
//! Tasks whose claims overlap never run at the same time. Every overlap becomes a key with a
//! capacity, so that whoever runs tasks only counts: [`ClaimTable`] says who needs how much of
//! which key, [`Holders`] who has it and who waits for it.

mod conflict;
mod glob;
mod holders;
mod overlap;
mod table;

pub(in crate::plan) use conflict::conflicts;
pub(in crate::plan) use glob::{GlobFault, check_glob};
pub use holders::Holders;
pub use table::{ClaimTable, Need};
