//! Tasks that stand for many: one for each item of a list, or one after the other until it is good.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::TriggerRule;

/// A task for each item of a list. The task's own `description` and `input_data` are the pattern:
/// `${item}`, `${item.path}` and `${index}` in them stand for the item and its place, from 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ForEachSpec {
    /// The list, or a `${tasks.ID.output.path}` that comes to one.
    #[schemars(schema_with = "items_schema")]
    pub items: Value,
    /// How many of the tasks may run at once: 1 to 1024; as the dispatch's `max_workers` unless
    /// set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub max_parallel: Option<u32>,
    /// The most items: 1 to 10,000, default 1,000; more are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub max_items: Option<u32>,
    /// What makes one result of the tasks' results.
    #[serde(default)]
    pub join: JoinRule,
}

/// What makes one result of many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum JoinRule {
    /// All must succeed; the output is the list of their outputs.
    #[default]
    AllSuccess,
    /// All must have ended; the output is a list of `{task_id, status, output, error}`.
    AllDone,
}

/// The same task again and again, until a condition is met. `${iteration}` in `description` and
/// `input_data` is its number, from 1, and `${previous.output.path}` what the one before answered;
/// nothing in the first, or what is said after ` ?? ` as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoopSpec {
    /// The condition that ends it, in the Common Expression Language; the task's own id stands for
    /// its last iteration: `tasks.ID.output.score >= 0.8`.
    #[schemars(length(min = 1, max = 4_096))]
    pub until: String,
    /// The most iterations: 1 to 100. If the condition is not met by then, the task fails.
    #[schemars(range(min = 1, max = 100))]
    pub max_iterations: u32,
}

impl ForEachSpec {
    /// The most items that may be allowed.
    pub const ITEMS_MAX: u32 = 10_000;
    /// The most items unless set.
    pub const ITEMS_DEFAULT: u32 = 1_000;
}

impl LoopSpec {
    /// The most iterations that may be allowed.
    pub const ITERATIONS_MAX: u32 = 100;
}

impl JoinRule {
    /// Which ends of its parts let a task be joined.
    pub fn trigger(self) -> TriggerRule {
        match self {
            Self::AllSuccess => TriggerRule::AllSuccess,
            Self::AllDone => TriggerRule::AllDone,
        }
    }
}

fn items_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "description": "The list, or a `${tasks.ID.output.path}` that comes to one.",
        "anyOf": [{ "type": "array", "maxItems": 10_000 }, { "type": "string" }],
    })
}
