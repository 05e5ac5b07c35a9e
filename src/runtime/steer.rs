//! What `control_dispatch` asks, made into requests that the owner can carry out.

use super::{
    control::{self, already_ended},
    defaults,
    document::StoredDocument,
    handle::DispatcherHandle,
    query,
};
use crate::{
    model::{ControlAction, ControlRequest, DispatchResult, ErrorCode, Refusal},
    plan,
    ports::{Request, StoredTask},
};

impl DispatcherHandle {
    /// Pauses or resumes a dispatch or tasks of it, changes how many run at once, or tells a task
    /// something else, in whatever process the dispatch runs.
    pub async fn control(&self, request: ControlRequest) -> Result<DispatchResult, Refusal> {
        let dispatch = request.dispatch_id;
        let (row, rows) = query::overview(&self.dependencies.journal, dispatch).await?;
        if row.ended_at.is_some() {
            return Err(already_ended(dispatch));
        }
        let wish = self.wish(request, &rows).await?;
        let done = self.ask(dispatch, wish).await?;
        self.result_after(dispatch, done).await
    }

    async fn wish(&self, asked: ControlRequest, rows: &[StoredTask]) -> Result<Request, Refusal> {
        let reason = asked.reason.clone().unwrap_or_default();
        let named = asked.task_ids.as_deref().unwrap_or_default();
        Ok(match asked.action {
            ControlAction::Pause => Request::Pause { tasks: query::places(rows, named)?, reason },
            ControlAction::Resume => Request::Resume { tasks: query::places(rows, named)?, reason },
            ControlAction::SetMaxWorkers => {
                let max_workers = asked.max_workers.ok_or_else(|| missing("/max_workers"))?;
                Request::SetWorkers { max_workers, reason }
            }
            ControlAction::SetBudget => {
                let budget = asked.budget.ok_or_else(|| missing("/budget"))?;
                Request::SetBudget { budget, reason }
            }
            ControlAction::ReplaceInput => self.replacement(asked, rows).await?,
        })
    }

    /// Checks what a task is to be told by the rules that its document was checked by.
    async fn replacement(
        &self,
        asked: ControlRequest,
        rows: &[StoredTask],
    ) -> Result<Request, Refusal> {
        let ControlRequest { dispatch_id, task_id, input_data, description, reason, .. } = asked;
        let name = task_id.ok_or_else(|| missing("/task_id"))?;
        let places = query::places(rows, std::slice::from_ref(&name));
        let task = places.map_err(|it| it.moved("/task_ids", "/task_id"))?[0];
        control::check_not_started(&rows[task.as_usize()].row, name.as_str())?;
        let json = self.dependencies.journal.document(dispatch_id).await;
        let json = json?.unwrap_or_default();
        let document = StoredDocument::read(&json)?;
        control::check_is_one(&document, task)?;
        let mut others = document.tasks;
        let mut spec = others.remove(task.as_usize());
        let (is_input, is_description) = (input_data.is_some(), description.is_some());
        spec.input_data = input_data.unwrap_or(spec.input_data);
        spec.description = description.unwrap_or(spec.description);
        let mut spec = plan::check_replacement(spec, others, &self.rules())?;
        defaults::task(&mut spec, &self.options);
        Ok(Request::Replace {
            task,
            input_data: is_input.then_some(spec.input_data),
            description: is_description.then_some(spec.description),
            reason: reason.unwrap_or_default(),
        })
    }
}

fn missing(path: &str) -> Refusal {
    Refusal::of(ErrorCode::MissingField, path, "the action lacks a field", "see the tool's schema")
}
