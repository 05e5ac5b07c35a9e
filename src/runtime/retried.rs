//! Makes a new dispatch of one that has ended, which keeps what succeeded.

use super::{
    document::{Meta, StoredDocument},
    handle::DispatcherHandle,
    query,
    retry::{apply, config, tasks_to_run},
    submission::{Extras, KeptTask},
};
use crate::{
    model::{ErrorCode, Refusal, RetryRequest, TaskIdx, TaskStatus},
    plan::{self, Checked, PathPolicy as _},
};

impl DispatcherHandle {
    /// The document of a retry, and the results that it keeps.
    pub(super) async fn retried(
        &self,
        request: RetryRequest,
    ) -> Result<(Checked, Extras), Refusal> {
        let RetryRequest { dispatch_id, task_ids, overrides, .. } = request;
        let journal = &self.dependencies.journal;
        let row = query::dispatch_row(journal, dispatch_id).await?;
        if row.ended_at.is_none() {
            let message = format!("dispatch {dispatch_id} has not ended");
            let hint = "wait for it with get_result, or cancel it first";
            return Err(
                Refusal::of(ErrorCode::Busy, "/dispatch_id", &message, hint).retry_after(1_000)
            );
        }
        let stored = journal.tasks(dispatch_id).await.map_err(|it| query::refuse(&it))?;
        let json = journal.document(dispatch_id).await.map_err(|it| query::refuse(&it))?;
        let document = StoredDocument::read(&json.unwrap_or_default());
        let mut document = document.map_err(|it| query::refuse(&it))?;
        let named = task_ids.map(|it| query::places(&stored, &it)).transpose()?;
        for (name, change) in overrides.unwrap_or_default() {
            let at = query::places(&stored, std::slice::from_ref(&name))?[0];
            apply(&mut document.tasks[at.as_usize()], change);
        }
        let meta = Meta::read(&row.meta).map_err(|it| query::refuse(&it))?;
        let config =
            config(&document, &meta, |dir| self.dependencies.paths.check_trace_dir(dir).is_ok());
        let checked = plan::check_specs(document.tasks, config, &self.rules())?;
        let is_success = |it: TaskIdx| stored[it.as_usize()].row.status == TaskStatus::Success;
        let again = tasks_to_run(&checked.graph, named.as_deref(), is_success);
        let kept: Vec<TaskIdx> = checked.graph.tasks().filter(|it| !again[it.as_usize()]).collect();
        let outputs = journal.outputs(dispatch_id, kept.clone()).await;
        let outputs = outputs.map_err(|it| query::refuse(&it))?;
        let keep = |(task, output): (TaskIdx, Option<String>)| KeptTask {
            task,
            row: stored[task.as_usize()].row.clone(),
            output,
        };
        let kept: Vec<_> = kept.into_iter().zip(outputs).map(keep).collect();
        let mut warnings = Vec::new();
        if kept.len() == stored.len() {
            warnings.push("every task had succeeded: nothing ran again".to_owned());
        }
        Ok((checked, Extras { key: None, retry_of: Some(dispatch_id), kept, warnings }))
    }
}
