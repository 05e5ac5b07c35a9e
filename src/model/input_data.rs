//! A task's `input_data`: kept as text until somebody looks into it.
//!
//! A document is thousands of small objects, and most of them wait for long. As text each is one
//! piece of memory, where a map is a table, a list, and two strings for each field.

use std::{
    borrow::Cow,
    fmt::{self, Write as _},
    ops::{Deref, DerefMut},
    sync::{Arc, OnceLock},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value, value::RawValue};

use super::json::Json;

/// What an agent is told: an object, read from its text at the first look.
#[derive(Default)]
pub struct InputData {
    /// The object in compact form, unless `own` holds it.
    text: Box<str>,
    /// What was read of the text.
    read: OnceLock<Arc<Map<String, Value>>>,
    /// The object where it was never text, or was changed since.
    own: Option<Arc<Map<String, Value>>>,
}

impl InputData {
    /// Copies the fields whose values `is_kept` lets in.
    pub fn from_fields(
        fields: &[(Cow<'_, str>, Json<'_>)],
        is_kept: impl Fn(&Json<'_>) -> bool,
    ) -> Self {
        let kept = || fields.iter().filter(|it| is_kept(&it.1)).map(|it| (it.0.as_ref(), &it.1));
        let mut text = String::with_capacity(measure_object(kept()));
        match write_object(kept(), &mut text) {
            Ok(()) => Self { text: text.into_boxed_str(), ..Self::default() },
            Err(fmt::Error) => {
                kept().map(|it| (it.0.to_owned(), it.1.to_value())).collect::<Map<_, _>>().into()
            }
        }
    }

    /// The value of a field. Text in which its name does not stand is not read.
    pub fn field(&self, name: &str) -> Option<&Value> {
        let is_text = self.own.is_none() && self.read.get().is_none();
        if is_text && !self.text.contains(name) {
            return None;
        }
        self.get(name)
    }
}

/// A copy is kept as the first is: as text, or as an object, which both share.
impl Clone for InputData {
    fn clone(&self) -> Self {
        let text = if self.own.is_none() { self.text.clone() } else { Box::default() };
        Self { text, read: self.read.clone(), own: self.own.clone() }
    }
}

impl From<Map<String, Value>> for InputData {
    fn from(fields: Map<String, Value>) -> Self {
        Self { own: Some(Arc::new(fields)), ..Self::default() }
    }
}

impl Deref for InputData {
    type Target = Map<String, Value>;

    fn deref(&self) -> &Map<String, Value> {
        self.own.as_ref().unwrap_or_else(|| self.read.get_or_init(|| read(&self.text).into()))
    }
}

impl DerefMut for InputData {
    fn deref_mut(&mut self) -> &mut Map<String, Value> {
        let Self { text, read: was_read, own } = self;
        let own = own.get_or_insert_with(|| was_read.take().unwrap_or_else(|| read(text).into()));
        Arc::make_mut(own)
    }
}

impl PartialEq for InputData {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl fmt::Debug for InputData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Map::fmt(self, f)
    }
}

impl Serialize for InputData {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.own.is_none()
            && let Ok(text) = serde_json::from_str::<&RawValue>(&self.text)
        {
            return text.serialize(serializer);
        }
        Map::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for InputData {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Map::deserialize(deserializer).map(Self::from)
    }
}

/// Reads what was written below from a value that had been read, so that it can be read again; no
/// text is no fields.
fn read(text: &str) -> Map<String, Value> {
    serde_json::from_str(text).unwrap_or_default()
}

/// The length of a value's text, as long as nothing in it needs an escape; a number counts for
/// more than it may need.
fn measure(value: &Json<'_>) -> usize {
    match value {
        Json::Null | Json::Bool(_) => 5,
        Json::Number(_) => 20,
        Json::String(text) => text.len() + 2,
        Json::Array(items) => items.iter().map(|it| measure(it) + 1).sum::<usize>().max(1) + 1,
        Json::Object(fields) => measure_object(fields.iter().map(|it| (it.0.as_ref(), &it.1))),
    }
}

fn measure_object<'j>(fields: impl Iterator<Item = (&'j str, &'j Json<'j>)>) -> usize {
    // Quotes, a colon, and a comma for each; the last field's comma is one of the braces.
    fields.map(|(key, value)| key.len() + measure(value) + 4).sum::<usize>().max(1) + 1
}

/// Writes a value as `serde_json` would; refuses a fraction, which need not be read back as the
/// same number.
fn write(value: &Json<'_>, text: &mut String) -> fmt::Result {
    match value {
        Json::Null => text.push_str("null"),
        Json::Bool(it) => text.push_str(if *it { "true" } else { "false" }),
        Json::Number(it) if it.is_f64() => return Err(fmt::Error),
        Json::Number(it) => write!(text, "{it}")?,
        Json::String(it) => write_string(it, text)?,
        Json::Array(items) => {
            text.push('[');
            for (at, item) in items.iter().enumerate() {
                text.push_str(if at == 0 { "" } else { "," });
                write(item, text)?;
            }
            text.push(']');
        }
        Json::Object(fields) => write_object(fields.iter().map(|it| (it.0.as_ref(), &it.1)), text)?,
    }
    Ok(())
}

fn write_object<'j>(
    fields: impl Iterator<Item = (&'j str, &'j Json<'j>)>,
    text: &mut String,
) -> fmt::Result {
    text.push('{');
    for (at, (key, value)) in fields.enumerate() {
        text.push_str(if at == 0 { "" } else { "," });
        write_string(key, text)?;
        text.push(':');
        write(value, text)?;
    }
    text.push('}');
    Ok(())
}

fn write_string(string: &str, text: &mut String) -> fmt::Result {
    let needs_escape = |it: u8| it < b' ' || it == b'"' || it == b'\\';
    // Without an early end, many bytes are looked at together.
    if string.bytes().fold(false, |found, it| found | needs_escape(it)) {
        text.push_str(&serde_json::to_string(string).map_err(|_| fmt::Error)?);
        return Ok(());
    }
    text.push('"');
    text.push_str(string);
    text.push('"');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::json;

    fn input(text: &str) -> InputData {
        let Ok(Json::Object(fields)) = json::read(text.as_bytes()) else { panic!("no object") };
        InputData::from_fields(&fields, |it| *it != Json::Null)
    }

    #[test]
    fn a_field_is_found_as_in_the_object() {
        for text in ["{}", r#"{"path":"b"}"#, r#"{"b":"path"}"#, r#"{"fraction":0.1,"path":[]}"#] {
            let input = input(text);
            let copy = input.clone();
            let found = input.field("path").cloned();
            assert_eq!(found, copy.get("path").cloned());
            assert_eq!(copy.field("path").cloned(), found);
        }
    }

    #[test]
    fn a_change_of_a_copy_leaves_the_other_alone() {
        let one = InputData::from(Map::from_iter([("a".to_owned(), Value::from(1))]));
        let mut other = one.clone();
        other.insert("a".to_owned(), Value::from(2));
        assert_eq!((&one["a"], &other["a"]), (&Value::from(1), &Value::from(2)));
    }

    #[test]
    fn the_text_is_what_serde_json_writes() {
        for text in [
            "{}",
            r#"{"a":"b","c":[],"d":[1,-2,18446744073709551615],"e":{"f":true,"g":{}}}"#,
            r#"{"\"":"\\ \u0001 \n é 😀","x":[false,{"y":null}]}"#,
            r#"{"fraction":0.1,"large":1e300}"#,
        ] {
            let input = input(text);
            let value: Value = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&input).unwrap(), value.to_string());
            assert_eq!(serde_json::to_value(&input).unwrap(), value);
            assert_eq!(Value::Object(Map::clone(&input)), value);
            assert_eq!(serde_json::from_str::<InputData>(text).unwrap(), input);
        }
    }

    #[test]
    fn what_needs_no_escape_fills_its_memory() {
        let text = r#"{"a":"b","c":["d",["e"],[]],"f":{},"g":{"h":"i"}}"#;
        let Ok(value) = json::read(text.as_bytes()) else { panic!("no JSON") };
        assert_eq!(measure(&value), text.len());
    }

    #[test]
    fn a_change_is_seen_by_everybody() {
        let mut input = input(r#"{"a":1,"b":null}"#);
        assert_eq!(input.clone(), input);
        assert_eq!(input.insert("b".into(), 2.into()), None);
        let written = r#"{"a":1,"b":2}"#;
        assert_eq!(serde_json::to_string(&input).unwrap(), written);
        assert_eq!(serde_json::to_string(&input.clone()).unwrap(), written);
        assert_eq!(format!("{input:?}"), r#"{"a": Number(1), "b": Number(2)}"#);
    }
}
