//! One value against its key: the right kind, inside its range, in its one normal form.

use std::path::PathBuf;

use serde_json::Value;

use super::{
    keys::{Kind, is_name},
    place::{Base, to_mcp_url, to_origin},
    yaml::Yaml,
};
use crate::model::{FailureCode, RetrySpec, text};

/// How much of a text a message shows.
const SHOWN_CHARS_MAX: usize = 80;
const ORIGINS_MAX: usize = 64;
const DAY_SECONDS: f64 = 86_400.0;

/// Brings `value` into normal form; nothing when the key was named without saying anything.
///
/// An error is the end of a sentence that begins with the key: "must be …".
pub(super) fn check(kind: Kind, value: &Yaml, base: &Base) -> Result<Option<Value>, String> {
    let text = value.as_text();
    let checked = match (kind, text) {
        (Kind::Tree, _) => return Ok(Some(value.to_json())),
        (Kind::Origins, _) => return origins(value).map(Some),
        (Kind::Failures, _) => return failures(value).map(Some),
        (Kind::Path, Some(text)) => return base.resolve(text).and_then(to_text).map(Some),
        (Kind::Destination, Some(text)) => return destination(text, base).map(Some),
        (Kind::Url, Some(text)) => return to_mcp_url(text).map(|it| Some(it.into())),
        (Kind::Whole(min, max), _) => whole(min, max, value),
        (Kind::Seconds, _) => seconds(value),
        (Kind::Bool, _) => value.as_bool().map(Value::from),
        (Kind::Word(words), text) => text.and_then(|it| word(words, it)),
        (Kind::Name, text) => text.filter(|it| is_name(it)).map(Value::from),
        (Kind::Path | Kind::Destination | Kind::Url, None) => None,
    };
    match checked {
        Some(value) => Ok(Some(value)),
        None => Err(format!("must be {}, is {}", wanted(kind), shown(value))),
    }
}

/// What a key takes, as the end of "must be".
fn wanted(kind: Kind) -> String {
    match kind {
        Kind::Whole(min, max) => format!("a whole number from {min} to {max}"),
        Kind::Seconds => "a number of seconds above 0, at most 86400".to_owned(),
        Kind::Bool => "true or false".to_owned(),
        Kind::Word(words) => format!("one of {}", words.join(", ")),
        Kind::Name => "a name of 1 to 64 letters, digits, `_` and `-`".to_owned(),
        Kind::Path => "a path".to_owned(),
        Kind::Destination => "`stderr` or a path".to_owned(),
        Kind::Url => "an address such as http://localhost:8051".to_owned(),
        Kind::Origins => "a list of origins".to_owned(),
        Kind::Failures => "a list of failures".to_owned(),
        Kind::Tree => "anything".to_owned(),
    }
}

fn whole(min: u64, max: u64, value: &Yaml) -> Option<Value> {
    let number = value.as_number()?.as_u64()?;
    (min..=max).contains(&number).then(|| number.into())
}

fn seconds(value: &Yaml) -> Option<Value> {
    let number = value.as_number()?.as_f64()?;
    (number > 0.0 && number <= DAY_SECONDS).then(|| number.into())
}

fn word(words: &[&str], text: &str) -> Option<Value> {
    let lower = text.to_ascii_lowercase();
    words.contains(&lower.as_str()).then(|| lower.into())
}

fn destination(text: &str, base: &Base) -> Result<Value, String> {
    match text {
        "stderr" => Ok(text.into()),
        "stdout" => Err("must not be stdout, which carries the protocol".to_owned()),
        path => base.resolve(path).and_then(to_text),
    }
}

fn origins(value: &Yaml) -> Result<Value, String> {
    let Yaml::List(items) = value else {
        return Err(format!("must be a list of origins, is {}", value.kind()));
    };
    if items.len() > ORIGINS_MAX {
        return Err(format!("must hold at most {ORIGINS_MAX} origins, holds {}", items.len()));
    }
    let origin = |it: &Yaml| match it.as_text() {
        Some(text) => to_origin(text).map(Value::from),
        None => Err(format!("must be a list of texts, holds {}", it.kind())),
    };
    items.iter().map(origin).collect()
}

fn failures(value: &Yaml) -> Result<Value, String> {
    let Yaml::List(items) = value else {
        return Err(format!("must be a list of failures, is {}", value.kind()));
    };
    if items.is_empty() {
        return Err("must name at least one failure; leave it out to mean all".to_owned());
    }
    let known = RetrySpec::CODES.map(FailureCode::as_str);
    let failure = |it: &Yaml| {
        let said = it.as_text().unwrap_or_default();
        if known.contains(&said) {
            return Ok(Value::from(said));
        }
        let nearest = text::nearest(said, known).map(|it| format!("; did you mean `{it}`?"));
        let list = known.join(", ");
        Err(format!("must hold some of {list}, holds {}{}", shown(it), nearest.unwrap_or_default()))
    };
    items.iter().map(failure).collect()
}

fn to_text(path: PathBuf) -> Result<Value, String> {
    let text = path.into_os_string().into_string();
    text.map(Value::from).map_err(|_| "must be a path in UTF-8".to_owned())
}

/// The value as a message shows it.
fn shown(value: &Yaml) -> String {
    match value {
        Yaml::Text(it) => format!("\"{}\"", text::escape(&text::cut(it, SHOWN_CHARS_MAX))),
        Yaml::Number(it) => it.to_string(),
        Yaml::Bool(it) => it.to_string(),
        Yaml::Null | Yaml::List(_) | Yaml::Map(_) => value.kind().to_owned(),
    }
}
