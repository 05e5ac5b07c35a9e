//! Reads `input_data`: the fields of the built-in agents, and the references in any input.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::{
    config,
    faults::{Faults, Place},
    fields::{self, Blank, Fields, TEXT_CHARS_MAX},
};
use crate::{
    model::{InputData, json::Json},
    plan::{
        reference,
        rules::{InputKind, Rules},
    },
};

pub(super) static CODER: Fields<6> = Fields {
    names: [
        "contract_description",
        "node_type",
        "output_path",
        "context_files",
        "validation_level",
        "pre_gathered_context",
    ],
    alias: None,
    hint: "a coder's input_data takes contract_description, node_type, output_path, \
           context_files, validation_level, pre_gathered_context",
};

pub(super) static DEBUG: Fields<6> = Fields {
    names: [
        "problem_description",
        "affected_files",
        "error_traces",
        "analysis_depth",
        "hypothesis",
        "pre_gathered_context",
    ],
    alias: None,
    hint: "a debug agent's input_data takes problem_description, affected_files, error_traces, \
           analysis_depth, hypothesis, pre_gathered_context",
};

pub(super) static TOOL: Fields<3> = Fields {
    names: ["upstream", "tool", "arguments"],
    alias: None,
    hint: "the input_data of the agent tool takes upstream, tool, arguments",
};

/// The longest name of an upstream or a tool, in characters.
const NAME_CHARS_MAX: usize = 128;
const NODE_TYPES: [&str; 4] = ["Effect", "Compute", "Reducer", "Orchestrator"];
const VALIDATION_LEVELS: [&str; 3] = ["strict", "moderate", "lenient"];
const ANALYSIS_DEPTHS: [&str; 3] = ["quick", "standard", "deep"];

/// An input that was read.
#[derive(Debug, Default)]
pub(super) struct Input<'j> {
    /// The fields, those that are null left out for the built-in agents.
    pub(super) data: InputData,
    /// Where a coder writes, unless a reference decides it.
    pub(super) output_path: Option<&'j str>,
}

/// Reads an input of the given kind; `kind` is `None` where the agent is unknown.
pub(super) fn read<'j>(
    json: &'j Json<'_>,
    place: &Place<'_>,
    kind: Option<InputKind>,
    rules: &Rules<'_>,
    faults: &mut Faults,
) -> Input<'j> {
    let Json::Object(entries) = json else {
        fields::wrong_type(json, "an object", place, faults);
        return Input::default();
    };
    let output_path = match kind {
        Some(InputKind::Coder) => read_coder(json, place, rules, faults),
        Some(InputKind::Debug) => {
            read_debug(json, place, rules, faults);
            None
        }
        Some(InputKind::Tool) => {
            read_tool(json, place, faults);
            None
        }
        Some(InputKind::Free) | None => None,
    };
    let keeps_nulls = !matches!(kind, Some(InputKind::Coder | InputKind::Debug));
    let data = InputData::from_fields(entries, |it| keeps_nulls || !matches!(it, Json::Null));
    Input { data, output_path }
}

fn read_coder<'j>(
    json: &'j Json<'_>,
    place: &Place<'_>,
    rules: &Rules<'_>,
    faults: &mut Faults,
) -> Option<&'j str> {
    let object = CODER.read(json, place, faults)?;
    let at = |field: usize| place.key(CODER.names[field]);
    if let Some(it) = object.require(0, place, "say what the code shall do", faults) {
        fields::text(it, &at(0), Blank::Refused, TEXT_CHARS_MAX, faults);
    }
    let hint = "choose \"Effect\", \"Compute\", \"Reducer\" or \"Orchestrator\"";
    if let Some(it) = object.require(1, place, hint, faults).filter(is_fixed) {
        fields::word(it, &at(1), &NODE_TYPES, faults);
    }
    let hint = "name the file to write, as an absolute path inside a workspace";
    let output = object.require(2, place, hint, faults).filter(is_fixed);
    let output = output.and_then(|it| read_path(it, &at(2), rules, faults));
    if let Some(it) = object.get(3).filter(is_fixed) {
        read_paths(it, &at(3), rules, faults);
    }
    if let Some(it) = object.get(4).filter(is_fixed) {
        fields::word(it, &at(4), &VALIDATION_LEVELS, faults);
    }
    check_context(object.get(5), &at(5), faults);
    output
}

fn read_debug(json: &Json<'_>, place: &Place<'_>, rules: &Rules<'_>, faults: &mut Faults) {
    let Some(object) = DEBUG.read(json, place, faults) else { return };
    let at = |field: usize| place.key(DEBUG.names[field]);
    if let Some(it) = object.require(0, place, "say what goes wrong", faults) {
        fields::text(it, &at(0), Blank::Refused, TEXT_CHARS_MAX, faults);
    }
    if let Some(it) = object.get(1).filter(is_fixed) {
        read_paths(it, &at(1), rules, faults);
    }
    if let Some(it) = object.get(2).filter(is_fixed) {
        let traces = at(2);
        for (nth, item) in fields::list(it, &traces, faults).unwrap_or_default().iter().enumerate()
        {
            fields::text(item, &traces.index(nth), Blank::Allowed, TEXT_CHARS_MAX, faults);
        }
    }
    if let Some(it) = object.get(3).filter(is_fixed) {
        fields::word(it, &at(3), &ANALYSIS_DEPTHS, faults);
    }
    if let Some(it) = object.get(4) {
        fields::text(it, &at(4), Blank::Allowed, TEXT_CHARS_MAX, faults);
    }
    check_context(object.get(5), &at(5), faults);
}

fn read_tool(json: &Json<'_>, place: &Place<'_>, faults: &mut Faults) {
    let Some(object) = TOOL.read(json, place, faults) else { return };
    let [upstream, tool, arguments] = TOOL.names.map(|it| place.key(it));
    if let Some(it) = object.get(0).filter(is_fixed) {
        fields::text(it, &upstream, Blank::Refused, NAME_CHARS_MAX, faults);
    }
    let named = object.require(1, place, "name the tool to call", faults).filter(is_fixed);
    if let Some(it) = named {
        fields::text(it, &tool, Blank::Refused, NAME_CHARS_MAX, faults);
    }
    let given = object.get(2).filter(is_fixed);
    if let Some(it) = given.filter(|it| !matches!(it, Json::Object(_))) {
        fields::wrong_type(it, "an object", &arguments, faults);
    }
}

fn check_context(context: Option<&Json<'_>>, place: &Place<'_>, faults: &mut Faults) {
    if let Some(it) = context.filter(is_fixed)
        && !matches!(it, Json::Object(_))
    {
        fields::wrong_type(it, "an object", place, faults);
    }
}

/// Whether a value is known now; one with a reference in it is known only when the task starts.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "Option::filter hands out references")]
fn is_fixed(json: &&Json<'_>) -> bool {
    !matches!(json, Json::String(text) if reference::may_refer(text))
}

fn read_path<'j>(
    json: &'j Json<'_>,
    place: &Place<'_>,
    rules: &Rules<'_>,
    faults: &mut Faults,
) -> Option<&'j str> {
    let path = fields::text(json, place, Blank::Refused, TEXT_CHARS_MAX, faults)?;
    config::check_path(path, place, rules, faults).then_some(path)
}

fn read_paths(json: &Json<'_>, place: &Place<'_>, rules: &Rules<'_>, faults: &mut Faults) {
    for (at, item) in fields::list(json, place, faults).unwrap_or_default().iter().enumerate() {
        if is_fixed(&item) {
            read_path(item, &place.index(at), rules, faults);
        }
    }
}

/// The same value, with what is not known yet as if it were a reference.
pub(super) fn mask<'j>(json: &'j Json<'_>, is_unknown: &dyn Fn(&str) -> bool) -> Json<'j> {
    match json {
        Json::String(text) if is_unknown(text) => Json::String("${tasks.it.output}".into()),
        Json::String(text) => Json::String(text.as_ref().into()),
        Json::Array(items) => Json::Array(items.iter().map(|it| mask(it, is_unknown)).collect()),
        Json::Object(entries) => {
            let masked = |(key, it): &'j (Cow<'_, str>, Json<'_>)| {
                (Cow::Borrowed(key.as_ref()), mask(it, is_unknown))
            };
            Json::Object(entries.iter().map(masked).collect())
        }
        Json::Null => Json::Null,
        Json::Bool(it) => Json::Bool(*it),
        Json::Number(it) => Json::Number(it.clone()),
    }
}

/// Walks over every string inside a value, in order.
pub(super) fn walk_strings(
    json: &Json<'_>,
    place: &Place<'_>,
    visit: &mut impl FnMut(&str, &Place<'_>),
) {
    match json {
        Json::String(text) => visit(text, place),
        Json::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                walk_strings(item, &place.index(at), visit);
            }
        }
        Json::Object(entries) => {
            for (key, value) in entries {
                walk_strings(value, &place.key(key), visit);
            }
        }
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
}

/// Reads an input again after its references were resolved.
pub(super) fn check_map(
    data: &Map<String, Value>,
    kind: InputKind,
    rules: &Rules<'_>,
) -> Result<(), crate::model::Refusal> {
    let json = Json::from_map(data)?;
    let mut faults = Faults::default();
    read(&json, &Place::ROOT, Some(kind), rules, &mut faults);
    faults.finish()
}
