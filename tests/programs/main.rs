//! Agents that are programs, with stubs that behave as badly as programs can.
//!
//! Each stub holds one end of a pipe open, and so does all that it starts. That the other end
//! comes to its end is the proof that nothing of it is left.

#![cfg(test)]

#[cfg(target_os = "linux")]
mod e2e_confined;
mod e2e_formats;
mod e2e_processes;
mod e2e_worktrees;
mod place;
