//! What a coder is shown first: files of the workspace, and context that was gathered before.

use serde::Serialize;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use super::super::{
    error::ArchonError,
    python::{self, Outline, Source},
};
use crate::{
    confine::{ConfineError, Workspaces},
    model::text,
};

/// How many context files and gathered items are looked at.
const ITEMS_MAX: usize = 32;
/// How long a context file may be, in bytes.
const FILE_BYTES_MAX: u64 = 256 * 1_024;
/// How many names of one item are kept, of classes and functions each.
const NAMES_MAX: usize = 20;

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Reference {
    /// A path, or a key of the gathered context.
    pub(super) source: String,
    pub(super) classes: Vec<String>,
    pub(super) functions: Vec<String>,
    /// What kept it from being used, or how far it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) note: Option<String>,
}

/// Looks at everything that was given.
///
/// A path that leads out is an error; a file that is missing or too long is noted.
pub(super) fn read(
    workspaces: &Workspaces,
    files: &[String],
    gathered: Option<&Map<String, Value>>,
    stop: &CancellationToken,
) -> Result<Vec<Reference>, ArchonError> {
    let mut references = Vec::new();
    for path in files.iter().take(ITEMS_MAX) {
        workspaces.allows(path)?;
        references.push(match workspaces.read_text(path, FILE_BYTES_MAX) {
            Ok(content) => Reference::of(path, content, path, stop)?,
            Err(error @ (ConfineError::NotAllowed { .. } | ConfineError::NotAbsolute { .. })) => {
                return Err(error.into());
            }
            Err(error) => Reference::noted(path, &error.to_string()),
        });
    }
    for (key, value) in gathered.into_iter().flatten().take(ITEMS_MAX) {
        let file = key.strip_prefix("file:").unwrap_or_default();
        references.push(match content_of(value) {
            Some(content) => Reference::of(key, content.to_owned(), file, stop)?,
            None => Reference::noted(key, "taken as it is"),
        });
    }
    Ok(references)
}

impl Reference {
    /// The reference in one line, for a docstring.
    pub(super) fn to_line(&self) -> String {
        let parts = [("; classes ", &self.classes), ("; functions ", &self.functions)];
        let parts = parts.iter().filter(|(_, names)| !names.is_empty());
        let names: Vec<_> =
            parts.map(|(kind, names)| format!("{kind}{}", names.join(", "))).collect();
        let names = names.concat();
        let note = self.note.as_ref().map(|it| format!(" ({it})")).unwrap_or_default();
        format!("{}{names}{note}", self.source)
    }

    fn of(
        source: &str,
        content: String,
        file: &str,
        stop: &CancellationToken,
    ) -> Result<Self, ArchonError> {
        if !python::is_python(file) {
            return Ok(Self::noted(source, &format!("{} lines", content.lines().count())));
        }
        let parsed = Source::parse(content, stop)?;
        let outline = Outline::of(&parsed);
        let classes = outline.classes.iter().filter(|it| !it.is_local).map(|it| &it.name);
        let functions = outline.functions.iter().filter(|it| !it.is_local && it.class.is_none());
        let names = |it: &String| text::escape(&text::cut(it, 80));
        let has_errors = !parsed.syntax_errors().is_empty();
        Ok(Self {
            source: text::escape(source),
            classes: classes.take(NAMES_MAX).map(names).collect(),
            functions: functions.map(|it| &it.name).take(NAMES_MAX).map(names).collect(),
            note: has_errors.then(|| "has syntax errors".to_owned()),
        })
    }

    fn noted(source: &str, note: &str) -> Self {
        Self {
            source: text::escape(source),
            classes: Vec::new(),
            functions: Vec::new(),
            note: Some(note.to_owned()),
        }
    }
}

/// The text of a gathered value: the value itself, or its `content`.
fn content_of(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value.get("content").and_then(Value::as_str))
}
