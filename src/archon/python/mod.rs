//! Python source as facts: what it defines, what it imports, where it does not parse.
//!
//! Trees are walked with a cursor and never by recursion, so that hostile nesting costs time in
//! proportion to its length and no stack.

mod outline;
mod source;
#[cfg(test)]
mod tests;

use std::path::Path;

pub(super) use outline::{Call, Class, Field, Function, Import, Outline, Smell};
pub(super) use source::{Source, SyntaxError};

/// Whether a path names a Python file.
pub(super) fn is_python(path: impl AsRef<Path>) -> bool {
    path.as_ref().extension().is_some_and(|it| it.eq_ignore_ascii_case("py"))
}
