//! `dispatch` with a `dispatch_id`: tasks for a dispatch that runs, in whatever process.

use serde_json::Value;
use tokio::sync::oneshot;

use super::{
    batch::Batch,
    control::already_ended,
    defaults,
    document::StoredDocument,
    growth::Addition,
    handle::DispatcherHandle,
    live::Live,
    message::{Heard, Message},
    query,
    retry_dispatch::own_tasks,
    submission::{Backends, bind_all},
};
use crate::{
    model::{DispatchId, ErrorCode, Millis, Refusal, TaskId, TaskSpec},
    plan,
    ports::Request,
    scheduler::Outbox,
};

impl DispatcherHandle {
    /// Adds tasks to a dispatch; nothing is added if any of them is refused.
    pub(super) async fn add_tasks(
        &self,
        dispatch: DispatchId,
        added: &Value,
    ) -> Result<(), Refusal> {
        let row = query::dispatch_row(&self.dependencies.journal, dispatch).await?;
        if row.ended_at.is_some() {
            return Err(already_ended(dispatch));
        }
        let json = self.dependencies.journal.document(dispatch).await;
        let json = json?.unwrap_or_default();
        let document = StoredDocument::read(&json)?;
        let own = own_tasks(&document);
        let before: Vec<TaskSpec> =
            own.iter().map(|it| document.tasks[it.as_usize()].clone()).collect();
        let config = document.config.to_config(None);
        let mut tasks = plan::check_addition(added, &before, &config, &self.rules())?;
        for it in &mut tasks {
            defaults::task(it, &self.options);
        }
        let known = document.agents();
        let is_new = |it: &TaskSpec| !known.contains(&&it.agent);
        let new: Vec<_> = tasks.iter().filter(|it| is_new(it)).map(|it| it.agent.clone()).collect();
        if new.is_empty() {
            // Where it is only recorded yet, a result shows the tasks once they are there.
            return self.ask(dispatch, Request::Grow { tasks }).await.map(|_| ());
        }
        let (backends, _) = bind_all(&self.dependencies.agents, new.into_iter()).await?;
        self.add_here(dispatch, tasks, backends).await
    }

    /// Agents that the dispatch did not know can only be handed over within this process.
    async fn add_here(
        &self,
        dispatch: DispatchId,
        tasks: Vec<TaskSpec>,
        backends: Backends,
    ) -> Result<(), Refusal> {
        let (reply, answer) = oneshot::channel();
        let message = Message::Add { dispatch, tasks, backends, reply };
        let _gone = self.control.send(message);
        match answer.await.unwrap_or(Heard::NotHere) {
            Heard::Done => Ok(()),
            Heard::Refused(refusal) => Err(refusal),
            Heard::NotHere => {
                let message = "another process runs the dispatch, and it has not used all these \
                               agents yet";
                let hint = "send the tasks to that process, or name agents of the dispatch only";
                Err(Refusal::of(ErrorCode::AgentUnavailable, "/tasks", message, hint))
            }
        }
    }
}

impl Live {
    /// Adds tasks of a caller.
    pub(super) fn add(
        &mut self,
        now: Millis,
        (tasks, backends): (Vec<TaskSpec>, Backends),
        out: &mut Outbox,
        batch: &mut Batch,
    ) -> Result<(), Refusal> {
        self.check_addition(&tasks, &backends)?;
        let addition = Addition { parent: None, tasks, backends };
        self.grow(now, addition, out, batch).map_err(|it| query::refuse(&it))
    }

    /// Checks once more what was checked against the document as it was: somebody else may have
    /// added tasks meanwhile.
    fn check_addition(&self, tasks: &[TaskSpec], backends: &Backends) -> Result<(), Refusal> {
        let is_added = |name: &str| tasks.iter().any(|it| it.task_id.as_str() == name);
        for (at, task) in tasks.iter().enumerate() {
            let name = task.task_id.as_str();
            if self.document.place(name).is_some() {
                let message = format!("task id \"{name}\" is taken by a task of the dispatch");
                let (path, hint) = (format!("/tasks/{at}/task_id"), "give each task its own id");
                return Err(Refusal::of(ErrorCode::DuplicateTaskId, path, &message, hint));
            }
            let is_there = |it: &&str| self.document.place(it).is_some() || is_added(it);
            let mut names = task.dependencies.iter().map(TaskId::as_str);
            if let Some(lost) = names.find(|it| !is_there(it)) {
                let message = format!("task \"{name}\" depends on unknown task \"{lost}\"");
                let (path, hint) =
                    (format!("/tasks/{at}/dependencies"), "name a task that is there");
                return Err(Refusal::of(ErrorCode::UnknownDependency, path, &message, hint));
            }
            if !self.backends.contains_key(&task.agent) && !backends.contains_key(&task.agent) {
                let message = format!("the dispatch has not used the agent {}", task.agent);
                let (path, hint) = (format!("/tasks/{at}/agent"), "name an agent of the dispatch");
                return Err(Refusal::of(ErrorCode::AgentUnavailable, path, &message, hint));
            }
        }
        Ok(())
    }
}
