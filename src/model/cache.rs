//! Whether a result of the same work done before may be taken, and where one was taken from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DispatchId, TaskId, Timestamp};

/// What a task does with results of the same work: the same agent, told the same, about files that
/// have not changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CacheMode {
    /// Takes none, and leaves none to others.
    #[default]
    Off,
    /// Takes one instead of running, if there is one, and else leaves its own to others.
    Reuse,
    /// Runs in any case, and leaves its result to others.
    Refresh,
}

impl CacheMode {
    /// As documents and settings name them, the default first.
    pub const WORDS: [&str; 3] = ["off", "reuse", "refresh"];

    /// What a word of [`Self::WORDS`] stands for; any other word is off.
    pub fn of_word(word: &str) -> Self {
        match word {
            "reuse" => Self::Reuse,
            "refresh" => Self::Refresh,
            _ => Self::Off,
        }
    }
}

/// Where a result was taken from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reused {
    /// The dispatch in which the work was done.
    pub dispatch_id: DispatchId,
    /// The task that did it.
    pub task_id: TaskId,
    /// When it was done.
    pub at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_those_of_the_schema() {
        for word in CacheMode::WORDS {
            let mode = CacheMode::of_word(word);
            assert_eq!(serde_json::to_value(mode).unwrap(), word);
        }
        assert_eq!(CacheMode::of_word(CacheMode::WORDS[0]), CacheMode::default());
    }
}
