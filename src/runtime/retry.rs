//! What a retry changes, and what it keeps.

use std::collections::BTreeSet;

use super::document::{Meta, StoredDocument};
use crate::{
    model::{DispatchConfig, TaskIdx, TaskOverride, TaskSpec},
    plan::TaskGraph,
};

/// Changes a task as the caller asked.
pub(super) fn apply(task: &mut TaskSpec, change: TaskOverride) {
    let TaskOverride {
        description,
        input_data,
        timeout_seconds,
        total_timeout_seconds,
        idle_timeout_seconds,
        retry,
    } = change;
    if let Some(description) = description {
        task.description = description;
    }
    for (field, value) in input_data.unwrap_or_default() {
        if value.is_null() {
            task.input_data.shift_remove(&field);
        } else {
            task.input_data.insert(field, value);
        }
    }
    task.timeout_seconds = timeout_seconds.or(task.timeout_seconds);
    task.total_timeout_seconds = total_timeout_seconds.or(task.total_timeout_seconds);
    task.idle_timeout_seconds = idle_timeout_seconds.or(task.idle_timeout_seconds);
    task.retry = retry.or_else(|| task.retry.take());
}

/// The settings of the first dispatch, as its document would have given them. Its trace directory
/// may have come from a flag that this process was not given; then the traces go to this one's.
#[expect(clippy::cast_precision_loss, reason = "at most 86,400,000")]
pub(super) fn config(
    document: &StoredDocument,
    meta: &Meta,
    is_allowed: impl Fn(&str) -> bool,
) -> DispatchConfig {
    let trace_dir = meta.trace_dir.display().to_string();
    DispatchConfig {
        max_workers: Some(document.config.max_workers),
        timeout_seconds: Some(document.config.timeout.0 as f64 / 1_000.0),
        trace_dir: is_allowed(&trace_dir).then_some(trace_dir),
        on_failure: Some(document.config.on_failure),
        enable_context: Some(document.config.enable_context),
    }
}

/// Which tasks run again: those that are named, or did not succeed where none is named, and all
/// that depends on one that runs again. A named task brings along what it depends on and has no
/// result of.
pub(super) fn tasks_to_run(
    graph: &TaskGraph,
    named: Option<&[TaskIdx]>,
    is_success: impl Fn(TaskIdx) -> bool,
) -> Vec<bool> {
    let mut again: Vec<bool> = match named {
        None => graph.tasks().map(|it| !is_success(it)).collect(),
        Some(named) => {
            let named: BTreeSet<_> = named.iter().collect();
            graph.tasks().map(|it| named.contains(&it) || !is_success(it)).collect()
        }
    };
    for &task in graph.in_order() {
        again[task.as_usize()] |= graph.dependencies(task).iter().any(|it| again[it.as_usize()]);
    }
    again
}

#[cfg(test)]
mod tests {
    use super::{super::document::StoredConfig, *};
    use crate::model::{Millis, OnFailure};

    #[test]
    fn a_trace_directory_of_another_process_is_not_insisted_on() {
        let config = StoredConfig {
            max_workers: 3,
            timeout: Millis(1_500),
            on_failure: OnFailure::Continue,
            enable_context: false,
        };
        let document = StoredDocument::new(Vec::new(), config);
        let meta = Meta::new("/elsewhere".into(), Vec::new(), None, true);
        let refused = super::config(&document, &meta, |_| false);
        assert_eq!((refused.trace_dir, refused.timeout_seconds), (None, Some(1.5)));
        let allowed = super::config(&document, &meta, |it| it == "/elsewhere");
        assert_eq!(allowed.trace_dir.as_deref(), Some("/elsewhere"));
    }
}
