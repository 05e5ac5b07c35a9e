//! What is known of one file: its size, and for Python its functions and where it does not parse.

use serde::Serialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::{
    archon::{
        error::ArchonError,
        python::{self, Function, Outline, Source, SyntaxError},
    },
    confine::Workspaces,
    model::text,
};

/// How long a file may be that is looked at, in bytes.
const FILE_BYTES_MAX: u64 = 1_024 * 1_024;
/// How many functions of one file are named: the most complex ones.
const FUNCTIONS_MAX: usize = 10;
/// How much of one line is shown, in characters.
const LINE_CHARS_MAX: usize = 160;

/// What is known of one file.
#[derive(Debug)]
pub(super) struct File {
    /// The path as it was named.
    pub(super) path: String,
    /// The text, or why there is none.
    pub(super) text: Result<String, String>,
    /// For Python.
    pub(super) outline: Option<Outline>,
    pub(super) syntax_errors: Vec<SyntaxError>,
}

/// One line of code, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct CodeLine {
    pub(super) line: usize,
    pub(super) code: String,
}

impl File {
    /// Reads a file; one that cannot be read is a finding.
    pub(super) fn read(
        workspaces: &Workspaces,
        path: &str,
        stop: &CancellationToken,
    ) -> Result<Self, ArchonError> {
        if stop.is_cancelled() {
            return Err(ArchonError::Cancelled);
        }
        let text = workspaces.read_text(path, FILE_BYTES_MAX).map_err(|it| it.to_string());
        let (mut outline, mut syntax_errors) = (None, Vec::new());
        if let (Ok(text), true) = (&text, python::is_python(path)) {
            let source = Source::parse(text.clone(), stop)?;
            outline = Some(Outline::of(&source));
            syntax_errors = source.syntax_errors();
        }
        Ok(Self { path: path.to_owned(), text, outline, syntax_errors })
    }

    /// The lines around one, `radius` on each side.
    pub(super) fn around(&self, line: usize, radius: usize) -> Vec<CodeLine> {
        let Ok(text) = &self.text else { return Vec::new() };
        let first = line.saturating_sub(radius).max(1);
        let lines = text.lines().enumerate().skip(first - 1).take(line + radius + 1 - first);
        let show = |(at, code)| CodeLine { line: at + 1, code: text::cut(code, LINE_CHARS_MAX) };
        lines.map(show).collect()
    }

    /// One line.
    pub(super) fn line(&self, line: usize) -> Option<&str> {
        self.text.as_ref().ok()?.lines().nth(line.checked_sub(1)?)
    }

    /// The most complex functions, the most complex one first.
    pub(super) fn most_complex(&self) -> Vec<&Function> {
        let mut functions: Vec<_> = self.outline.iter().flat_map(|it| &it.functions).collect();
        functions.sort_by_key(|it| std::cmp::Reverse(it.complexity));
        functions.truncate(FUNCTIONS_MAX);
        functions
    }

    /// The file as the baseline shows it.
    pub(super) fn to_json(&self, with_complexity: bool) -> Value {
        let text = match &self.text {
            Ok(text) => text,
            Err(error) => {
                return json!({ "path": self.path, "status": "unreadable", "note": error });
            }
        };
        let mut json = json!({
            "path": self.path,
            "status": "read",
            "bytes": text.len(),
            "lines": text.lines().count(),
        });
        let Some(outline) = &self.outline else {
            json["note"] = "not Python: only its size and the frames in it are looked at".into();
            return json;
        };
        json["functions"] = outline.functions.len().into();
        json["syntax_errors"] = json!(self.syntax_errors);
        if with_complexity {
            let show = |it: &Function| {
                let (name, lines) = (it.full_name(), [it.line, it.end_line]);
                json!({ "function": name, "lines": lines, "complexity": it.complexity })
            };
            let functions: Vec<_> = self.most_complex().into_iter().map(show).collect();
            json["complexity"] = json!({
                "total": outline.functions.iter().map(|it| it.complexity).sum::<usize>(),
                "highest": functions,
            });
        }
        json
    }
}
