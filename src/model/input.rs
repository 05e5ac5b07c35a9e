//! The `input_data` of the two built-in agents.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What the `coder` agent is told.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CoderInput {
    /// What the code shall do, in plain words.
    #[schemars(length(min = 1))]
    pub contract_description: String,
    /// The kind of ONEX node to write.
    pub node_type: NodeType,
    /// Where to write the code: an absolute path inside a workspace.
    pub output_path: String,
    /// Files to look at first: absolute paths inside a workspace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub context_files: Vec<String>,
    /// How much the written code must satisfy.
    #[serde(default)]
    pub validation_level: ValidationLevel,
    /// Context gathered before, by context key; replaces the agent's own research.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pre_gathered_context: Option<Map<String, Value>>,
}

/// What the `debug` agent is told.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DebugInput {
    /// The problem to investigate, in plain words.
    #[schemars(length(min = 1))]
    pub problem_description: String,
    /// The files under suspicion: absolute paths inside a workspace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub affected_files: Vec<String>,
    /// Stack traces or error messages, as they were printed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub error_traces: Vec<String>,
    /// How far to look.
    #[serde(default)]
    pub analysis_depth: AnalysisDepth,
    /// What the caller suspects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hypothesis: Option<String>,
    /// Context gathered before, by context key; replaces the agent's own research.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pre_gathered_context: Option<Map<String, Value>>,
}

/// The kind of an ONEX node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum NodeType {
    /// Talks to the outside.
    Effect,
    /// Transforms purely.
    Compute,
    /// Keeps or aggregates state.
    Reducer,
    /// Coordinates other nodes.
    Orchestrator,
}

/// How much written code must satisfy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ValidationLevel {
    /// Everything is checked, and any finding fails the task.
    Strict,
    /// Findings are reported; only code that does not parse or lacks its contract fails.
    #[default]
    Moderate,
    /// Only code that does not parse fails.
    Lenient,
}

/// How far an investigation looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AnalysisDepth {
    /// The named places only.
    Quick,
    /// The named files, and recent changes to them.
    #[default]
    Standard,
    /// Also what the named files import and who calls them.
    Deep,
}
