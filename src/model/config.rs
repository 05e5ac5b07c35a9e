//! The `config` of a dispatch document.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{BudgetSpec, CacheMode};

/// The settings of one dispatch; what is absent comes from the server's settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DispatchConfig {
    /// How many tasks may run at once: 1 to 1024, 5 unless set, never above the server's limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub max_workers: Option<u32>,
    /// How long one attempt at a task may take, in seconds: above 0, at most 86,400; 300 unless
    /// set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 86_400))]
    pub timeout_seconds: Option<f64>,
    /// Where trace files go; a relative path is below the first workspace, any must end inside a
    /// workspace or the server's trace root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_dir: Option<String>,
    /// What a failed task means for the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnFailure>,
    /// Whether to gather the tasks' `context_requirements` once and hand each task its own part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_context: Option<bool>,
    /// How much there is of each resource that tasks ask for: 1 to 1,000,000; 1 unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<BTreeMap<String, u32>>,
    /// What the tasks do with results of the same work done before, in this dispatch or another:
    /// `off`, `reuse` or `refresh`; as the settings say unless set, else `off`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheMode>,
    /// The most that the dispatch may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<BudgetSpec>,
}

/// What a failed task means for the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// What depends on it is skipped; independent branches go on.
    #[default]
    SkipDependents,
    /// Nothing new starts, what runs is stopped, and the rest is skipped.
    FailFast,
    /// What depends on it runs all the same.
    Continue,
}
