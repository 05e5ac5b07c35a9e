//! One value against its key: the right kind, inside its range, in its one normal form.

use std::{ops::RangeInclusive, path::PathBuf};

use serde_json::Value;

use super::{
    command::may_be_passed_on,
    keys::{Kind, is_name},
    list::{ANY, list},
    network,
    place::{Base, to_address, to_mcp_url, to_origin},
    supply::SecretText,
    telemetry::attribute,
    yaml::Yaml,
};
use crate::model::{FailureCode, RetrySpec, text};

/// How much of a text a message shows.
const SHOWN_CHARS_MAX: usize = 80;
/// How many items the lists have that must not be empty.
const SOME: RangeInclusive<usize> = 1..=256;
const ARGUMENT_BYTES_MAX: usize = 4_096;
const USD_MAX: f64 = 1_000_000.0;
const TEXTS_MAX: usize = 256;
const PIECE_BYTES_MAX: usize = 32 << 10;
const DAY_SECONDS: f64 = 86_400.0;

/// Brings `value` into normal form; nothing when the key was named without saying anything.
///
/// An error is the end of a sentence that begins with the key: "must be …".
pub(super) fn check(kind: Kind, value: &Yaml, base: &Base) -> Result<Option<Value>, String> {
    let text = value.as_text();
    let checked = match (kind, text) {
        (Kind::Tree, _) => return Ok(Some(value.to_json())),
        (Kind::Origins, _) => return list(value, ("origins", ANY), to_origin).map(Some),
        (Kind::Hosts, _) => return network::hosts(value).map(Some),
        (Kind::Addresses, _) => return network::addresses(value).map(Some),
        (Kind::Scopes, _) => return network::scopes(value).map(Some),
        (Kind::Address, Some(text)) => return network::address(text).map(|it| Some(it.into())),
        (Kind::AddressOrFile, Some(text)) => {
            return network::address_or_file(text, base).map(|it| Some(it.into()));
        }
        (Kind::Scope, Some(text)) => return network::scope(text).map(|it| Some(it.into())),
        (Kind::Failures, _) => return failures(value).map(Some),
        (Kind::Argv, _) => {
            return list(value, ("arguments", SOME), argument_of_argv).and_then(argv).map(Some);
        }
        (Kind::Paths, _) => {
            let path = |it: &str| base.resolve(it).and_then(to_text);
            return list(value, ("paths", SOME), path).map(Some);
        }
        (Kind::Arguments, _) => return list(value, ("names", SOME), argument).map(Some),
        (Kind::Variables, _) => {
            return list(value, ("names of variables", SOME), variable).map(Some);
        }
        (Kind::Argument, Some(text)) => return argument(text).map(Some),
        (Kind::Expression, Some(text)) => expression(text),
        (Kind::Usd, _) => usd(value),
        (Kind::Path, Some(text)) => return base.resolve(text).and_then(to_text).map(Some),
        (Kind::Destination, Some(text)) => return destination(text, base).map(Some),
        (Kind::Secret, Some(text)) => {
            return SecretText::parse(text, base).map(|it| Some(it.canonical().into()));
        }
        (Kind::Program, Some(text)) => return program(text, base).map(Some),
        (Kind::Texts, _) => return texts(value, "arguments", piece).map(Some),
        (Kind::Tools, _) => return texts(value, "tools", tool).map(Some),
        (Kind::Attributes, _) => return texts(value, "attributes", attribute).map(Some),
        (Kind::Endpoint, Some(text)) => return to_address(text).map(|it| Some(it.into())),
        (Kind::Ratio, _) => ratio(value),
        (Kind::Url, Some(text)) => return to_mcp_url(text).map(|it| Some(it.into())),
        (Kind::Whole(min, max), _) => whole(min, max, value),
        (Kind::Seconds, _) => seconds(value),
        (Kind::Bool, _) => value.as_bool().map(Value::from),
        (Kind::Word(words), text) => text.and_then(|it| word(words, it)),
        (Kind::Name, text) => text.filter(|it| is_name(it)).map(Value::from),
        (
            Kind::Path
            | Kind::Address
            | Kind::AddressOrFile
            | Kind::Scope
            | Kind::Destination
            | Kind::Url
            | Kind::Endpoint
            | Kind::Argument
            | Kind::Expression
            | Kind::Secret
            | Kind::Program,
            None,
        ) => None,
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
        Kind::Endpoint => "an address such as http://localhost:4318".to_owned(),
        Kind::Attributes => "a list of name=value".to_owned(),
        Kind::Ratio => "a number from 0 to 1".to_owned(),
        Kind::Origins => "a list of origins".to_owned(),
        Kind::Hosts => "a list of hosts".to_owned(),
        Kind::Address => "an address such as https://login.example".to_owned(),
        Kind::Addresses => "a list of addresses".to_owned(),
        Kind::AddressOrFile => "an address or a path".to_owned(),
        Kind::Scope => "a scope".to_owned(),
        Kind::Scopes => "a list of scopes".to_owned(),
        Kind::Failures => "a list of failures".to_owned(),
        Kind::Argument => "a name".to_owned(),
        Kind::Expression => format!("an expression of 1 to {ARGUMENT_BYTES_MAX} bytes"),
        Kind::Arguments | Kind::Variables => "a list of names".to_owned(),
        Kind::Argv => "a list of a program and its arguments".to_owned(),
        Kind::Usd => format!("a number of US dollars above 0, at most {USD_MAX}"),
        Kind::Secret => "a text".to_owned(),
        Kind::Program => "the name or path of a program".to_owned(),
        Kind::Paths | Kind::Texts | Kind::Tools => "a list of texts".to_owned(),
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

fn ratio(value: &Yaml) -> Option<Value> {
    let number = value.as_number()?.as_f64()?;
    (0.0..=1.0).contains(&number).then(|| number.into())
}

fn usd(value: &Yaml) -> Option<Value> {
    let number = value.as_number()?.as_f64()?;
    (number > 0.0 && number <= USD_MAX).then(|| number.into())
}

/// The value of an option: nothing that a program could take for an option itself.
fn argument(text: &str) -> Result<Value, String> {
    let is_plain = !text.is_empty()
        && text.len() <= ARGUMENT_BYTES_MAX
        && !text.starts_with('-')
        && !text.chars().any(char::is_control);
    if is_plain {
        return Ok(text.into());
    }
    let shown = shown(&Yaml::Text(text.to_owned()));
    Err(format!(
        "must be 1 to {ARGUMENT_BYTES_MAX} bytes on one line that do not begin with `-`, is {shown}"
    ))
}

/// What it means is not this room's to say; it may take lines.
fn expression(text: &str) -> Option<Value> {
    let is_text = |it: char| !it.is_control() || matches!(it, '\n' | '\r' | '\t');
    let is_short = !text.trim().is_empty() && text.len() <= ARGUMENT_BYTES_MAX;
    (is_short && text.chars().all(is_text)).then(|| text.into())
}

fn argument_of_argv(text: &str) -> Result<Value, String> {
    if text.len() > ARGUMENT_BYTES_MAX || text.contains('\0') {
        return Err(format!("must hold texts of at most {ARGUMENT_BYTES_MAX} bytes without NUL"));
    }
    Ok(text.into())
}

/// A program is found by its name or stands at an absolute path.
fn argv(list: Value) -> Result<Value, String> {
    let program = list.get(0).and_then(Value::as_str).unwrap_or_default();
    if program.is_empty() || (program.contains('/') && !program.starts_with('/')) {
        let shown = shown(&Yaml::Text(program.to_owned()));
        return Err(format!(
            "must begin with a program's name or absolute path, begins with {shown}"
        ));
    }
    Ok(list)
}

fn variable(text: &str) -> Result<Value, String> {
    let is_inner = |it: u8| it.is_ascii_alphanumeric() || it == b'_';
    let is_name = !text.is_empty()
        && text.len() <= 128
        && !text.as_bytes()[0].is_ascii_digit()
        && text.bytes().all(is_inner);
    if !is_name {
        let shown = shown(&Yaml::Text(text.to_owned()));
        return Err(format!("must hold names of variables, holds {shown}"));
    }
    if !may_be_passed_on(text) {
        return Err(format!("must not hold {text}: what belongs to a session is not passed on"));
    }
    Ok(text.into())
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
        let meant = text::did_you_mean_key(said, known);
        Err(format!("must hold some of {}, holds {}{meant}", known.join(", "), shown(it)))
    };
    items.iter().map(failure).collect()
}

/// A name is looked for on PATH; what has a slash is a path.
fn program(text: &str, base: &Base) -> Result<Value, String> {
    piece(text)?;
    match text {
        "" => Err("must not be empty".to_owned()),
        path if path.contains('/') => base.resolve(path).and_then(to_text),
        name => Ok(name.into()),
    }
}

fn texts(
    value: &Yaml,
    what: &str,
    check: impl Fn(&str) -> Result<(), String>,
) -> Result<Value, String> {
    let Yaml::List(items) = value else {
        return Err(format!("must be a list of {what}, is {}", value.kind()));
    };
    if items.len() > TEXTS_MAX {
        return Err(format!("must hold at most {TEXTS_MAX} {what}, holds {}", items.len()));
    }
    let text = |it: &Yaml| {
        let text = it.as_text().ok_or_else(|| format!("must hold texts, holds {}", shown(it)))?;
        check(text).map(|()| Value::from(text))
    };
    items.iter().map(text).collect()
}

fn piece(text: &str) -> Result<(), String> {
    if text.len() > PIECE_BYTES_MAX || text.contains('\0') {
        return Err("must hold texts of at most 32 KiB without a NUL character".to_owned());
    }
    Ok(())
}

fn tool(pattern: &str) -> Result<(), String> {
    let is_inner = |it: u8| it.is_ascii_alphanumeric() || b"_-./*?".contains(&it);
    if (1..=128).contains(&pattern.len()) && pattern.bytes().all(is_inner) {
        return Ok(());
    }
    let shown = text::escape(&text::cut(pattern, SHOWN_CHARS_MAX));
    Err(format!("must hold names of tools, in which `*` and `?` stand for any, holds \"{shown}\""))
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
