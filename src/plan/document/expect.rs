//! Reads a task's `expect` and `output_schema`.

use serde_json::Value;

use super::{
    config::check_path,
    faults::{Faults, Place, quote},
    fields::{self, Blank, Fields},
};
use crate::{
    model::{ErrorCode, ExpectSpec, json::Json, text},
    plan::{Condition, OutputSchema, WHEN_CHARS_MAX, rules::Rules},
};

pub(super) static EXPECT: Fields<4> = Fields {
    names: ["files", "changed", "checks", "condition"],
    alias: None,
    hint: "expect takes files, changed, checks, condition",
};

/// The longest path, in characters.
const PATH_CHARS_MAX: usize = 4_096;
/// The longest name of a check, in characters.
const NAME_CHARS_MAX: usize = 64;

/// Reads `expect` and `output_schema`.
pub(super) fn read_both(
    [expect, schema]: [Option<&Json<'_>>; 2],
    place: &Place<'_>,
    rules: &Rules<'_>,
    faults: &mut Faults,
) -> (Option<ExpectSpec>, Option<Box<Value>>) {
    let [at_expect, at_schema] = [place.key("expect"), place.key("output_schema")];
    let expect = expect.and_then(|it| read(it, &at_expect, rules, faults));
    (expect, schema.and_then(|it| read_schema(it, &at_schema, faults)))
}

/// Reads `expect`.
fn read(
    json: &Json<'_>,
    place: &Place<'_>,
    rules: &Rules<'_>,
    faults: &mut Faults,
) -> Option<ExpectSpec> {
    let object = EXPECT.read(json, place, faults)?;
    let [files, changed, checks, condition] = EXPECT.names.map(|it| place.key(it));
    let paths = |at: usize, place: &Place<'_>, faults: &mut Faults| {
        object.get(at).map(|it| read_paths(it, place, rules, faults)).unwrap_or_default()
    };
    let (files, changed) = (paths(0, &files, faults), paths(1, &changed, faults));
    let checks = object.get(2).map(|it| read_checks(it, &checks, rules, faults));
    let condition = object.get(3).and_then(|it| read_condition(it, &condition, faults));
    let spec = ExpectSpec { files, changed, checks: checks.unwrap_or_default(), condition };
    if (0..4).all(|it| object.get(it).is_none()) {
        let what = format_args!("must expect something");
        faults.add(|| place.fault(ErrorCode::EmptyValue, what, EXPECT.hint));
    }
    Some(spec)
}

/// Reads `output_schema`.
fn read_schema(json: &Json<'_>, place: &Place<'_>, faults: &mut Faults) -> Option<Box<Value>> {
    let schema = json.to_value();
    match OutputSchema::read(&schema) {
        Ok(_) => Some(Box::new(schema)),
        Err(why) => {
            let hint = "write a JSON Schema of draft 2020-12 that stands for itself";
            faults.add(|| place.fault(ErrorCode::InvalidExpression, format_args!("{why}"), hint));
            None
        }
    }
}

fn read_paths(
    json: &Json<'_>,
    place: &Place<'_>,
    rules: &Rules<'_>,
    faults: &mut Faults,
) -> Vec<String> {
    let most = ExpectSpec::FILES_MAX;
    let items = read_texts(json, place, (most, PATH_CHARS_MAX), faults);
    for (at, path) in items.iter().enumerate() {
        check_path(path, &place.index(at), rules, faults);
    }
    items
}

fn read_checks(
    json: &Json<'_>,
    place: &Place<'_>,
    rules: &Rules<'_>,
    faults: &mut Faults,
) -> Vec<String> {
    let names = read_texts(json, place, (ExpectSpec::CHECKS_MAX, NAME_CHARS_MAX), faults);
    for (at, name) in names.iter().enumerate() {
        if rules.checks.iter().any(|it| it == name) {
            continue;
        }
        let guess = text::did_you_mean(name, rules.checks.iter().map(String::as_str));
        let what = format_args!("names {}, which is no check of the settings{guess}", quote(name));
        let hint = "commands come from the settings only: checks.NAME.argv";
        faults.add(|| place.index(at).fault(ErrorCode::InvalidReference, what, hint));
    }
    names
}

fn read_condition(json: &Json<'_>, place: &Place<'_>, faults: &mut Faults) -> Option<String> {
    let source = fields::text(json, place, Blank::Refused, WHEN_CHARS_MAX, faults)?;
    for it in Condition::read_of_output(source).err().into_iter().flatten() {
        faults.add(|| place.fault(it.code, format_args!("{}", it.what), &it.hint));
    }
    Some(source.to_owned())
}

fn read_texts(
    json: &Json<'_>,
    place: &Place<'_>,
    (most, chars_max): (usize, usize),
    faults: &mut Faults,
) -> Vec<String> {
    let Some(items) = fields::list(json, place, faults) else { return Vec::new() };
    if items.len() > most {
        let what = format_args!("must have at most {most} items");
        faults.add(|| place.fault(ErrorCode::LimitExceeded, what, "look at fewer things"));
        return Vec::new();
    }
    let mut texts = Vec::with_capacity(items.len());
    for (at, item) in items.iter().enumerate() {
        let text = fields::text(item, &place.index(at), Blank::Refused, chars_max, faults);
        texts.extend(text.map(str::to_owned));
    }
    texts
}
