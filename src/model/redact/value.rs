//! Secrets taken out of JSON: by its keys, and out of each text in it.

use std::borrow::Cow;

use serde::{Serialize, Serializer, ser::SerializeMap as _};
use serde_json::{Map, Value};

use super::{REDACTED, redact, word::names_secret};

/// Redacts every string of `value`, and whatever stands under a key that names a secret.
pub fn redact_value(value: &mut Value) {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
        Value::String(text) => {
            if let Cow::Owned(clean) = redact(text) {
                *text = clean;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(redact_value),
        Value::Object(fields) => {
            for (key, value) in fields.iter_mut() {
                if names_secret(key) { blank(value) } else { redact_value(value) }
            }
        }
    }
}

/// Writes a text, a value or an object as [`redact_value`] would leave it, without a copy.
#[derive(Clone, Copy, Debug)]
pub struct Redacted<'a, T: ?Sized>(pub &'a T);

impl Serialize for Redacted<'_, str> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&redact(self.0))
    }
}

impl Serialize for Redacted<'_, Value> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Null | Value::Bool(_) | Value::Number(_) => self.0.serialize(serializer),
            Value::String(text) => Redacted(text.as_str()).serialize(serializer),
            Value::Array(items) => serializer.collect_seq(items.iter().map(Redacted)),
            Value::Object(fields) => Redacted(fields).serialize(serializer),
        }
    }
}

impl Serialize for Redacted<'_, Map<String, Value>> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in self.0 {
            if names_secret(key) {
                let mut value = value.clone();
                blank(&mut value);
                map.serialize_entry(key, &value)?;
            } else {
                map.serialize_entry(key, &Redacted(value))?;
            }
        }
        map.end()
    }
}

/// Blanks all that a secret's name stands over; the shape of lists and objects stays.
fn blank(value: &mut Value) {
    match value {
        Value::Null | Value::Bool(_) => {}
        Value::Number(_) | Value::String(_) => *value = Value::String(REDACTED.to_owned()),
        Value::Array(items) => items.iter_mut().for_each(blank),
        Value::Object(fields) => fields.values_mut().for_each(blank),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_redacted_by_key_and_by_content() {
        let mut value = json!({
            "api-key": "x", "password": ["a", 7, null], "note": "Bearer abc123x", "n": 5,
            "auth": { "accessToken": { "raw": "y" } }, "contract": "a token bucket"
        });
        redact_value(&mut value);
        let expected = json!({
            "api-key": REDACTED, "password": [REDACTED, REDACTED, null],
            "note": "Bearer [redacted]", "n": 5,
            "auth": { "accessToken": { "raw": REDACTED } }, "contract": "a token bucket"
        });
        assert_eq!(value, expected);
    }
}
