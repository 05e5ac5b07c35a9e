//! Why a file was not touched.

use std::{io, path::Path};

use crate::model::text;

/// Why a file was not touched; the path comes first, escaped and cut.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// The path is relative, or empty.
    #[error("{path}: the path must be absolute")]
    NotAbsolute {
        /// The path as given.
        path: String,
    },
    /// The path leads, by its text or by a link, out of every workspace.
    #[error("{path}: the path is not inside a workspace")]
    NotAllowed {
        /// The path as given.
        path: String,
    },
    /// Nothing is there.
    #[error("{path}: no such file or directory")]
    NotFound {
        /// The path as given.
        path: String,
    },
    /// There is a directory, a pipe, a socket or a device.
    #[error("{path}: not a regular file")]
    NotAFile {
        /// The path as given.
        path: String,
    },
    /// The file is longer than the caller lets in.
    #[error("{path}: the file is longer than {bytes_max} bytes")]
    TooLarge {
        /// The path as given.
        path: String,
        /// How many bytes are let in.
        bytes_max: u64,
    },
    /// The operating system refused.
    #[error("{path}: {source}")]
    Io {
        /// The path as given.
        path: String,
        /// What the operating system said.
        source: io::Error,
    },
}

impl ConfineError {
    pub(super) fn not_absolute(path: &Path) -> Self {
        Self::NotAbsolute { path: show(path) }
    }

    pub(super) fn not_allowed(path: &Path) -> Self {
        Self::NotAllowed { path: show(path) }
    }

    pub(super) fn not_a_file(path: &Path) -> Self {
        Self::NotAFile { path: show(path) }
    }

    pub(super) fn too_large(path: &Path, bytes_max: u64) -> Self {
        Self::TooLarge { path: show(path), bytes_max }
    }

    /// Sorts an error of an operation beneath a root.
    ///
    /// cap-std reports an attempt to leave as a permission error that no system call gave.
    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        let path = show(path);
        match (source.kind(), source.raw_os_error()) {
            (io::ErrorKind::PermissionDenied, None) => Self::NotAllowed { path },
            (io::ErrorKind::NotFound, _) => Self::NotFound { path },
            _ => Self::Io { path, source },
        }
    }
}

/// The path as it may be shown: cut and escaped.
fn show(path: &Path) -> String {
    text::escape(&text::cut(&path.to_string_lossy(), 300))
}
