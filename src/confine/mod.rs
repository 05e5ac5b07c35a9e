//! Files beneath workspaces, and nowhere else.
//!
//! Every path from a stranger goes through [`Workspaces`]: it must be absolute, stand beneath a
//! root component by component, and is then opened beneath a handle of that root, so that neither
//! `..` nor a symbolic link leads out, not even one that is put there meanwhile. Everything here
//! blocks; callers on an async thread wrap it in `spawn_blocking`.

mod error;
mod read;
#[cfg(test)]
mod tests;
mod workspaces;
mod write;

pub use error::ConfineError;
pub use read::{Entry, EntryKind};
pub use workspaces::Workspaces;
