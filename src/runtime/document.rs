//! A checked document as it stands in the store, and the part of it that reports need.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use serde::{Deserialize, Serialize};

use super::{
    nesting::{Nested, Parent},
    spending::StoredBudget,
};
use crate::{
    model::{
        AgentName, CacheMode, DispatchConfig, DispatchId, Identity, MicroUsd, Millis, OnFailure,
        Sees, TaskIdx, TaskSpec, TraceContext, TriggerRule,
    },
    plan::{ClaimTable, ESTIMATE_DEFAULT, Edge, TaskGraph},
    ports::StoreError,
    scheduler::{Funds, Gate, GateSet, Policy, RetryPolicy, SpendEstimate, TaskPolicy},
};

/// The newest version of both records; readers refuse higher ones.
const VERSION: u32 = 1;

/// A document with all defaults filled in: enough to run it again after a crash.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct StoredDocument {
    version: u32,
    /// The tasks, in document order.
    pub(super) tasks: Vec<TaskSpec>,
    /// The settings in force.
    pub(super) config: StoredConfig,
    /// What was expected of each task, where something was learned: priorities are not journaled,
    /// and after a crash they must come out as they were.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) estimates: Vec<Millis>,
    /// How many tasks it had at first, where it has grown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) n_first: Option<usize>,
    /// What tasks have become.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) parts: Vec<Parts>,
    /// The places of the tasks, in the order of their ids; made when a place is first asked for.
    #[serde(skip)]
    by_id: OnceLock<Vec<TaskIdx>>,
}

/// What a task has become at one time: those from `first` up to `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Parts {
    pub(super) parent: TaskIdx,
    pub(super) first: TaskIdx,
    pub(super) end: TaskIdx,
}

impl Parts {
    pub(super) fn tasks(&self) -> impl Iterator<Item = TaskIdx> + use<> {
        (self.first.as_usize()..self.end.as_usize()).map(TaskIdx::from_usize)
    }

    /// Whether they, and the task whose parts they are, are some of so many tasks.
    fn are_among(&self, n_tasks: usize) -> bool {
        self.parent.as_usize() < n_tasks && self.first <= self.end && self.end.as_usize() <= n_tasks
    }
}

/// The settings that a dispatch runs under.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct StoredConfig {
    pub(super) max_workers: u32,
    pub(super) timeout: Millis,
    pub(super) on_failure: OnFailure,
    pub(super) enable_context: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) resources: Option<BTreeMap<String, u32>>,
    /// What tasks do with results of the same work that do not say it themselves.
    #[serde(default)]
    pub(super) cache: CacheMode,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) budget: Option<StoredBudget>,
    /// The agents that must have written the file of their input's `output_path`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) writers: Vec<AgentName>,
}

/// What reports need of a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Meta {
    version: u32,
    /// Where the trace files go.
    pub(super) trace_dir: PathBuf,
    /// What the caller should know.
    pub(super) warnings: Vec<String>,
    /// The dispatch that this one retries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) retry_of: Option<DispatchId>,
    /// The task whose agent asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) parent: Option<Parent>,
    /// The dispatches that its agents asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) nested: Vec<Nested>,
    /// Whether context is gathered, about which reports may have to warn.
    #[serde(default = "yes")]
    pub(super) wants_context: bool,
    /// How long the whole was expected to take, where an estimate was given or learned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) estimated: Option<Millis>,
    /// Whether the whole dispatch is paused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) paused: bool,
    /// The tasks that are paused by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) paused_tasks: Vec<TaskIdx>,
    /// How many may run at once, where that was changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) max_workers: Option<u32>,
    /// The budget that it was accepted with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) budget: Option<StoredBudget>,
    /// Whom it belongs to, and whether they see others' results.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) caller: Option<Identity>,
    /// The trace that it came with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) trace: Option<TraceContext>,
}

impl StoredConfig {
    /// As a document would have given them.
    pub(super) fn to_config(&self, trace_dir: Option<String>) -> DispatchConfig {
        DispatchConfig {
            max_workers: Some(self.max_workers),
            timeout_seconds: Some(self.timeout.seconds()),
            trace_dir,
            on_failure: Some(self.on_failure),
            enable_context: Some(self.enable_context),
            resources: self.resources.clone(),
            cache: Some(self.cache),
            budget: self.budget.map(|it| it.limits.to_spec()),
        }
    }
}

impl StoredDocument {
    pub(super) fn new(tasks: Vec<TaskSpec>, config: StoredConfig) -> Self {
        Self {
            version: VERSION,
            tasks,
            config,
            estimates: Vec::new(),
            n_first: None,
            parts: Vec::new(),
            by_id: OnceLock::new(),
        }
    }

    /// The same, with estimates that do not follow from the tasks alone.
    pub(super) fn with_estimates(self, estimates: Vec<Millis>) -> Self {
        Self { estimates, ..self }
    }

    /// Where the task of this name stands.
    pub(super) fn place(&self, name: &str) -> Option<TaskIdx> {
        let id = |it: TaskIdx| self.tasks[it.as_usize()].task_id.as_str();
        let by_id = self.by_id.get_or_init(|| {
            let mut places: Vec<_> = (0..self.tasks.len()).map(TaskIdx::from_usize).collect();
            places.sort_unstable_by_key(|it| id(*it));
            places
        });
        by_id.binary_search_by_key(&name, |it| id(*it)).ok().map(|at| by_id[at])
    }

    pub(super) fn write(&self) -> String {
        to_json(self)
    }

    pub(super) fn read(json: &str) -> Result<Self, StoreError> {
        let document: Self = from_json(json)?;
        check_version(document.version)?;
        let n_tasks = document.tasks.len();
        if let Some(it) = document.parts.iter().find(|it| !it.are_among(n_tasks)) {
            return Err(StoreError::Corrupt(format!("the parts of task {}", it.parent.as_usize())));
        }
        Ok(document)
    }

    /// The graph of the tasks; an error means that the store was changed by somebody else.
    pub(super) fn graph(&self) -> Result<Arc<TaskGraph>, StoreError> {
        let index: rustc_hash::FxHashMap<&str, TaskIdx> = self
            .tasks
            .iter()
            .enumerate()
            .map(|(at, it)| (it.task_id.as_str(), TaskIdx::from_usize(at)))
            .collect();
        let mut edges = Vec::new();
        for (at, task) in self.tasks.iter().enumerate() {
            for dependency in &task.dependencies {
                let Some(&dependency) = index.get(dependency.as_str()) else {
                    return Err(StoreError::Corrupt(format!("no task {dependency}")));
                };
                edges.push(Edge { dependency, dependent: TaskIdx::from_usize(at) });
            }
        }
        for it in &self.parts {
            let edge = |part| Edge { dependency: part, dependent: it.parent };
            edges.extend(it.tasks().map(edge));
        }
        let estimates = if self.estimates.len() == self.tasks.len() {
            self.estimates.clone()
        } else {
            self.tasks.iter().map(estimate).collect()
        };
        let graph = TaskGraph::build(estimates, &edges);
        graph.map(Arc::new).ok_or_else(|| StoreError::Corrupt("the tasks form a cycle".into()))
    }

    /// The limits that the scheduler keeps; `lanes` as in [`Policy`].
    pub(super) fn policy(
        &self,
        (dispatch, created_at): (DispatchId, Millis),
        lanes: Vec<u16>,
    ) -> Policy {
        let own = |(at, it): (usize, &TaskSpec)| {
            let policy = TaskPolicy { gates: self.gates(it), ..task_policy(it) };
            (policy != TaskPolicy::default()).then(|| (TaskIdx::from_usize(at), policy))
        };
        Policy {
            // None at all would never end, and only somebody else can have written that.
            workers_max: self.config.max_workers.max(1),
            on_failure: self.config.on_failure,
            timeout: self.config.timeout,
            tasks: self.tasks.iter().enumerate().filter_map(own).collect(),
            lanes,
            claims: Arc::new(self.claims()),
            funds: Funds {
                budget: self.config.budget.map(|it| it.limits),
                since: created_at,
                before: self.config.budget.map(|it| it.before).unwrap_or_default(),
            },
            seed: seed(dispatch),
        }
    }

    /// What a task does with results of the same work.
    pub(super) fn cache_of(&self, task: TaskIdx) -> CacheMode {
        self.tasks[task.as_usize()].cache.unwrap_or(self.config.cache)
    }

    /// Whether a task must have written the file of its input's `output_path`.
    pub(super) fn must_write(&self, task: TaskIdx) -> bool {
        self.config.writers.contains(&self.tasks[task.as_usize()].agent)
    }

    /// What a task must pass before it starts.
    fn gates(&self, task: &TaskSpec) -> GateSet {
        let runs_itself = task.runs_itself();
        let reuses = runs_itself && task.cache.unwrap_or(self.config.cache) == CacheMode::Reuse;
        let given = [
            task.when.as_ref().map(|_| Gate::Condition),
            reuses.then_some(Gate::Reuse),
            task.approval.as_ref().map(|_| Gate::Approval),
            (!runs_itself).then_some(Gate::Expansion),
        ];
        given.into_iter().flatten().collect()
    }

    /// What keeps its tasks apart.
    pub(super) fn claims(&self) -> ClaimTable {
        let none = BTreeMap::new();
        let caps = self.caps();
        ClaimTable::new(&self.tasks, self.config.resources.as_ref().unwrap_or(&none), &caps)
    }

    /// How many parts of a task may run at once, where that is limited.
    fn caps(&self) -> Vec<(Vec<TaskIdx>, u32)> {
        let cap = |it: &Parts| {
            let for_each = self.tasks[it.parent.as_usize()].for_each.as_ref()?;
            Some((it.tasks().collect(), for_each.max_parallel?))
        };
        self.parts.iter().filter_map(cap).collect()
    }

    /// The agents that the tasks name, each once.
    pub(super) fn agents(&self) -> Vec<&AgentName> {
        let mut names: Vec<_> = self.tasks.iter().map(|it| &it.agent).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

impl Meta {
    pub(super) fn new(
        trace_dir: PathBuf,
        warnings: Vec<String>,
        retry_of: Option<DispatchId>,
        wants_context: bool,
    ) -> Self {
        Self {
            version: VERSION,
            trace_dir,
            warnings,
            retry_of,
            wants_context,
            estimated: None,
            paused: false,
            paused_tasks: Vec::new(),
            max_workers: None,
            budget: None,
            parent: None,
            nested: Vec::new(),
            caller: None,
            trace: None,
        }
    }

    /// Among whose results alone its tasks may find theirs, if not among all.
    pub(super) fn results_of(&self) -> Option<Arc<str>> {
        let own = self.caller.as_ref().filter(|it| it.sees() == Sees::Own);
        own.map(Identity::shared_name)
    }

    pub(super) fn write(&self) -> String {
        to_json(self)
    }

    pub(super) fn read(json: &str) -> Result<Self, StoreError> {
        let meta: Self = from_json(json)?;
        check_version(meta.version)?;
        Ok(meta)
    }
}

/// How long a task is expected to take, for its rank: all alike unless the document says.
pub(super) fn estimate(task: &TaskSpec) -> Millis {
    task.estimate_seconds.map_or(ESTIMATE_DEFAULT, Millis::from_seconds)
}

fn task_policy(task: &TaskSpec) -> TaskPolicy {
    let approval = task.approval.as_ref();
    TaskPolicy {
        timeout: task.timeout_seconds.map(Millis::from_seconds),
        total_timeout: task.total_timeout_seconds.map(Millis::from_seconds),
        idle_timeout: task.idle_timeout_seconds.map(Millis::from_seconds),
        retry: task.retry.as_deref().map_or(RetryPolicy::ONCE, RetryPolicy::from),
        trigger: task.trigger_rule,
        join: task.for_each.as_ref().map_or(TriggerRule::AllSuccess, |it| it.join.trigger()),
        approval_timeout: approval.map(|it| Millis::from_seconds(it.timeout_seconds)),
        expected: SpendEstimate {
            tokens: task.estimate_tokens,
            cost: task.estimate_cost_usd.map(MicroUsd::from_usd),
        },
        ..TaskPolicy::default()
    }
}

/// The low half of the id, most of which is random: whoever goes on with the dispatch has it too.
fn seed(dispatch: DispatchId) -> u64 {
    dispatch.as_u64_pair().1
}

fn yes() -> bool {
    true
}

fn to_json(value: &impl Serialize) -> String {
    // Maps with string keys and finite numbers only: writing cannot fail.
    serde_json::to_string(value).unwrap_or_default()
}

fn from_json<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, StoreError> {
    serde_json::from_str(json).map_err(|it| StoreError::Corrupt(it.to_string()))
}

fn check_version(found: u32) -> Result<(), StoreError> {
    if found <= VERSION {
        return Ok(());
    }
    Err(StoreError::Version { found: found.into(), known: VERSION.into() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn parts_that_are_not_among_the_tasks_are_corrupt() {
        let read = |parent: u32, first: u32, end: u32| {
            let task = json!({
                "task_id": "a", "agent": "b", "description": "c", "input_data": {},
                "dependencies": [],
            });
            let config = json!({
                "max_workers": 1, "timeout": 1, "on_failure": "continue", "enable_context": false,
            });
            let parts = json!([{ "parent": parent, "first": first, "end": end }]);
            let document = json!({
                "version": VERSION, "tasks": [task, task], "config": config, "parts": parts,
            });
            StoredDocument::read(&document.to_string())
        };
        read(0, 1, 2).unwrap();
        for (parent, first, end) in [(2, 1, 2), (0, 1, 3), (0, 2, 1)] {
            let error = read(parent, first, end).unwrap_err();
            assert!(matches!(error, StoreError::Corrupt(_)), "{error}");
        }
    }
}
