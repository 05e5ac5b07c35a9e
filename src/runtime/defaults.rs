//! Fills in what a checked document leaves to the settings.

use serde_json::json;

use super::{document::StoredConfig, evidence, options::Options, spending::StoredBudget};
use crate::model::{AgentName, DispatchConfig, Millis, Spent, TaskSpec};

/// The settings that a dispatch runs under: its own, within the server's limits, or the server's.
pub(super) fn config(
    own: &DispatchConfig,
    options: &Options,
    warnings: &mut Vec<String>,
) -> StoredConfig {
    let asked = own.max_workers.unwrap_or(options.max_workers);
    let max_workers = asked.min(options.limits.max_workers).min(options.workers_total_max).max(1);
    if max_workers < asked {
        warnings.push(format!("max_workers is {max_workers}, the server's limit, not {asked}"));
    }
    let seconds = own.timeout_seconds.unwrap_or(options.timeout_seconds);
    let writers = options.agents.iter().filter(|it| it.1.expect.output_path);
    StoredConfig {
        max_workers,
        timeout: Millis::from_seconds(seconds.min(options.limits.timeout_seconds_max)),
        on_failure: own.on_failure.unwrap_or(options.on_failure),
        resources: own.resources.clone(),
        cache: own.cache.unwrap_or(options.cache),
        budget: own
            .budget
            .as_ref()
            .map(|it| StoredBudget { limits: it.into(), before: Spent::default() }),
        enable_context: own.enable_context.unwrap_or(options.enable_context),
        writers: writers.map(|it| it.0.clone()).collect(),
    }
}

/// Fills in a task's timeout, level and depth from the settings of its agent.
pub(super) fn task(task: &mut TaskSpec, options: &Options) {
    let Some(agent) = options.agents.get(&task.agent) else { return };
    task.timeout_seconds = task.timeout_seconds.or(agent.timeout_seconds);
    evidence::add(task, &agent.expect);
    task.retry = task.retry.take().or_else(|| agent.retry.clone().map(Box::new));
    let name = task.agent.as_str();
    let input = &mut task.input_data;
    if let (AgentName::CODER, Some(level)) = (name, agent.validation_level) {
        input.entry("validation_level").or_insert_with(|| json!(level));
    }
    if let (AgentName::DEBUG, Some(depth)) = (name, agent.analysis_depth) {
        input.entry("analysis_depth").or_insert_with(|| json!(depth));
    }
}
