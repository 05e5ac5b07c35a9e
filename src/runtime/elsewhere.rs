//! Waiting for a dispatch and cancelling it, in whatever process it runs.
//!
//! A dispatch that is live in this process is waited for in the dispatcher; any other one in the
//! store, which is read again only when it has changed.

use std::time::Duration;

use tokio::{
    sync::{oneshot, watch},
    time::Instant,
};
use tracing::warn;

use super::{
    handle::DispatcherHandle,
    message::{Ended, Message, Progress},
    orphans::Adopter,
    query,
};
use crate::{
    model::{CancelRequest, DispatchId, DispatchResult, Refusal, TaskId, TaskIdx},
    ports::{CancelAsked, DispatchRow, Write},
};

/// How often a cancel looks for the owner anew, when it changes under its hands.
const CANCEL_TRIES_MAX: u32 = 3;
/// How long a cancel waits for its effect before it answers how things stand.
const CANCEL_WAIT: Duration = Duration::from_secs(5);

impl DispatcherHandle {
    /// Waits until a dispatch has ended and its traces stand, at most `wait`. Returns whether it
    /// has.
    pub async fn wait(&self, dispatch: DispatchId, wait: Duration) -> Result<bool, Refusal> {
        let until = Instant::now() + wait;
        let Some(ended) = self.wait_for(dispatch, Vec::new(), wait).await? else {
            return Ok(false);
        };
        Ok(tokio::time::timeout_at(until, ended.files_written()).await.is_ok())
    }

    /// Waits like [`Self::wait`], and answers what is there then.
    pub async fn finished(
        &self,
        dispatch: DispatchId,
        wait: Duration,
    ) -> Result<DispatchResult, Refusal> {
        let until = Instant::now() + wait;
        let ended = self.wait_for(dispatch, Vec::new(), wait).await?.unwrap_or_default();
        let written = tokio::time::timeout_at(until, ended.files_written());
        // The answer is put together while the files are written.
        let (result, _late) = tokio::join!(self.result(dispatch), written);
        result
    }

    /// Follows a dispatch that is live in this process.
    pub async fn follow(&self, dispatch: DispatchId) -> Option<watch::Receiver<Progress>> {
        let (reply, answer) = oneshot::channel();
        self.control.send(Message::Follow { dispatch, reply }).ok()?;
        answer.await.ok().flatten()
    }

    /// Gives up a dispatch or some of its tasks, in whatever process it runs.
    pub async fn cancel(&self, request: CancelRequest) -> Result<DispatchResult, Refusal> {
        let dispatch = request.dispatch_id;
        let tasks = self.places(dispatch, request.task_ids.as_deref()).await?;
        let reason = request.reason.unwrap_or_default();
        let asked = CancelAsked { dispatch, tasks: tasks.clone(), reason };
        if !self.cancel_here(asked.clone()).await {
            self.cancel_elsewhere(asked).await?;
        }
        self.wait_for(dispatch, tasks, CANCEL_WAIT).await?;
        self.result(dispatch).await
    }

    /// Waits for tasks, or for the whole dispatch if there are none; `None` if time is over first.
    pub(super) async fn wait_for(
        &self,
        dispatch: DispatchId,
        tasks: Vec<TaskIdx>,
        wait: Duration,
    ) -> Result<Option<Ended>, Refusal> {
        match tokio::time::timeout(wait, self.see_end(dispatch, &tasks)).await {
            Ok(ended) => ended.map(Some),
            Err(_) => Ok(None),
        }
    }

    /// The places of tasks that are named by their ids; none for the whole dispatch.
    pub(super) async fn places(
        &self,
        dispatch: DispatchId,
        names: Option<&[TaskId]>,
    ) -> Result<Vec<TaskIdx>, Refusal> {
        let journal = &self.dependencies.journal;
        let Some(names) = names else {
            return query::dispatch_row(journal, dispatch).await.map(|_| Vec::new());
        };
        let (_, rows) = query::overview(journal, dispatch).await?;
        query::places(&rows, names)
    }

    async fn see_end(&self, dispatch: DispatchId, tasks: &[TaskIdx]) -> Result<Ended, Refusal> {
        let mut changes = None;
        loop {
            if let Some(ended) = self.wait_here(dispatch, tasks.to_vec()).await {
                return Ok(ended);
            }
            if self.has_ended(dispatch, tasks).await? {
                return Ok(Ended::default());
            }
            match &mut changes {
                // What happened before somebody listened is looked for once more.
                None => changes = Some(self.dependencies.journal.changes()),
                Some(changes) => changes.next().await,
            }
        }
    }

    /// Waits in the dispatcher; `None` at once if the dispatch is not live in this process, and as
    /// soon as another process has taken it over.
    async fn wait_here(&self, dispatch: DispatchId, tasks: Vec<TaskIdx>) -> Option<Ended> {
        let (reply, answer) = oneshot::channel();
        self.control.send(Message::Wait { dispatch, tasks, reply }).ok()?;
        answer.await.ok()
    }

    async fn has_ended(&self, dispatch: DispatchId, tasks: &[TaskIdx]) -> Result<bool, Refusal> {
        let journal = &self.dependencies.journal;
        if tasks.is_empty() {
            return Ok(query::dispatch_row(journal, dispatch).await?.ended_at.is_some());
        }
        let (row, rows) = query::overview(journal, dispatch).await?;
        if row.ended_at.is_some() {
            return Ok(true);
        }
        let is_final =
            |it: &TaskIdx| rows.get(it.as_usize()).is_none_or(|row| row.row.status.is_final());
        Ok(tasks.iter().all(is_final))
    }

    async fn cancel_here(&self, asked: CancelAsked) -> bool {
        let (reply, answer) = oneshot::channel();
        let sent = self.control.send(Message::Cancel { asked, reply });
        sent.is_ok() && answer.await.unwrap_or(false)
    }

    /// Asks the owner to cancel; takes the dispatch over if the owner is gone.
    async fn cancel_elsewhere(&self, asked: CancelAsked) -> Result<(), Refusal> {
        let journal = &self.dependencies.journal;
        for _ in 0..CANCEL_TRIES_MAX {
            let row = query::dispatch_row(journal, asked.dispatch).await?;
            if row.ended_at.is_some() {
                return Ok(());
            }
            if self.dependencies.ownership.is_alive(row.tenure.owner) {
                break;
            }
            if self.adopt(&row).await && self.cancel_here(asked.clone()).await {
                return Ok(());
            }
        }
        // Whoever owns the dispatch, now or later, finds the request.
        let CancelAsked { dispatch, tasks, reason } = asked;
        let write = Write::RequestCancel { dispatch, tasks, reason };
        journal.commit(vec![write].into()).await.map_err(|it| query::refuse(&it))?;
        Ok(())
    }

    async fn adopt(&self, row: &DispatchRow) -> bool {
        let (dependencies, control) = (self.dependencies.clone(), self.control.downgrade());
        let adopted = Adopter { dependencies, control }.take_over(row).await;
        adopted.unwrap_or_else(|error| {
            warn!(dispatch_id = %row.dispatch, %error, "failed to take a dispatch over");
            false
        })
    }
}
