//! `${tasks.ID.output.path}`: finds references in texts, and puts outputs in their place.
//!
//! A text that is one reference and nothing else takes the output's own type; elsewhere a string
//! is put in as it is, and anything else as compact JSON. `$${tasks…` stands for a literal
//! `${tasks…`; any other `${…}` is no reference and stays as it is.
//! `${tasks.ID.output.path ?? JSON}` declares what stands there where the task has no output.

use std::{borrow::Cow, collections::BTreeSet};

use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use crate::model::{Failure, FailureCode, text};

/// The most that references may add to one task's input, in bytes of JSON.
pub const RESOLVED_BYTES_MAX: usize = 64 << 20;

const OPENING: &str = "${tasks";
const DEFAULT_MARK: &str = "??";

/// Puts the outputs of upstream tasks in the place of the references to them.
///
/// `output_of` gives a task's output, or `None` if there is none.
pub fn resolve<'v>(
    input: &Map<String, Value>,
    output_of: &dyn Fn(&str) -> Option<&'v Value>,
) -> Result<Map<String, Value>, Failure> {
    let mut resolver = Resolver { output_of, bytes_left: RESOLVED_BYTES_MAX };
    resolver.map(input)
}

/// Whether any string of `input` holds a reference, or the escape of one.
pub fn has_references(input: &Map<String, Value>) -> bool {
    input.values().any(any_string)
}

/// The ids of the tasks whose outputs [`resolve`] may ask for; where an id is followed by
/// `.output` twice, both readings are named.
pub fn referenced_ids(input: &Map<String, Value>) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    input.values().for_each(|it| collect_ids(it, &mut ids));
    ids
}

/// A part of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece<'t> {
    /// Text that stands for itself.
    Text(&'t str),
    /// The inside of a reference's braces, and the whole of it.
    Reference {
        /// `tasks.ID.output…`
        body: &'t str,
        /// The JSON text of the value to take where there is no output.
        default: Option<&'t str>,
        /// `${tasks.ID.output…}`
        whole: &'t str,
    },
    /// A reference without its closing brace.
    Unclosed(&'t str),
}

/// Whether a text may hold a reference; costs one look at each byte.
pub(super) fn may_refer(text: &str) -> bool {
    text.contains('$') && text.contains(OPENING)
}

/// Splits a text at its references.
pub(super) fn split(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut begin = 0;
    let mut from = 0;
    while let Some(at) = text[from..].find(OPENING).map(|it| it + from) {
        let after = at + OPENING.len();
        from = after;
        if text[after..].starts_with(|it: char| it.is_alphanumeric() || it == '_' || it == '-') {
            continue;
        }
        if text[begin..at].ends_with('$') {
            pieces.push(Piece::Text(&text[begin..at - 1]));
            begin = at;
            continue;
        }
        pieces.push(Piece::Text(&text[begin..at]));
        let Some((reference, end)) = read_reference(text, at) else {
            pieces.push(Piece::Unclosed(&text[at..]));
            begin = text.len();
            break;
        };
        pieces.push(reference);
        begin = end + 1;
        from = begin;
    }
    pieces.push(Piece::Text(&text[begin..]));
    pieces.retain(|it| *it != Piece::Text(""));
    pieces
}

/// Reads the reference that begins at `at`; with the place of its closing brace.
fn read_reference(text: &str, at: usize) -> Option<(Piece<'_>, usize)> {
    let inside = &text[at + 2..];
    let end = inside.find('}')?;
    let Some(mark) = inside[..end].find(DEFAULT_MARK) else {
        let end = at + 2 + end;
        let (body, whole) = (&text[at + 2..end], &text[at..=end]);
        return Some((Piece::Reference { body, default: None, whole }, end));
    };
    let json = &inside[mark + DEFAULT_MARK.len()..];
    let length = first_value(json).unwrap_or(0);
    let gap = json[length..].len() - json[length..].trim_start().len();
    // What is no JSON, or is followed by more, makes no reference at all.
    let is_whole = length > 0 && json[length + gap..].starts_with('}');
    let end = if is_whole { mark + DEFAULT_MARK.len() + length + gap } else { end };
    let body = if is_whole { inside[..mark].trim_end() } else { "" };
    let whole = &text[at..=at + 2 + end];
    Some((Piece::Reference { body, default: Some(&json[..length]), whole }, at + 2 + end))
}

/// How many bytes the JSON value at the beginning of a text has.
fn first_value(json: &str) -> Option<usize> {
    let mut values = serde_json::Deserializer::from_str(json).into_iter::<IgnoredAny>();
    values.next()?.ok()?;
    Some(values.byte_offset())
}

/// Reads `tasks.ID.output.path` as (ID, path): each way to read it, for ids may hold dots.
pub(super) fn readings(body: &str) -> impl Iterator<Item = (&str, &str)> {
    let rest = body.strip_prefix("tasks.").unwrap_or("");
    rest.match_indices(".output").filter_map(move |(at, word)| {
        let path = &rest[at + word.len()..];
        let path = if path.is_empty() { path } else { path.strip_prefix('.')? };
        let is_path = !rest.ends_with('.') && !path.split('.').any(str::is_empty);
        (at > 0 && (path.is_empty() || is_path)).then_some((&rest[..at], path))
    })
}

struct Resolver<'f, 'v> {
    output_of: &'f dyn Fn(&str) -> Option<&'v Value>,
    bytes_left: usize,
}

impl<'v> Resolver<'_, 'v> {
    fn map(&mut self, map: &Map<String, Value>) -> Result<Map<String, Value>, Failure> {
        map.iter().map(|(key, value)| Ok((key.clone(), self.value(value)?))).collect()
    }

    fn value(&mut self, value: &Value) -> Result<Value, Failure> {
        Ok(match value {
            Value::String(text) if may_refer(text) => self.text(text)?,
            Value::Array(items) => {
                Value::Array(items.iter().map(|it| self.value(it)).collect::<Result<_, _>>()?)
            }
            Value::Object(map) => Value::Object(self.map(map)?),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
        })
    }

    fn text(&mut self, text: &str) -> Result<Value, Failure> {
        let pieces = split(text);
        if let [reference @ Piece::Reference { whole, .. }] = pieces[..] {
            let found = self.look_up(reference)?;
            self.spend(weigh(&found), whole)?;
            return Ok(found.into_owned());
        }
        let mut resolved = String::with_capacity(text.len());
        for piece in pieces {
            match piece {
                Piece::Text(text) => resolved.push_str(text),
                Piece::Unclosed(text) => return Err(malformed(text)),
                Piece::Reference { whole, .. } => {
                    let found = self.look_up(piece)?;
                    self.spend(weigh(&found), whole)?;
                    match found.as_str() {
                        Some(text) => resolved.push_str(text),
                        None => resolved.push_str(&found.to_string()),
                    }
                }
            }
        }
        Ok(Value::String(resolved))
    }

    fn look_up(&self, piece: Piece<'_>) -> Result<Cow<'v, Value>, Failure> {
        let (body, default, whole) = match piece {
            Piece::Reference { body, default, whole } => (body, default, whole),
            Piece::Text(text) | Piece::Unclosed(text) => return Err(malformed(text)),
        };
        let with_output = |(id, path)| (self.output_of)(id).map(|it| (id, path, it));
        if let Some((id, path, output)) = readings(body).find_map(with_output) {
            return walk(output, id, path, whole).map(Cow::Borrowed);
        }
        let Some((id, _)) = readings(body).next() else { return Err(malformed(whole)) };
        let Some(default) = default else {
            let message = format!("{} cannot be resolved: task {id:?} has no output", show(whole));
            return Err(fail(FailureCode::DependencyFailed, &message));
        };
        serde_json::from_str(default).map(Cow::Owned).map_err(|_| malformed(whole))
    }

    fn spend(&mut self, bytes: usize, whole: &str) -> Result<(), Failure> {
        self.bytes_left = self.bytes_left.checked_sub(bytes).ok_or_else(|| {
            let message =
                format!("{} makes the input larger than {RESOLVED_BYTES_MAX} bytes", show(whole));
            fail(FailureCode::OutputInvalid, &message)
        })?;
        Ok(())
    }
}

fn walk<'v>(output: &'v Value, id: &str, path: &str, whole: &str) -> Result<&'v Value, Failure> {
    let mut value = output;
    let mut way = String::from("output");
    for step in path.split('.').filter(|it| !it.is_empty()) {
        let next = match value {
            Value::Object(map) => map.get(step),
            Value::Array(items) => step.parse::<usize>().ok().and_then(|it| items.get(it)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        };
        value = next.ok_or_else(|| {
            let there = describe(value);
            let message = format!(
                "{} cannot be resolved: {way} of task {id:?} has no {step:?}; {there}",
                show(whole)
            );
            fail(FailureCode::OutputInvalid, &message)
        })?;
        way.push('.');
        way.push_str(step);
    }
    Ok(value)
}

/// What can be referred to inside a value, in words.
fn describe(value: &Value) -> String {
    match value {
        Value::Object(map) if map.is_empty() => "it is an empty object".to_owned(),
        Value::Object(map) => {
            let keys: Vec<_> = map.keys().take(20).map(|it| show(it)).collect();
            format!("there are {}", keys.join(", "))
        }
        Value::Array(items) => format!("it is a list of {} items, counted from 0", items.len()),
        Value::String(_) => "it is a string".to_owned(),
        Value::Number(_) => "it is a number".to_owned(),
        Value::Bool(_) => "it is a boolean".to_owned(),
        Value::Null => "it is null".to_owned(),
    }
}

/// About how many bytes of JSON a value is.
fn weigh(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 2,
        Value::Array(items) => items.iter().map(|it| weigh(it) + 1).sum::<usize>() + 2,
        Value::Object(map) => {
            map.iter().map(|(key, it)| key.len() + weigh(it) + 4).sum::<usize>() + 2
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
    }
}

fn malformed(whole: &str) -> Failure {
    let message = format!("{} is not of the form ${{tasks.ID.output.path}}", show(whole));
    fail(FailureCode::OutputInvalid, &message)
}

fn fail(code: FailureCode, message: &str) -> Failure {
    Failure::new(code, text::escape(&text::cut(message, 1_000)))
}

fn show(word: &str) -> String {
    format!("{:?}", text::cut(word, 160))
}

fn any_string(value: &Value) -> bool {
    match value {
        Value::String(text) => may_refer(text),
        Value::Array(items) => items.iter().any(any_string),
        Value::Object(map) => has_references(map),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn collect_ids(value: &Value, ids: &mut BTreeSet<String>) {
    match value {
        Value::String(text) if may_refer(text) => {
            for piece in split(text) {
                if let Piece::Reference { body, .. } = piece {
                    ids.extend(readings(body).map(|(id, _)| id.to_owned()));
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|it| collect_ids(it, ids)),
        Value::Object(map) => map.values().for_each(|it| collect_ids(it, ids)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::json;

    use super::*;

    /// Resolves `text` in an input, with outputs of the tasks `a`, `1.1` and `x.output`.
    #[track_caller]
    fn check(text: &str, expected: &Expect) {
        let a = json!({"name": "n", "list": [1, {"k": true}], "none": null, "none\u{202e}": 1});
        let dotted = json!("text");
        let output_of = |id: &str| match id {
            "a" => Some(&a),
            "1.1" | "x.output" => Some(&dotted),
            _ => None,
        };
        let input = Map::from_iter([("in".to_owned(), json!([text]))]);
        let got = match resolve(&input, &output_of) {
            Ok(map) => map["in"][0].to_string(),
            Err(failure) => format!("{}: {}", failure.code.as_str(), failure.message),
        };
        expected.assert_eq(&got);
    }

    #[test]
    fn a_whole_reference_keeps_its_type() {
        check("${tasks.a.output.list}", &expect![[r#"[1,{"k":true}]"#]]);
        check("${tasks.a.output.list.1.k}", &expect!["true"]);
        check("${tasks.a.output.none}", &expect!["null"]);
        check("${tasks.1.1.output}", &expect![[r#""text""#]]);
        check("${tasks.x.output.output}", &expect![[r#""text""#]]);
    }

    #[test]
    fn a_default_stands_in_for_an_output_only() {
        check("${tasks.b.output.path ?? \"}\"}", &expect![[r#""}""#]]);
        check("${tasks.b.output ?? {\"k\": [1, null]} }", &expect![[r#"{"k":[1,null]}"#]]);
        check("<${tasks.b.output??7}|${tasks.a.output.name ?? 7}>", &expect![[r#""<7|n>""#]]);
        check(
            "${tasks.a.output.nam ?? 7}",
            &expect![[
                r#"output_invalid: "${tasks.a.output.nam ?? 7}" cannot be resolved: output of task "a" has no "nam"; there are "name", "list", "none", "none\u{202e}""#
            ]],
        );
        check(
            "${tasks.b.output ?? seven}",
            &expect![[
                r#"output_invalid: "${tasks.b.output ?? seven}" is not of the form ${tasks.ID.output.path}"#
            ]],
        );
    }

    #[test]
    fn references_inside_a_text_become_text() {
        check(
            "<${tasks.a.output.name}|${tasks.a.output.list}>",
            &expect![[r#""<n|[1,{\"k\":true}]>""#]],
        );
    }

    #[test]
    fn what_is_no_reference_stays() {
        check("$${tasks.a.output}", &expect![[r#""${tasks.a.output}""#]]);
        check("x $${tasks.a.output} $${HOME}", &expect![[r#""x ${tasks.a.output} $${HOME}""#]]);
        check("${OUTPUT_DIR}/x ${tasks_dir}", &expect![[r#""${OUTPUT_DIR}/x ${tasks_dir}""#]]);
    }

    #[test]
    fn what_cannot_be_resolved_is_named() {
        check(
            "${tasks.a.output.nam}",
            &expect![[
                r#"output_invalid: "${tasks.a.output.nam}" cannot be resolved: output of task "a" has no "nam"; there are "name", "list", "none", "none\u{202e}""#
            ]],
        );
        check(
            "${tasks.a.output.list.2}",
            &expect![[
                r#"output_invalid: "${tasks.a.output.list.2}" cannot be resolved: output.list of task "a" has no "2"; it is a list of 2 items, counted from 0"#
            ]],
        );
        check(
            "${tasks.b.output}",
            &expect![[
                r#"dependency_failed: "${tasks.b.output}" cannot be resolved: task "b" has no output"#
            ]],
        );
        check(
            "${tasks.a}",
            &expect![[
                r#"output_invalid: "${tasks.a}" is not of the form ${tasks.ID.output.path}"#
            ]],
        );
        check(
            "a ${tasks.a.output",
            &expect![[
                r#"output_invalid: "${tasks.a.output" is not of the form ${tasks.ID.output.path}"#
            ]],
        );
    }

    #[test]
    fn what_references_add_is_bounded() {
        let big = Value::String("x".repeat(1 << 20));
        let output_of = |_: &str| Some(&big);
        let input = Map::from_iter([("in".to_owned(), json!("${tasks.a.output}".repeat(100)))]);
        let failure = resolve(&input, &output_of).unwrap_err();
        assert_eq!(failure.code, FailureCode::OutputInvalid);
    }

    #[test]
    fn the_ids_that_are_referred_to_are_listed() {
        let input = Map::from_iter([(
            "in".to_owned(),
            json!(["${tasks.x.output.output}", {"k":
            "a ${tasks.b.output.z} $${tasks.c.output}"}]),
        )]);
        assert!(has_references(&input));
        let ids: Vec<_> = referenced_ids(&input).into_iter().collect();
        assert_eq!(ids, ["b", "x", "x.output"]);
    }
}
