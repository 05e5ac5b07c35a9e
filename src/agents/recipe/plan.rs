//! A recipe that was read: every template compiled, every name checked.

use std::{collections::BTreeMap, sync::Arc};

use minijinja::Value as Dynamic;
use serde_json::Value;

use super::{
    super::command::StepCommand,
    spec::{FieldSpec, OtherInput},
    template::{Expr, Template},
};

/// A recipe, ready to run.
#[derive(Debug)]
pub(in crate::agents) struct Recipe {
    pub(super) name: String,
    /// Stands for all that is written in it.
    pub(super) digest: String,
    pub(super) upstream: Option<String>,
    pub(super) gateway: Option<Gateway>,
    pub(super) input: BTreeMap<String, FieldSpec>,
    pub(super) other_input: OtherInput,
    pub(super) levels: Option<Levels>,
    pub(super) steps: Vec<Step>,
    pub(super) output: Template,
    /// Whether a template looks at what the tasks answered that a task depends on.
    pub(super) sees_deps: bool,
}

/// One tool that stands for all.
#[derive(Debug)]
pub(super) struct Gateway {
    pub(super) tool: String,
    pub(super) args: Vec<(String, Template)>,
    pub(super) unwrap: Template,
}

/// What `level` is, by a word of the input.
#[derive(Debug)]
pub(super) struct Levels {
    pub(super) by: String,
    pub(super) values: BTreeMap<String, Dynamic>,
}

/// One step.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) id: String,
    pub(super) when: Option<Expr>,
    pub(super) group: Option<String>,
    pub(super) each: Option<Each>,
    pub(super) act: Act,
    pub(super) pick: Option<Template>,
    pub(super) check: Option<Check>,
    /// Makes `fail` or `continue`.
    pub(super) on_error: Template,
}

/// A step that is done once for each item of a list.
#[derive(Debug)]
pub(super) struct Each {
    pub(super) items: Template,
    pub(super) concurrency: usize,
    pub(super) items_max: usize,
}

/// What a step does.
#[derive(Debug)]
pub(super) enum Act {
    Call(ToolCall),
    Generate(Template),
    Run(Box<Program>),
    ReadFiles(Template),
    WriteFile { path: Template, content: Template },
}

/// A call of a tool.
#[derive(Debug)]
pub(super) struct ToolCall {
    pub(super) place: Place,
    pub(super) tool: String,
    pub(super) args: Vec<(String, Template)>,
    pub(super) is_optional: bool,
    pub(super) fail_when: Option<Arc<Expr>>,
}

/// A program that makes a text.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) command: StepCommand,
    /// What it reads.
    pub(super) text: Template,
    /// Whether the agent is there without it.
    pub(super) is_optional: bool,
}

/// Which upstream has a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The recipe's own.
    Own,
    /// Another one, by name.
    Other(String),
}

/// What a step's result must satisfy.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) expect: Expr,
    /// Makes what [`OnUnmet`] is read from.
    pub(super) on_unmet: Template,
    pub(super) findings: Option<Template>,
}

/// What follows when a check fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum OnUnmet {
    Fail,
    Warn,
    Ignore,
    /// Goes back to an earlier step, so often at most; then the other thing follows.
    Repair {
        step: String,
        max: u64,
        then: Box<Self>,
    },
}

/// How often a check may send back at most.
const REPAIRS_MAX: u64 = 10;

impl OnUnmet {
    /// Reads `fail`, `warn`, `ignore`, or `{repair: STEP, max: N, then: …}`.
    pub(super) fn read(value: &Value) -> Result<Self, String> {
        let wrong =
            || format!("on_unmet is fail, warn, ignore or {{repair: STEP, max: N}}, not {value}");
        match value {
            Value::Null => Ok(Self::Fail),
            Value::String(word) => match word.as_str() {
                "fail" => Ok(Self::Fail),
                "warn" => Ok(Self::Warn),
                "ignore" => Ok(Self::Ignore),
                _ => Err(wrong()),
            },
            Value::Object(fields) => {
                let is_known = |name: &String| ["repair", "max", "then"].contains(&name.as_str());
                let step = fields.get("repair").and_then(Value::as_str);
                let max = fields.get("max").map_or(Some(1), Value::as_u64);
                let (Some(step), Some(max), true) = (step, max, fields.keys().all(is_known)) else {
                    return Err(wrong());
                };
                if !(1..=REPAIRS_MAX).contains(&max) {
                    return Err(format!("on_unmet.max is 1 to {REPAIRS_MAX}, not {max}"));
                }
                let then = Self::read(fields.get("then").unwrap_or(&Value::Null))?;
                if matches!(then, Self::Repair { .. }) {
                    return Err("on_unmet.then is fail, warn or ignore".to_owned());
                }
                Ok(Self::Repair { step: step.to_owned(), max, then: Box::new(then) })
            }
            Value::Bool(_) | Value::Number(_) | Value::Array(_) => Err(wrong()),
        }
    }
}

impl Recipe {
    /// The upstream that it names itself.
    pub(in crate::agents) fn upstream(&self) -> Option<&str> {
        self.upstream.as_deref()
    }

    /// Whether it calls anything of its own upstream.
    pub(in crate::agents) fn calls_own(&self) -> bool {
        self.calls().any(|it| it.1.place == Place::Own)
    }

    /// The calls of its steps.
    pub(super) fn calls(&self) -> impl Iterator<Item = (&Step, &ToolCall)> {
        self.steps.iter().filter_map(|it| match &it.act {
            Act::Call(call) => Some((it, call)),
            Act::Generate(_) | Act::Run(_) | Act::ReadFiles(_) | Act::WriteFile { .. } => None,
        })
    }

    /// The programs of its steps.
    pub(super) fn programs(&self) -> impl Iterator<Item = (&Step, &Program)> {
        self.steps.iter().filter_map(|it| match &it.act {
            Act::Run(program) => Some((it, &**program)),
            Act::Call(_) | Act::Generate(_) | Act::ReadFiles(_) | Act::WriteFile { .. } => None,
        })
    }

    /// The upstreams that it names besides its own.
    pub(in crate::agents) fn other_upstreams(&self) -> impl Iterator<Item = &str> {
        self.calls().filter_map(|(_, it)| match &it.place {
            Place::Own => None,
            Place::Other(name) => Some(name.as_str()),
        })
    }
}
