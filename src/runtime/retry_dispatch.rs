//! Makes a new dispatch of one that has ended: what a retry changes, and what it keeps.

use std::collections::BTreeSet;

use super::{
    document::{Meta, Parts, StoredDocument},
    handle::DispatcherHandle,
    query,
    spending::{self, StoredBudget},
    submission::{Extras, KeptTask, Retried},
};
use crate::{
    model::{
        CacheMode, DispatchConfig, DispatchId, ErrorCode, Refusal, RetryRequest, Spent, TaskIdx,
        TaskOverride, TaskSpec, TaskStatus,
    },
    plan::{self, Checked, PathPolicy as _, TaskGraph},
    ports::{DispatchRow, Snapshot, StoreError, StoredTask, ask},
};

impl DispatcherHandle {
    /// The document of a retry, and the results that it keeps.
    pub(super) async fn retried(
        &self,
        request: RetryRequest,
    ) -> Result<(Checked, Extras), Refusal> {
        let RetryRequest { dispatch_id, task_ids, overrides, budget, .. } = request;
        let journal = &self.dependencies.journal;
        let (row, mut stored, mut document) =
            query::look(journal, move |it| ended(it, dispatch_id)).await?;
        let named = task_ids.map(|it| query::places(&stored, &it)).transpose()?;
        for it in named.iter().flatten() {
            // What is to run again does not take the result that it had.
            if document.cache_of(*it) == CacheMode::Reuse {
                document.tasks[it.as_usize()].cache = Some(CacheMode::Refresh);
            }
        }
        for (name, change) in overrides.unwrap_or_default() {
            let at = query::places(&stored, std::slice::from_ref(&name))?[0];
            apply(&mut document.tasks[at.as_usize()], change);
        }
        let own = own_tasks(&document);
        let named = named.map(|it| wholes(&it, &document, &own));
        stored.retain(|it| own.binary_search(&it.task).is_ok());
        let keeps = |at: &mut usize| own.binary_search(&TaskIdx::from_usize(*at)).is_ok();
        let mut places = 0..document.tasks.len();
        document.tasks.retain(|_| places.next().as_mut().is_some_and(keeps));
        let meta = Meta::read(&row.meta)?;
        let mut config =
            config(&document, &meta, |dir| self.dependencies.paths.check_trace_dir(dir).is_ok());
        let mut used = Spent::default();
        if budget.is_some() {
            config.budget = budget;
        } else if let Some(StoredBudget { limits, before }) = meta.budget {
            let in_force = move |it: &dyn Snapshot| spending::in_force(it, dispatch_id, limits);
            let (limits, _) = ask(&**journal, in_force).await?;
            config.budget = Some(limits.to_spec());
            used = spending::spent(&row, &stored, before, row.created_at).0;
        }
        let has_budget = config.budget.is_some();
        let checked = plan::check_specs(document.tasks, config, &self.rules())?;
        let is_success = |it: TaskIdx| stored[it.as_usize()].row.status == TaskStatus::Success;
        let again = tasks_to_run(&checked.graph, named.as_deref(), is_success);
        let kept: Vec<TaskIdx> = checked.graph.tasks().filter(|it| !again[it.as_usize()]).collect();
        let before = kept.iter().map(|it| own[it.as_usize()]).collect();
        let outputs = journal.outputs(dispatch_id, before).await;
        let outputs = outputs?;
        let keep = |(task, output): (TaskIdx, Option<String>)| {
            let mut row = stored[task.as_usize()].row.clone();
            if has_budget || row.usage.is_some() {
                row.usage.get_or_insert_default().keep();
            }
            KeptTask { task, row, output }
        };
        let kept: Vec<_> = kept.into_iter().zip(outputs).map(keep).collect();
        let mut warnings = Vec::new();
        if kept.len() == stored.len() {
            warnings.push("every task had succeeded: nothing ran again".to_owned());
        }
        let retried = Some(Retried { dispatch: dispatch_id, caller: meta.caller });
        Ok((checked, Extras { retried, kept, warnings, spent: used, ..Extras::default() }))
    }
}

/// What became of a dispatch that has ended.
fn ended(
    snapshot: &dyn Snapshot,
    dispatch: DispatchId,
) -> Result<(DispatchRow, Vec<StoredTask>, StoredDocument), Refusal> {
    let Some((row, tasks)) = snapshot.overview(dispatch)? else {
        return Err(query::unknown(dispatch));
    };
    if row.ended_at.is_none() {
        let message = format!("dispatch {dispatch} has not ended");
        let hint = "wait for it with get_result, or cancel it first";
        return Err(Refusal::of(ErrorCode::Busy, "/dispatch_id", &message, hint).retry_after(1_000));
    }
    let document = StoredDocument::read(&snapshot.document(dispatch)?.unwrap_or_default())?;
    if document.tasks.len() != tasks.len() {
        let reason = "a dispatch has other tasks than its document".to_owned();
        return Err(StoreError::Corrupt(reason).into());
    }
    Ok((row, tasks, document))
}

/// The tasks that callers gave: those that others became, they become again.
pub(super) fn own_tasks(document: &StoredDocument) -> Vec<TaskIdx> {
    let parts: BTreeSet<TaskIdx> = document.parts.iter().flat_map(Parts::tasks).collect();
    let all = (0..document.tasks.len()).map(TaskIdx::from_usize);
    all.filter(|it| !parts.contains(it)).collect()
}

/// The places among `own` of these tasks; a part stands for the task that became it.
fn wholes(named: &[TaskIdx], document: &StoredDocument, own: &[TaskIdx]) -> Vec<TaskIdx> {
    let whole = |task: &TaskIdx| {
        let parts = document.parts.iter().find(|it| it.first <= *task && *task < it.end);
        own.binary_search(&parts.map_or(*task, |it| it.parent)).ok().map(TaskIdx::from_usize)
    };
    named.iter().filter_map(whole).collect()
}

/// Changes a task as the caller asked.
fn apply(task: &mut TaskSpec, change: TaskOverride) {
    let TaskOverride {
        description,
        input_data,
        timeout_seconds,
        total_timeout_seconds,
        idle_timeout_seconds,
        retry,
        when,
        cache,
        approval,
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
    task.retry = retry.map(Box::new).or_else(|| task.retry.take());
    task.when = when.map(String::into_boxed_str).or_else(|| task.when.take());
    task.cache = cache.or(task.cache);
    if let Some(approval) = approval {
        task.approval = approval;
    }
}

/// The settings of the first dispatch, as its document would have given them. Its trace directory
/// may have come from a flag that this process was not given; then the traces go to this one's.
fn config(
    document: &StoredDocument,
    meta: &Meta,
    is_allowed: impl Fn(&str) -> bool,
) -> DispatchConfig {
    let trace_dir = meta.trace_dir.display().to_string();
    document.config.to_config(is_allowed(&trace_dir).then_some(trace_dir))
}

/// Which tasks run again: those that are named, or did not succeed where none is named, and all
/// that depends on one that runs again. A named task brings along what it depends on and has no
/// result of.
fn tasks_to_run(
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
            resources: None,
            cache: CacheMode::Off,
            budget: None,
            max_workers: 3,
            timeout: Millis(1_500),
            on_failure: OnFailure::Continue,
            enable_context: false,
            writers: Vec::new(),
        };
        let document = StoredDocument::new(Vec::new(), config);
        let meta = Meta::new("/elsewhere".into(), Vec::new(), None, true);
        let refused = super::config(&document, &meta, |_| false);
        assert_eq!((refused.trace_dir, refused.timeout_seconds), (None, Some(1.5)));
        let allowed = super::config(&document, &meta, |it| it == "/elsewhere");
        assert_eq!(allowed.trace_dir.as_deref(), Some("/elsewhere"));
    }
}
