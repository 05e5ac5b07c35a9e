//! What can go wrong below a commit or a read, and what that means for the connection.

use std::io;

use rusqlite::{Error, ErrorCode};

use crate::{model::text, ports::StoreError};

/// Trouble with the database, before it is known what was being done.
#[derive(Debug)]
pub(super) enum Trouble {
    /// `SQLite` refused.
    Sqlite(Error),
    /// The answer is known already.
    Known(StoreError),
}

impl Trouble {
    pub(super) fn corrupt(reason: impl Into<String>) -> Self {
        Self::Known(StoreError::Corrupt(reason.into()))
    }

    /// Whether the connection can no longer be trusted: after a failed write or sync it is opened
    /// anew. One that reached a limit is as good as before.
    pub(super) fn is_in_doubt(&self) -> bool {
        match self {
            Self::Sqlite(error) => {
                let is_harmless = matches!(
                    error.sqlite_error_code(),
                    Some(
                        ErrorCode::ConstraintViolation
                            | ErrorCode::OperationInterrupted
                            | ErrorCode::TooBig
                    )
                );
                !is_harmless
            }
            Self::Known(_) => false,
        }
    }

    /// Whether another process holds the store, so that trying again at once is of no use.
    pub(super) fn is_busy(&self) -> bool {
        let Self::Sqlite(error) = self else { return false };
        matches!(
            error.sqlite_error_code(),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
        )
    }

    /// The error to answer; `action` is what was tried: `open`, `write`, `read`.
    pub(super) fn to_error(&self, action: &'static str) -> StoreError {
        match self {
            Self::Known(error) => error.clone(),
            Self::Sqlite(error) => {
                let reason = text::escape(&error.to_string());
                if says_corrupt(error) {
                    StoreError::Corrupt(reason)
                } else {
                    StoreError::Unavailable { action, reason }
                }
            }
        }
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Known(error)
    }
}

/// The answer to whoever asks a store whose threads are gone.
pub(super) fn closed(action: &'static str) -> StoreError {
    StoreError::Unavailable { action, reason: "it is closed".to_owned() }
}

/// The answer where a path of the store cannot be made or opened.
pub(super) fn unopened(path: &std::path::Path, error: &io::Error) -> StoreError {
    let reason = text::escape(&format!("{}: {error}", path.display()));
    StoreError::Unavailable { action: "open", reason }
}

fn says_corrupt(error: &Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::ConstraintViolation)
    ) || error.sqlite_error_code().is_none()
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    fn refused(code: i32) -> Trouble {
        Error::SqliteFailure(ffi::Error::new(code), None).into()
    }

    /// Whether the connection is in doubt, whether the store is busy, and what is answered.
    fn check(trouble: &Trouble, expected: (bool, bool, &str)) {
        let answer = match trouble.to_error("write") {
            StoreError::Unavailable { action, .. } => action,
            StoreError::Corrupt(_) => "corrupt",
            StoreError::Version { .. } => "version",
        };
        assert_eq!((trouble.is_in_doubt(), trouble.is_busy(), answer), expected, "{trouble:?}");
    }

    #[test]
    fn a_connection_is_in_doubt_unless_only_the_commit_was_wrong() {
        check(&refused(ffi::SQLITE_FULL), (true, false, "write"));
        check(&refused(ffi::SQLITE_IOERR_FSYNC), (true, false, "write"));
        check(&refused(ffi::SQLITE_BUSY), (true, true, "write"));
        check(&refused(ffi::SQLITE_LOCKED), (true, true, "write"));
        check(&refused(ffi::SQLITE_CORRUPT), (true, false, "corrupt"));
        check(&refused(ffi::SQLITE_NOTADB), (true, false, "corrupt"));
        check(&Error::InvalidColumnIndex(3).into(), (true, false, "corrupt"));
        check(&refused(ffi::SQLITE_CONSTRAINT), (false, false, "corrupt"));
        check(&Trouble::corrupt("a gap"), (false, false, "corrupt"));
    }
}
