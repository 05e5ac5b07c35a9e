//! Waiting for a dispatch and asking things of it, in whatever process it runs.
//!
//! A dispatch that is live in this process is waited for in the dispatcher; any other one in the
//! store, which is read again only when it has changed.

use std::time::Duration;

use tokio::{
    sync::{oneshot, watch},
    time::Instant,
};
use tracing::warn;
use uuid::Uuid;

use super::{
    control::{self, Decided},
    course::Heed,
    handle::DispatcherHandle,
    message::{Ended, Heard, Message, Progress},
    options::Recover,
    orphans::Adopter,
    query,
};
use crate::{
    model::{
        ApproveRequest, CancelRequest, DispatchId, DispatchResult, Refusal, RefusalBody, TaskId,
        TaskIdx,
    },
    ports::{Asked, Changes, DispatchRow, Request, RequestId, RequestState, StoreError, Write},
};

/// How often a request looks for the owner anew, when it changes under its hands.
const TRIES_MAX: u32 = 3;
/// How long a request waits for the owner's answer.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// How long a cancel waits for its effect before it answers how things stand.
const CANCEL_WAIT: Duration = Duration::from_secs(5);

/// How far something that was asked has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asking {
    /// It is done, and durable.
    Done,
    /// It is in the store; the owner has not seen it.
    Recorded,
}

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
        self.follow_as(dispatch, Heed::End).await.map(|it| it.0)
    }

    /// Gives up a dispatch or some of its tasks, in whatever process it runs.
    pub async fn cancel(&self, request: CancelRequest) -> Result<DispatchResult, Refusal> {
        let dispatch = request.dispatch_id;
        let tasks = self.places(dispatch, request.task_ids.as_deref()).await?;
        let reason = request.reason.unwrap_or_default();
        self.ask(dispatch, Request::Cancel { tasks: tasks.clone(), reason }).await?;
        self.wait_for(dispatch, tasks, CANCEL_WAIT).await?;
        self.result(dispatch).await
    }

    /// Decides on the approval of a task, in whatever process its dispatch runs.
    pub async fn approve(&self, request: ApproveRequest) -> Result<DispatchResult, Refusal> {
        let ApproveRequest { dispatch_id: dispatch, task_id, decision, note } = request;
        let (_, rows) = query::overview(&self.dependencies.journal, dispatch).await?;
        let task = query::places(&rows, std::slice::from_ref(&task_id));
        let task = task.map_err(|it| it.moved("/task_ids", "/task_id"))?[0];
        let row = &rows[task.as_usize()].row;
        if control::check_decision(row, task_id.as_str(), &decision)? == Decided::Already {
            return self.result(dispatch).await;
        }
        let note = note.unwrap_or_default();
        let done = self.ask(dispatch, Request::Decide { task, decision, note }).await?;
        self.result_after(dispatch, done).await
    }

    /// Asks something of a dispatch, in whatever process it runs.
    pub(super) async fn ask(
        &self,
        dispatch: DispatchId,
        request: Request,
    ) -> Result<Asking, Refusal> {
        self.check_seen(dispatch).await?;
        match self.ask_here(dispatch, request.clone()).await {
            Heard::Done => Ok(Asking::Done),
            Heard::Refused(refusal) => Err(refusal),
            // Rare and large: else every request would carry room for it.
            Heard::NotHere => Box::pin(self.ask_elsewhere(dispatch, request)).await,
        }
    }

    /// The result after something was asked, and a warning where it is not done yet.
    pub(super) async fn result_after(
        &self,
        dispatch: DispatchId,
        done: Asking,
    ) -> Result<DispatchResult, Refusal> {
        let mut result = self.result(dispatch).await?;
        if done == Asking::Recorded {
            result.warnings.push(
                "the process that runs this dispatch has not answered yet; what was asked is \
                 recorded, and is done as soon as it, or another `serve` that takes the dispatch \
                 over, sees it"
                    .to_owned(),
            );
        }
        Ok(result)
    }

    /// Waits for tasks, or for the whole dispatch if there are none; `None` if time is over first.
    pub(super) async fn wait_for(
        &self,
        dispatch: DispatchId,
        tasks: Vec<TaskIdx>,
        wait: Duration,
    ) -> Result<Option<Ended>, Refusal> {
        self.check_seen(dispatch).await?;
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

    async fn ask_here(&self, dispatch: DispatchId, request: Request) -> Heard {
        let (reply, answer) = oneshot::channel();
        match self.control.send(Message::Ask { dispatch, request, reply }) {
            Ok(()) => answer.await.unwrap_or(Heard::NotHere),
            Err(_) => Heard::NotHere,
        }
    }

    /// Asks the owner; takes the dispatch over if the owner is gone. A process that only lives for
    /// this question takes over only what it ends.
    pub(super) async fn ask_elsewhere(
        &self,
        dispatch: DispatchId,
        request: Request,
    ) -> Result<Asking, Refusal> {
        let is_cancel = matches!(request, Request::Cancel { .. });
        let may_adopt = is_cancel || self.options.recover != Recover::Never;
        for _ in 0..TRIES_MAX {
            let row = query::dispatch_row(&self.dependencies.journal, dispatch).await?;
            if row.ended_at.is_some() {
                let ended = || control::already_ended(dispatch);
                return if is_cancel { Ok(Asking::Done) } else { Err(ended()) };
            }
            if !may_adopt || self.dependencies.ownership.is_alive(row.tenure.owner) {
                break;
            }
            if self.adopt(&row).await {
                match self.ask_here(dispatch, request.clone()).await {
                    Heard::Done => return Ok(Asking::Done),
                    Heard::Refused(refusal) => return Err(refusal),
                    Heard::NotHere => {}
                }
            }
        }
        // Whoever owns the dispatch, now or later, finds the request.
        let id = RequestId(Uuid::now_v7());
        let changes = self.dependencies.journal.changes();
        let write = Write::Request(Box::new(Asked { id, dispatch, request }));
        let committed = self.dependencies.journal.commit(vec![write].into()).await;
        committed?;
        if is_cancel {
            // Its effect is waited for.
            return Ok(Asking::Recorded);
        }
        let answered = tokio::time::timeout(ANSWER_WAIT, self.see_answer(id, changes)).await;
        answered.unwrap_or(Ok(Asking::Recorded))
    }

    /// Waits until the owner has done what was asked, or refused it.
    async fn see_answer(&self, id: RequestId, mut changes: Changes) -> Result<Asking, Refusal> {
        loop {
            let state = self.dependencies.journal.request(id).await;
            match state? {
                None => return Ok(Asking::Done),
                Some(RequestState::Refused(json)) => {
                    let body: Result<RefusalBody, _> = serde_json::from_str(&json);
                    let body = body.map_err(|it| {
                        query::refuse(&StoreError::Corrupt(format!("an answer: {it}")))
                    })?;
                    return Err(body.into());
                }
                Some(RequestState::Waits) => changes.next().await,
            }
        }
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
