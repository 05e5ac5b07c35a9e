//! Trace files on disk, for people and scripts; written from the store, and never read back.
//!
//! Promises: files are 0600 and directories 0700 whatever the umask; a file is there as a whole or
//! not at all; nothing outside the roots is touched, and no file that another program made.

mod files;
mod remove;
#[cfg(test)]
mod tests;
mod writer;

pub use writer::TraceFileWriter;
