//! Strict reading of JSON: what means two things, or goes too deep, is refused with its place.
//!
//! `serde_json` keeps the last of two equal keys silently, and takes any depth up to 128; a
//! document from strangers must not be read in two ways. [`read`] finds every duplicate key in one
//! pass.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};

use super::{ErrorCode, Fault, Refusal};

/// The deepest nesting that is read.
pub const DEPTH_MAX: usize = 64;

/// A JSON value that borrows its strings from the text where it can.
#[derive(Clone, Debug, PartialEq)]
pub enum Json<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A finite number.
    Number(Number),
    /// A string.
    String(Cow<'a, str>),
    /// A list.
    Array(Box<[Self]>),
    /// An object, its fields in the order of the text.
    Object(Box<[(Cow<'a, str>, Self)]>),
}

/// The way to a value, kept on the stack so that it costs nothing until a fault needs it; shown as
/// a JSON pointer (RFC 6901).
#[derive(Clone, Copy, Debug)]
pub enum Path<'p> {
    /// The whole document.
    Root,
    /// A field of an object.
    Key(&'p Self, &'p str),
    /// An item of a list, from 0.
    Index(&'p Self, usize),
}

/// Reads one JSON value; refuses with every duplicate key, or with the first other fault.
///
/// Costs O(bytes), and O(fields²) for an object's own fields up to 32 of them, O(fields log fields)
/// above.
pub fn read(text: &[u8]) -> Result<Json<'_>, Refusal> {
    let mut faults = Faults::default();
    // Text that is checked as a whole is not checked again string by string.
    let read = match std::str::from_utf8(text) {
        Ok(text) => read_with(serde_json::Deserializer::from_str(text), &mut faults),
        Err(_) => read_with(serde_json::Deserializer::from_slice(text), &mut faults),
    };
    let too_deep = faults.too_deep.take();
    match (read, too_deep, Refusal::from_faults(faults.list, faults.count)) {
        (_, Some(path), _) => Err(Refusal::of(
            ErrorCode::TooDeep,
            path,
            &format!("the document is nested more than {DEPTH_MAX} levels deep"),
            "flatten it, or pass the deep part as a string",
        )),
        (_, None, Some(refusal)) => Err(refusal),
        (Ok(json), None, None) => Ok(json),
        (Err(error), None, None) => Err(refuse_syntax(&error)),
    }
}

fn read_with<'de, R: serde_json::de::Read<'de>>(
    mut deserializer: serde_json::Deserializer<R>,
    faults: &mut Faults,
) -> Result<Json<'de>, serde_json::Error> {
    let mut pending = Pending::default();
    let seed = JsonSeed { faults, pending: &mut pending, path: Path::Root, depth: 0 };
    let json = seed.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(json)
}

impl<'a> Json<'a> {
    /// Views a value that was parsed elsewhere; refuses one that is nested too deep.
    pub fn from_value(value: &'a Value) -> Result<Self, Refusal> {
        Self::from_value_below(value, 0)
    }

    /// Views an object that was parsed elsewhere; refuses one that is nested too deep.
    pub fn from_map(map: &'a Map<String, Value>) -> Result<Self, Refusal> {
        Self::from_fields(map, 0)
    }

    /// Copies the value into `serde_json`'s own type.
    pub fn to_value(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(it) => Value::Bool(*it),
            Self::Number(it) => Value::Number(it.clone()),
            Self::String(it) => Value::String(it.as_ref().to_owned()),
            Self::Array(items) => Value::Array(items.iter().map(Self::to_value).collect()),
            Self::Object(fields) => Value::Object(to_map(fields)),
        }
    }

    /// What kind of value it is, with its article: for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::String(_) => "a string",
            Self::Array(_) => "a list",
            Self::Object(_) => "an object",
        }
    }

    fn from_value_below(value: &'a Value, depth: usize) -> Result<Self, Refusal> {
        if depth > DEPTH_MAX {
            return Err(Refusal::of(
                ErrorCode::TooDeep,
                "",
                &format!("the document is nested more than {DEPTH_MAX} levels deep"),
                "flatten it, or pass the deep part as a string",
            ));
        }
        Ok(match value {
            Value::Null => Self::Null,
            Value::Bool(it) => Self::Bool(*it),
            Value::Number(it) => Self::Number(it.clone()),
            Value::String(it) => Self::String(Cow::Borrowed(it)),
            Value::Array(items) => {
                let items = items.iter().map(|it| Self::from_value_below(it, depth + 1));
                Self::Array(items.collect::<Result<_, _>>()?)
            }
            Value::Object(map) => Self::from_fields(map, depth)?,
        })
    }

    fn from_fields(map: &'a Map<String, Value>, depth: usize) -> Result<Self, Refusal> {
        let fields = map.iter().map(|(key, value)| {
            Ok((Cow::Borrowed(key.as_str()), Self::from_value_below(value, depth + 1)?))
        });
        Ok(Self::Object(fields.collect::<Result<_, Refusal>>()?))
    }
}

/// Copies fields into `serde_json`'s own map.
pub fn to_map(fields: &[(Cow<'_, str>, Json<'_>)]) -> Map<String, Value> {
    fields.iter().map(|(key, value)| (key.as_ref().to_owned(), value.to_value())).collect()
}

/// Appends `key` to the JSON pointer `path`, escaped as RFC 6901 says.
pub fn child(path: &str, key: &str) -> String {
    format!("{path}/{}", key.replace('~', "~0").replace('/', "~1"))
}

#[derive(Default)]
struct Faults {
    list: Vec<Fault>,
    count: usize,
    too_deep: Option<String>,
}

struct JsonSeed<'p, 'de> {
    faults: &'p mut Faults,
    pending: &'p mut Pending<'de>,
    path: Path<'p>,
    depth: usize,
}

/// What was read of the lists and objects that are still open, the innermost last.
///
/// So that each gets memory once, of the very size: a large document is many small objects.
#[derive(Default)]
struct Pending<'de> {
    items: Vec<Json<'de>>,
    fields: Vec<(Cow<'de, str>, Json<'de>)>,
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Key(parent, key) => f.write_str(&child(&parent.to_string(), key)),
            Self::Index(parent, at) => write!(f, "{parent}/{at}"),
        }
    }
}

impl<'de> DeserializeSeed<'de> for JsonSeed<'_, 'de> {
    type Value = Json<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for JsonSeed<'_, 'de> {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json<'de>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, it: bool) -> Result<Json<'de>, E> {
        Ok(Json::Bool(it))
    }

    fn visit_i64<E>(self, it: i64) -> Result<Json<'de>, E> {
        Ok(Json::Number(it.into()))
    }

    fn visit_u64<E>(self, it: u64) -> Result<Json<'de>, E> {
        Ok(Json::Number(it.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, it: f64) -> Result<Json<'de>, E> {
        Number::from_f64(it).map(Json::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_borrowed_str<E>(self, it: &'de str) -> Result<Json<'de>, E> {
        Ok(Json::String(Cow::Borrowed(it)))
    }

    fn visit_str<E>(self, it: &str) -> Result<Json<'de>, E> {
        Ok(Json::String(Cow::Owned(it.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<Json<'de>, A::Error> {
        self.check_depth()?;
        let begin = self.pending.items.len();
        loop {
            let path = Path::Index(&self.path, self.pending.items.len() - begin);
            let (faults, pending) = (&mut *self.faults, &mut *self.pending);
            let seed = JsonSeed { faults, pending, path, depth: self.depth + 1 };
            match list.next_element_seed(seed)? {
                Some(item) => self.pending.items.push(item),
                None => return Ok(Json::Array(split_off(&mut self.pending.items, begin))),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Json<'de>, A::Error> {
        self.check_depth()?;
        let begin = self.pending.fields.len();
        while let Some(Key(key)) = map.next_key()? {
            let path = Path::Key(&self.path, &key);
            let (faults, pending) = (&mut *self.faults, &mut *self.pending);
            let seed = JsonSeed { faults, pending, path, depth: self.depth + 1 };
            let value = map.next_value_seed(seed)?;
            self.pending.fields.push((key, value));
        }
        let fields = split_off(&mut self.pending.fields, begin);
        find_duplicates(&fields, &self.path, self.faults);
        Ok(Json::Object(fields))
    }
}

/// Moves the end of a list to memory of its own; `Vec::split_off` would give away the capacity.
fn split_off<T>(list: &mut Vec<T>, begin: usize) -> Box<[T]> {
    list.drain(begin..).collect()
}

impl JsonSeed<'_, '_> {
    fn check_depth<E: serde::de::Error>(&mut self) -> Result<(), E> {
        if self.depth < DEPTH_MAX {
            return Ok(());
        }
        if self.faults.too_deep.is_none() {
            self.faults.too_deep = Some(self.path.to_string());
        }
        Err(E::custom("too deep"))
    }
}

/// A key, borrowed from the text unless it holds escapes.
struct Key<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E>(self, it: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(it)))
            }

            fn visit_str<E>(self, it: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(it.to_owned())))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}

fn find_duplicates(fields: &[(Cow<'_, str>, Json<'_>)], path: &Path<'_>, faults: &mut Faults) {
    let mut report = |key: &str| {
        faults.count += 1;
        if faults.list.len() < Refusal::FAULTS_MAX {
            let pointer = child(&path.to_string(), key);
            let message = format!("the key {key:?} stands twice in one object");
            let hint = "keep one of the two; which one counts would be a guess";
            faults.list.push(Fault::new(ErrorCode::ParseError, pointer, &message, hint));
        }
    };
    if fields.len() <= 32 {
        for (at, (key, _)) in fields.iter().enumerate() {
            if fields[..at].iter().any(|it| it.0 == *key) {
                report(key);
            }
        }
        return;
    }
    let mut keys: Vec<&str> = fields.iter().map(|it| it.0.as_ref()).collect();
    keys.sort_unstable();
    keys.windows(2).filter(|it| it[0] == it[1]).for_each(|it| report(it[0]));
}

fn refuse_syntax(error: &serde_json::Error) -> Refusal {
    let message = format!("failed to read the document as JSON: {error}");
    let text = error.to_string();
    let hint = if error.is_eof() {
        "the text ends too early: a bracket or a quote is not closed"
    } else if text.contains("surrogate") || text.contains("hex escape") {
        r"write characters beyond U+FFFF as two \u escapes that belong together, or as UTF-8"
    } else if text.contains("number out of range") {
        "numbers must fit a 64-bit float"
    } else {
        "JSON knows no comments, trailing commas, NaN or Infinity; strings need double quotes"
    };
    Refusal::of(ErrorCode::ParseError, "", &message, hint)
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &Expect) {
        let got = match read(text.as_bytes()) {
            Ok(json) => json.to_value().to_string(),
            Err(refusal) => {
                let faults = refusal.faults().iter();
                let lines = faults
                    .map(|it| format!("{} at {:?}: {}", it.code.as_str(), it.path, it.message));
                lines.collect::<Vec<_>>().join("\n")
            }
        };
        expected.assert_eq(&got);
    }

    #[test]
    fn numbers_are_what_they_say_however_often_they_are_read() {
        for text in ["31.245270191439438", "121.48791951161945", "122.41629403378658"] {
            let value = read(text.as_bytes()).unwrap().to_value();
            assert_eq!(value.as_f64(), text.parse().ok(), "{text}");
            assert_eq!(value.to_string(), text);
        }
    }

    #[test]
    fn values_keep_their_order() {
        check(
            r#"{"b": [1, -2, 3.5, true, null], "a": "x\n\u00e9"}"#,
            &expect![[r#"{"b":[1,-2,3.5,true,null],"a":"x\né"}"#]],
        );
    }

    #[test]
    fn every_duplicate_key_is_named() {
        check(
            r#"{"a": {"x": 1, "x": 2}, "a/b": [{"~": 1, "\u007e": 2}]}"#,
            &expect![[r#"
                parse_error at "/a/x": the key "x" stands twice in one object
                parse_error at "/a~1b/0/~0": the key "~" stands twice in one object"#]],
        );
    }

    #[test]
    fn duplicates_are_found_in_large_objects_too() {
        let fields: Vec<_> = (0..100).map(|it| format!("\"k{}\": 1", it % 99)).collect();
        check(
            &format!("{{{}}}", fields.join(",")),
            &expect![[r#"parse_error at "/k0": the key "k0" stands twice in one object"#]],
        );
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(read(nested(DEPTH_MAX).as_bytes()).is_ok());
        for depth in [DEPTH_MAX + 1, 127, 128, 1_000_000] {
            let refusal = read(nested(depth).as_bytes()).unwrap_err();
            assert_eq!(refusal.code(), ErrorCode::TooDeep);
        }
    }

    #[test]
    fn what_is_not_json_is_refused() {
        check(
            r#"{"a": NaN}"#,
            &expect![
                "parse_error at \"\": failed to read the document as JSON: expected value at line 1 column 7"
            ],
        );
        check(
            "1e999",
            &expect![
                "parse_error at \"\": failed to read the document as JSON: number out of range at line 1 column 5"
            ],
        );
        check(
            r#""\ud800""#,
            &expect![
                "parse_error at \"\": failed to read the document as JSON: unexpected end of hex escape at line 1 column 8"
            ],
        );
        check(
            "{} {}",
            &expect![
                "parse_error at \"\": failed to read the document as JSON: trailing characters at line 1 column 4"
            ],
        );
        check(
            "",
            &expect![
                "parse_error at \"\": failed to read the document as JSON: EOF while parsing a value at line 1 column 0"
            ],
        );
    }
}
