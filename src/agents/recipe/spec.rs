//! A recipe as it is written: the fields of the settings, before anything in it is read further.

use std::{collections::BTreeMap, path::PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

/// A recipe.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RecipeSpec {
    /// The upstream of the steps that name none; where nothing is said, the agent's.
    pub(super) upstream: Option<String>,
    /// One tool that stands for all tools of that upstream.
    pub(super) gateway: Option<GatewaySpec>,
    /// When an answer of any call is a failure, beyond what every upstream's answers mean.
    pub(super) fail_when: Option<String>,
    /// The fields of the input that need more than to be passed on, by name.
    #[serde(default)]
    pub(super) input: BTreeMap<String, FieldSpec>,
    /// What becomes of a field that `input` does not name.
    #[serde(default)]
    pub(super) other_input: OtherInput,
    pub(super) levels: Option<LevelsSpec>,
    /// Read one by one, so that a fault is told with its step.
    pub(super) steps: Vec<Value>,
    pub(super) output: Value,
}

/// How calls go through one tool.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GatewaySpec {
    pub(super) tool: String,
    /// Templates with `tool` and `args`.
    pub(super) args: Map<String, Value>,
    /// An expression or template with `r`, the gateway's answer.
    pub(super) unwrap: Value,
}

/// One field of the input.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FieldSpec {
    #[serde(rename = "type")]
    pub(super) kind: Option<FieldKind>,
    #[serde(default)]
    pub(super) required: bool,
    pub(super) default: Option<Value>,
    /// Other names under which the field may come.
    #[serde(default)]
    pub(super) aliases: Vec<String>,
    /// The only values that are taken.
    #[serde(rename = "enum")]
    pub(super) one_of: Option<Vec<Value>>,
}

/// The type of a field, in the words of JSON Schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum FieldKind {
    String,
    Integer,
    Number,
    Boolean,
    Array,
    Object,
}

/// What becomes of a field that the recipe does not name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum OtherInput {
    #[default]
    Keep,
    Refuse,
}

/// A table of what depends on one word of the input.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LevelsSpec {
    /// The field of the input that holds the word.
    pub(super) by: String,
    /// What `level` is, by that word.
    pub(super) values: BTreeMap<String, Value>,
}

/// A step: one of `call`, `generate`, `read_files` and `write_file`, and what is around it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StepSpec {
    pub(super) id: String,
    pub(super) when: Option<String>,
    /// Neighbours of one group run at the same time.
    pub(super) group: Option<String>,
    pub(super) for_each: Option<Value>,
    /// How many items are worked on at once.
    pub(super) concurrency: Option<usize>,
    /// How many items there may be.
    pub(super) items_max: Option<usize>,
    pub(super) call: Option<String>,
    pub(super) upstream: Option<String>,
    #[serde(default)]
    pub(super) args: Map<String, Value>,
    /// Whether the agent is there without this step's tool.
    #[serde(default)]
    pub(super) optional: bool,
    pub(super) generate: Option<GenerateSpec>,
    pub(super) read_files: Option<Value>,
    pub(super) write_file: Option<WriteSpec>,
    pub(super) pick: Option<Value>,
    pub(super) fail_when: Option<String>,
    pub(super) expect: Option<String>,
    pub(super) on_unmet: Option<Value>,
    pub(super) findings: Option<Value>,
    pub(super) on_error: Option<String>,
}

/// Where new text comes from.
#[derive(Debug, Deserialize)]
#[serde(tag = "with", rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum GenerateSpec {
    /// From a template of the settings.
    Template { text: String },
    /// From what a program writes.
    Command(CommandSpec),
    /// From a tool.
    Call {
        call: String,
        upstream: Option<String>,
        #[serde(default)]
        args: Map<String, Value>,
    },
}

/// A program that writes text.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CommandSpec {
    /// The program and its arguments; no templates.
    pub(super) argv: Vec<String>,
    /// What it reads: a template.
    #[serde(default)]
    pub(super) text: Value,
    /// Names of variables that it gets besides the usual ones.
    #[serde(default)]
    pub(super) env: Vec<String>,
    pub(super) working_directory: Option<PathBuf>,
    pub(super) timeout_seconds: Option<f64>,
}

/// What is written, and where.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WriteSpec {
    pub(super) path: String,
    pub(super) content: String,
}
