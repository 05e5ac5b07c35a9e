//! The shell's face.

pub mod expand;
