//! The arguments of a prompt, read strictly: texts that the prompt names, and no others.

use std::collections::BTreeMap;

use rmcp::{ErrorData, model::JsonObject};
use serde_json::Value;

use super::{Argument, Entry};
use crate::model::text;

/// The longest argument, in characters: as long as a task's description may be.
const CHARS_MAX: usize = 100_000;

/// What a person gave; what is blank counts as left out.
#[derive(Debug)]
pub(super) struct Arguments(BTreeMap<&'static str, String>);

impl Arguments {
    /// Reads what was given to a prompt.
    pub(super) fn read(entry: &Entry, given: JsonObject) -> Result<Self, ErrorData> {
        let mut texts = BTreeMap::new();
        for (name, value) in given {
            let argument = entry.arguments.iter().find(|it| it.name == name);
            let argument = argument.ok_or_else(|| unknown(entry, &name))?;
            let text = read_text(argument, value)?;
            if !text.trim().is_empty() {
                texts.insert(argument.name, text);
            }
        }
        let missing =
            entry.arguments.iter().find(|it| it.is_required && !texts.contains_key(it.name));
        match missing {
            None => Ok(Self(texts)),
            Some(it) => {
                let (prompt, name) = (entry.name, it.name);
                let message = format!("{prompt} needs \"{name}\": {}", it.description);
                Err(ErrorData::invalid_params(message, None))
            }
        }
    }

    /// An argument that the prompt cannot do without.
    pub(super) fn required(&self, name: &str) -> &str {
        self.optional(name).unwrap_or_default()
    }

    /// An argument that may have been left out.
    pub(super) fn optional(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

/// Why a name is none of a prompt's arguments.
pub(super) fn unknown(entry: &Entry, name: &str) -> ErrorData {
    let shown = text::escape(&text::cut(name, 100));
    let known: Vec<_> = entry.arguments.iter().map(|it| it.name).collect();
    let message =
        format!("{} has no argument \"{shown}\": it has {}", entry.name, known.join(", "));
    ErrorData::invalid_params(message, None)
}

fn read_text(argument: &Argument, value: Value) -> Result<String, ErrorData> {
    let Value::String(text) = value else {
        let message = format!("\"{}\" is a text: {}", argument.name, argument.description);
        return Err(ErrorData::invalid_params(message, None));
    };
    if text.chars().count() > CHARS_MAX {
        let message = format!("\"{}\" is longer than 100,000 characters", argument.name);
        return Err(ErrorData::invalid_params(message, None));
    }
    Ok(text)
}
