//! Stack traces as they were printed, read into errors and frames.

use serde::Serialize;

use crate::model::text;

/// How many lines of one trace are read.
const LINES_MAX: usize = 2_000;
/// How much of one line is read, in characters.
const LINE_CHARS_MAX: usize = 2_000;
/// How many errors of one trace are kept.
const ERRORS_MAX: usize = 16;
/// How many frames of one error are kept: the outermost go first.
const FRAMES_MAX: usize = 64;
/// How much of a message or a line is kept, in characters.
const TEXT_CHARS_MAX: usize = 500;

/// The endings of files whose names, followed by a line number, make a frame.
const SOURCE_ENDINGS: [&str; 32] = [
    "py", "pyi", "rs", "js", "mjs", "cjs", "jsx", "ts", "tsx", "go", "java", "kt", "kts", "rb",
    "php", "c", "cc", "cpp", "cxx", "h", "hpp", "cs", "swift", "scala", "ex", "exs", "sh", "lua",
    "pl", "vue", "svelte", "zig",
];

/// One error of a trace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct TraceError {
    /// `KeyError`, `panic`; empty where the trace names none.
    pub(super) kind: String,
    pub(super) message: String,
    /// How it came from the error printed before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) relation: Option<Relation>,
    /// Innermost first.
    pub(super) frames: Vec<Frame>,
}

/// How an error came from the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Relation {
    /// It was raised on purpose, from the other.
    RaisedFromPrevious,
    /// It came up while the other was handled.
    DuringHandlingOfPrevious,
}

/// One place on the way to an error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Frame {
    pub(super) path: String,
    /// From 1.
    pub(super) line: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) column: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) function: Option<String>,
    /// The line as the trace shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<String>,
}

/// Reads a trace; a text that is none becomes one error without frames.
pub(super) fn parse(trace: &str) -> Vec<TraceError> {
    let mut reader = Reader::default();
    for line in trace.lines().take(LINES_MAX) {
        let end = line.char_indices().nth(LINE_CHARS_MAX).map_or(line.len(), |(at, _)| at);
        reader.read(&line[..end]);
    }
    reader.finish(trace)
}

#[derive(Default)]
struct Reader {
    errors: Vec<TraceError>,
    mode: Mode,
    /// The frames of a Python traceback, outermost first, until its error is named.
    frames: Vec<Frame>,
    relation: Option<Relation>,
    /// A line that may name the function of the next frame.
    function: Option<String>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Mode {
    /// Frames follow the error that they belong to.
    #[default]
    Plain,
    /// Frames come before the error that they belong to.
    Python,
    /// The message of a Rust panic stands in the next line.
    Panic,
}

impl Reader {
    fn read(&mut self, raw: &str) {
        let is_indented = raw.starts_with([' ', '\t']);
        let line = raw.trim_start_matches([' ', '\t', '|', '+']).trim_end();
        if line.is_empty() {
            return;
        }
        if line.starts_with("Traceback (most recent call last)") {
            self.end_python(None);
            self.mode = Mode::Python;
        } else if line.starts_with("During handling of the above exception") {
            self.relation = Some(Relation::DuringHandlingOfPrevious);
        } else if line.starts_with("The above exception was the direct cause") {
            self.relation = Some(Relation::RaisedFromPrevious);
        } else if let Some(frame) = python_frame(line) {
            self.mode = Mode::Python;
            self.frames.push(frame);
        } else if self.mode == Mode::Python {
            self.read_python(line, is_indented && !raw.trim_start().starts_with('|'));
        } else {
            self.read_plain(line);
        }
    }

    fn read_python(&mut self, line: &str, is_indented: bool) {
        let is_marks = line.chars().all(|it| matches!(it, '^' | '~' | ' '));
        match self.frames.last_mut() {
            _ if is_marks => {}
            Some(frame) if is_indented => {
                frame.code.get_or_insert_with(|| text::cut(line, TEXT_CHARS_MAX));
            }
            _ => self.end_python(Some(line)),
        }
    }

    fn end_python(&mut self, error: Option<&str>) {
        if self.mode == Mode::Python && (error.is_some() || !self.frames.is_empty()) {
            // After a traceback any name is that of an error, whatever it ends with.
            let (kind, message) = match error.map(|it| (it, split_kind(it))) {
                Some((_, (kind, message))) if is_dotted(kind) => (kind, message),
                Some((line, _)) => ("", line),
                None => ("", ""),
            };
            let mut frames = std::mem::take(&mut self.frames);
            frames.reverse();
            frames.truncate(FRAMES_MAX);
            let relation = self.relation.take();
            self.push(TraceError { relation, frames, ..TraceError::new(kind, message) });
        }
        self.mode = Mode::Plain;
    }

    fn read_plain(&mut self, line: &str) {
        if self.mode == Mode::Panic {
            self.mode = Mode::Plain;
            if let Some(error) = self.errors.last_mut() {
                error.message = text::cut(line, TEXT_CHARS_MAX);
                return;
            }
        }
        if line.contains("panicked at") {
            self.push(TraceError::new("panic", ""));
            self.mode = Mode::Panic;
            self.add_frame(line);
        } else if let Some((kind, message)) = error_line(line) {
            self.push(TraceError::new(kind, message));
        } else if !self.add_frame(line) {
            self.function = function_line(line);
        }
    }

    /// Adds the frame that a line holds to the last error, or to one without a name.
    fn add_frame(&mut self, line: &str) -> bool {
        let Some(mut frame) = plain_frame(line) else { return false };
        frame.function = frame.function.or_else(|| self.function.take());
        if self.errors.is_empty() {
            // As in `test_x.py:10: AssertionError`.
            let after = line.split_once(": ").and_then(|(_, it)| error_line(it));
            let (kind, message) = after.unwrap_or_default();
            self.push(TraceError::new(kind, message));
        }
        if let Some(error) = self.errors.last_mut()
            && error.frames.len() < FRAMES_MAX
        {
            error.frames.push(frame);
        }
        true
    }

    fn push(&mut self, error: TraceError) {
        if self.errors.len() < ERRORS_MAX {
            self.errors.push(error);
        }
    }

    fn finish(mut self, trace: &str) -> Vec<TraceError> {
        self.end_python(None);
        let first = trace.lines().find(|it| !it.trim().is_empty());
        if let (true, Some(first)) = (self.errors.is_empty(), first) {
            self.push(TraceError::new("", first.trim()));
        }
        self.errors
    }
}

impl TraceError {
    /// The last part of the kind: `HTTPError` of `requests.exceptions.HTTPError`.
    pub(super) fn short_kind(&self) -> &str {
        self.kind.rsplit(['.', ':']).next().unwrap_or_default()
    }

    fn new(kind: &str, message: &str) -> Self {
        let cut = |it: &str| text::cut(it.trim(), TEXT_CHARS_MAX);
        Self { kind: cut(kind), message: cut(message), ..Self::default() }
    }
}

/// `File "path", line 3, in name`.
fn python_frame(line: &str) -> Option<Frame> {
    let (path, rest) = line.strip_prefix("File \"")?.split_once("\", line ")?;
    let (number, rest) = take_number(rest)?;
    let function = rest.strip_prefix(", in ").map(|it| text::cut(it.trim(), 200));
    let path = text::cut(path, TEXT_CHARS_MAX);
    Some(Frame { path, line: number, function, ..Frame::default() })
}

/// `path.rs:3:14` anywhere in a line, as most languages print places.
fn plain_frame(line: &str) -> Option<Frame> {
    let is_edge = |it: char| it.is_whitespace() || matches!(it, '(' | ')' | '"' | '\'' | '`' | '<');
    line.split(is_edge).find_map(|word| {
        let word = word.strip_prefix("file://").unwrap_or(word);
        word.match_indices(':').find_map(|(at, _)| {
            let (number, rest) = take_number(&word[at + 1..])?;
            let path = &word[..at];
            let (_, ending) = path.rsplit_once('.')?;
            if !SOURCE_ENDINGS.contains(&ending) || path.contains("://") {
                return None;
            }
            let column = rest.strip_prefix(':').and_then(take_number).map(|(it, _)| it);
            let path = text::cut(path, TEXT_CHARS_MAX);
            Some(Frame { path, line: number, column, function: js_function(line), code: None })
        })
    })
}

/// The name in `at name (path:1:2)`.
fn js_function(line: &str) -> Option<String> {
    let (name, _) = line.strip_prefix("at ")?.split_once(" (")?;
    Some(text::cut(name.strip_prefix("async ").unwrap_or(name), 200))
}

/// A function on a line of its own, as Go and Rust print it before the place.
fn function_line(line: &str) -> Option<String> {
    let name = line.split_once(": ").map_or(line, |(number, name)| {
        if number.bytes().all(|it| it.is_ascii_digit()) { name } else { line }
    });
    let name = name.rsplit_once('(').map_or(name, |(name, _)| name);
    let is_name = !name.is_empty() && !name.contains(char::is_whitespace);
    is_name.then(|| text::cut(name, 200))
}

/// `pkg.SomeError: message`, and what else names an error.
fn error_line(line: &str) -> Option<(&str, &str)> {
    let prefixes =
        ["Uncaught ", "Unhandled ", "Caused by: ", "E   ", "Exception in thread \"main\" "];
    let line = prefixes.iter().find_map(|it| line.strip_prefix(it)).unwrap_or(line).trim_start();
    let (kind, message) = split_kind(line);
    let endings =
        ["Error", "Exception", "Warning", "Interrupt", "Exit", "Timeout", "Refused", "NotFound"];
    let is_named = is_dotted(kind) && endings.iter().any(|it| kind.ends_with(it));
    let is_said = matches!(kind, "panic" | "fatal error") || kind.starts_with("error[");
    (is_named || is_said).then_some((kind, message))
}

/// What stands before the first colon, and what after it.
fn split_kind(line: &str) -> (&str, &str) {
    line.split_once(": ").unwrap_or_else(|| (line.trim_end_matches(':'), ""))
}

/// Whether a text is a name, perhaps with its module.
fn is_dotted(text: &str) -> bool {
    let is_inner = |it: char| it.is_alphanumeric() || matches!(it, '_' | '.' | '$');
    !text.is_empty() && text.chars().all(is_inner)
}

/// The digits that a text starts with, and what comes after them.
fn take_number(text: &str) -> Option<(usize, &str)> {
    let n_digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, rest) = text.split_at(n_digits);
    digits.parse().ok().map(|it| (it, rest))
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use expect_test::{Expect, expect};

    use super::*;

    #[track_caller]
    fn check(trace: &str, expected: &Expect) {
        let mut got = String::new();
        for error in parse(trace) {
            let relation = error.relation.map(|it| format!(" ({it:?})")).unwrap_or_default();
            writeln!(got, "{:?}: {:?}{relation}", error.kind, error.message).unwrap();
            for it in error.frames {
                let place = (it.line, it.column);
                writeln!(got, "  {} {place:?} in {:?}: {:?}", it.path, it.function, it.code)
                    .unwrap();
            }
        }
        expected.assert_eq(&got);
    }

    #[test]
    fn a_python_traceback_is_read() {
        check(
            r#"Traceback (most recent call last):
  File "/ws/app.py", line 12, in main
    run(user)
    ~~~^^^^^^
  File "/ws/db.py", line 3, in run
    return user["id"]
           ~~~~^^^^^^
KeyError: 'id'
"#,
            &expect![[r#"
                "KeyError": "'id'"
                  /ws/db.py (3, None) in Some("run"): Some("return user[\"id\"]")
                  /ws/app.py (12, None) in Some("main"): Some("run(user)")
            "#]],
        );
    }

    #[test]
    fn chained_tracebacks_keep_their_relation() {
        check(
            r#"Traceback (most recent call last):
  File "a.py", line 1, in f
ConnectionRefusedError: [Errno 111] Connection refused

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "b.py", line 2, in g
    raise AppError("no db")
app.errors.AppError: no db

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "c.py", line 3, in <module>
SystemExit
"#,
            &expect![[r#"
                "ConnectionRefusedError": "[Errno 111] Connection refused"
                  a.py (1, None) in Some("f"): None
                "app.errors.AppError": "no db" (DuringHandlingOfPrevious)
                  b.py (2, None) in Some("g"): Some("raise AppError(\"no db\")")
                "SystemExit": "" (RaisedFromPrevious)
                  c.py (3, None) in Some("<module>"): None
            "#]],
        );
    }

    #[test]
    fn an_exception_group_is_read_through_its_margin() {
        check(
            r#"  + Exception Group Traceback (most recent call last):
  |   File "a.py", line 1, in f
  | ExceptionGroup: two (2 sub-exceptions)
"#,
            &expect![[r#"
                "ExceptionGroup": "two (2 sub-exceptions)"
                  a.py (1, None) in Some("f"): None
            "#]],
        );
    }

    #[test]
    fn other_languages_are_read_by_their_places() {
        check(
            "thread 'main' panicked at src/main.rs:4:5:\nindex out of bounds\nstack backtrace:\n   \
             0: app::run\n             at ./src/main.rs:4:5\n",
            &expect![[r#"
                "panic": "index out of bounds"
                  src/main.rs (4, Some(5)) in None: None
                  ./src/main.rs (4, Some(5)) in Some("app::run"): None
            "#]],
        );
        check(
            "TypeError: x is not a function\n    at f (/ws/app.js:10:5)\n    at async \
             file:///ws/m.mjs:3:1\n",
            &expect![[r#"
                "TypeError": "x is not a function"
                  /ws/app.js (10, Some(5)) in Some("f"): None
                  /ws/m.mjs (3, Some(1)) in None: None
            "#]],
        );
        check(
            "panic: runtime error: index out of range\n\ngoroutine 1 [running]:\nmain.load(0x1)\n\t\
             /ws/main.go:8 +0x1d\n",
            &expect![[r#"
                "panic": "runtime error: index out of range"
                  /ws/main.go (8, None) in Some("main.load"): None
            "#]],
        );
        check(
            "tests/test_x.py:10: AssertionError\n",
            &expect![[r#"
                "AssertionError": ""
                  tests/test_x.py (10, None) in None: None
            "#]],
        );
        check(
            "error[E0382]: use of moved value\n  --> src/lib.rs:3:4\n",
            &expect![[r#"
            "error[E0382]": "use of moved value"
              src/lib.rs (3, Some(4)) in None: None
        "#]],
        );
    }

    #[test]
    fn a_message_alone_is_an_error_without_frames() {
        check(
            "\n401 Unauthorized from http://host.com:8080/x\n",
            &expect![[r#"
            "": "401 Unauthorized from http://host.com:8080/x"
        "#]],
        );
        check(
            "requests.exceptions.HTTPError: 403",
            &expect![[r#"
            "requests.exceptions.HTTPError": "403"
        "#]],
        );
        check("", &expect![[""]]);
    }

    #[test]
    fn hostile_traces_are_bounded() {
        let frames = "  File \"a.py\", line 99999999999999999999, in f\n".repeat(5_000);
        assert_eq!(parse(&frames)[0].frames, []);
        let frames = "  File \"a.py\", line 1, in f\n".repeat(5_000);
        assert_eq!(parse(&frames)[0].frames.len(), FRAMES_MAX);
        let errors = "XError: y\n".repeat(5_000);
        assert_eq!(parse(&errors).len(), ERRORS_MAX);
        let wide = format!("XError: {}", "y".repeat(1_000_000));
        assert_eq!(parse(&wide)[0].message.chars().count(), TEXT_CHARS_MAX + 1);
        assert_eq!(parse(&"1:".repeat(1_000_000))[0].frames, []);
    }
}
