//! What can be wrong with settings, and where a value came from.

use std::{fmt, path::PathBuf};

use crate::model::text;

/// The faults that are shown of one load; the rest is counted.
const SHOWN_MAX: usize = 20;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// No layer set it.
    BuiltIn,
    /// A file of settings.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1, where the reader knows it.
        line: Option<u32>,
    },
    /// An environment variable.
    Environment(&'static str),
    /// A flag of the command line, with its dashes.
    Flag(&'static str),
}

/// One fault of the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The layer, and the place in it.
    pub place: Source,
    /// The key, its sections joined by dots; empty when the fault is not about one key.
    pub key: String,
    /// What is wrong and what to do about it, in one line of safe text.
    pub message: String,
}

/// Every fault of the settings. Invariant: at least one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl ConfigError {
    pub(super) fn new(place: Source, key: &str, message: impl Into<String>) -> Self {
        Self { place, key: text::escape(&text::cut(key, 200)), message: message.into() }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("built in"),
            Self::File { path, line } => {
                f.write_str(&text::escape(&path.to_string_lossy()))?;
                line.map_or(Ok(()), |it| write!(f, ":{it}"))
            }
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key.as_str() {
            "" => write!(f, "{}: {}", self.place, self.message),
            key => write!(f, "{}: {key}: {}", self.place, self.message),
        }
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.0.iter().take(SHOWN_MAX).enumerate() {
            let gap = if at == 0 { "" } else { "\n" };
            write!(f, "{gap}{error}")?;
        }
        match self.0.len().saturating_sub(SHOWN_MAX) {
            0 => Ok(()),
            n_more => write!(f, "\nand {n_more} more"),
        }
    }
}
