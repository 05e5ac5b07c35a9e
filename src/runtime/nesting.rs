//! Dispatches that an agent asks for while it works at a task: run by the process that runs the
//! task, and cancelled with it.

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::{
    batch::Batch,
    control::already_ended,
    dispatcher::Dispatcher,
    document::Meta,
    elsewhere::Asking,
    handle::DispatcherHandle,
    live::Live,
    message::{Heard, Message, Submitted},
    options::Dependencies,
    query,
    recovery::{self, RecoveryError},
    submission::{KeptTask, Submission},
};
use crate::{
    model::{
        DispatchId, ErrorCode, Identity, ParentTask, Refusal, TaskId, TaskIdx, TaskStatus, text,
    },
    ports::{Nest, RecordBody, Request, RequestId, StoreError},
    scheduler::{Input, TaskState},
};

/// How many dispatches the agents of one dispatch may ask for.
const NESTED_MAX: usize = 1_000;

/// The task whose agent asked for a dispatch, as it stands with the dispatch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Parent {
    pub(super) dispatch: DispatchId,
    pub(super) task: TaskIdx,
    pub(super) task_id: TaskId,
    /// How many dispatches are above.
    pub(super) depth: u32,
}

impl Parent {
    /// As users see it.
    pub(super) fn to_task(&self) -> ParentTask {
        ParentTask { dispatch_id: self.dispatch, task_id: self.task_id.clone() }
    }
}

/// What a new dispatch stands below.
#[derive(Debug)]
pub(super) struct Above {
    pub(super) parent: Parent,
    /// Whom the dispatch of that task belongs to.
    pub(super) caller: Option<Identity>,
}

/// A dispatch that a task's agent asked for, as it stands with the task's dispatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Nested {
    pub(super) task: TaskIdx,
    pub(super) dispatch: DispatchId,
}

impl DispatcherHandle {
    /// The task whose agent started this process. Who sees only their own has nothing to do with
    /// that agent.
    pub(super) fn default_parent(&self) -> Option<ParentTask> {
        self.options.parent.clone().filter(|_| self.sees_all())
    }

    /// Finds the task on whose behalf something is dispatched, and whom its dispatch belongs to;
    /// what is not known here is said in `warnings`, and the dispatch stands for itself.
    pub(super) async fn find_parent(
        &self,
        named: Option<ParentTask>,
        warnings: &mut Vec<String>,
    ) -> Result<Option<Above>, Refusal> {
        let Some(ParentTask { dispatch_id: dispatch, task_id }) = named else { return Ok(None) };
        let journal = &self.dependencies.journal;
        let overview = journal.overview(dispatch).await?;
        let Some((row, rows)) = overview else {
            warnings.push(format!(
                "it was asked for by task \"{task_id}\" of dispatch {dispatch}, which this state \
                 directory does not have: it stands for itself"
            ));
            return Ok(None);
        };
        if row.ended_at.is_some() {
            return Err(already_ended(dispatch));
        }
        let task = query::places(&rows, std::slice::from_ref(&task_id))?[0];
        if rows[task.as_usize()].row.status != TaskStatus::Running {
            return Err(not_running(&task_id));
        }
        let meta = Meta::read(&row.meta)?;
        let depth = meta.parent.map_or(1, |it| it.depth + 1);
        let depth_max = self.options.nesting_max;
        if depth > depth_max {
            let message = format!(
                "the dispatch would be {depth} deep below others, and {depth_max} is the most"
            );
            let hint = "do the tasks yourself, or raise limits.nesting_max";
            return Err(Refusal::of(ErrorCode::LimitExceeded, "", &message, hint));
        }
        let parent = Parent { dispatch, task, task_id, depth };
        Ok(Some(Above { parent, caller: meta.caller }))
    }

    /// Hands a dispatch to the process that runs the one above.
    pub(super) async fn submit_elsewhere(
        &self,
        parent: DispatchId,
        nest: Nest,
    ) -> Result<DispatchId, Refusal> {
        let dispatch = nest.dispatch;
        match self.ask_elsewhere(parent, Request::Nest(Box::new(nest))).await? {
            Asking::Done => Ok(dispatch),
            Asking::Recorded => {
                let message = format!(
                    "the process that runs dispatch {parent} has not answered yet; it may still \
                     accept this one, as {dispatch}"
                );
                let hint = "look with get_result before you dispatch again";
                Err(Refusal::of(ErrorCode::Busy, "", &message, hint).retry_after(5_000))
            }
        }
    }
}

impl Dispatcher {
    /// Notes a new dispatch with the one above, if it has one; says why where it cannot be accepted
    /// here.
    pub(super) fn enter_family(
        &mut self,
        submission: Box<Submission>,
        batch: &mut Batch,
    ) -> Result<Box<Submission>, Submitted> {
        let Some(parent) = &submission.meta.parent else { return Ok(submission) };
        let Parent { dispatch: above, task, ref task_id, .. } = *parent;
        let now = self.dependencies.clock.now();
        let Some(live) = self.lives.get_mut(&above) else {
            return Err(Submitted::Elsewhere { above, submission });
        };
        live.check_can_nest(task, task_id).map_err(Submitted::Refused)?;
        live.note_nested(now, Nested { task, dispatch: submission.dispatch }, batch);
        batch.touched.push(above);
        Ok(submission)
    }

    /// Takes a dispatch that was not accepted off the one above. That it was asked for stays told.
    pub(super) fn leave_family(&mut self, gone: &Live, batch: &mut Batch) {
        let above = gone.meta.parent.as_ref().and_then(|it| self.lives.get_mut(&it.dispatch));
        if let Some(above) = above {
            above.change_meta(batch, |it| it.nested.retain(|it| it.dispatch != gone.id));
        }
    }

    /// Accepts a dispatch that another process hands over, beside the dispatches.
    pub(super) fn take_nest(&mut self, parent: DispatchId, id: RequestId, nest: Nest) {
        if !self.nesting.insert(id) {
            return;
        }
        let (dependencies, control) = (self.dependencies.clone(), self.to_control.clone());
        self.run_errand(async move {
            let accepted = accept(dependencies, parent, nest, async |submission| {
                let (reply, answer) = oneshot::channel();
                let message = Message::Submit { submission: Box::new(submission), reply };
                let sent = control.upgrade().is_some_and(|it| it.send(message).is_ok());
                if sent { answer.await.ok() } else { None }
            });
            Message::Nested { parent, request: id, refusal: accepted.await.err() }
        });
    }

    /// Cancels what the agents of tasks asked for that ended without success.
    pub(super) fn cancel_nested(&mut self, batch: &mut Batch) {
        let now = self.dependencies.clock.now();
        while let Some((dispatch, task)) = batch.given_up.pop() {
            for live in self.lives.values_mut() {
                if !live.is_nested_in(dispatch, task) || live.scheduler.is_ended() {
                    continue;
                }
                let reason = "the task whose agent asked for it has ended".to_owned();
                live.record(now, RecordBody::CancelRequested { tasks: Vec::new(), reason }, batch);
                live.handle(now, Input::Cancel, &mut self.out, batch);
                // One that still gathers context must end all the same.
                live.handle(now, Input::Start, &mut self.out, batch);
                batch.touched.push(live.id);
            }
        }
    }
}

impl Live {
    fn is_nested_in(&self, dispatch: DispatchId, task: TaskIdx) -> bool {
        self.meta.parent.as_ref().is_some_and(|it| (it.dispatch, it.task) == (dispatch, task))
    }

    fn check_can_nest(&self, task: TaskIdx, task_id: &TaskId) -> Result<(), Refusal> {
        // What another process wrote is not trusted with places.
        if task.as_usize() >= self.rows.len() || self.scheduler.state(task) != TaskState::Running {
            return Err(not_running(task_id));
        }
        if self.meta.nested.len() >= NESTED_MAX {
            let message = format!("the agents of the dispatch have asked for {NESTED_MAX} others");
            let hint = "put more tasks into one dispatch";
            return Err(Refusal::of(ErrorCode::LimitExceeded, "", &message, hint));
        }
        Ok(())
    }

    fn note_nested(&mut self, now: crate::model::Millis, nested: Nested, batch: &mut Batch) {
        let Nested { task, dispatch } = nested;
        self.record(now, RecordBody::Nested { task, dispatch }, batch);
        self.change_meta(batch, |it| it.nested.push(nested));
    }
}

/// Reads a dispatch that another process handed over, binds its agents and has it accepted. One
/// that stands in the store already was accepted before a crash.
async fn accept(
    dependencies: Dependencies,
    parent: DispatchId,
    nest: Nest,
    submit: impl AsyncFnOnce(Submission) -> Option<Submitted>,
) -> Result<(), Refusal> {
    let known = dependencies.journal.dispatch(nest.dispatch).await;
    if known?.is_some() {
        return Ok(());
    }
    let meta = Meta::read(&nest.meta)?;
    if meta.parent.as_ref().is_none_or(|it| it.dispatch != parent) {
        return Err(already_ended(parent));
    }
    let read = recovery::read(&dependencies, nest.dispatch, (&nest.document, meta)).await;
    let mut submission = read.map_err(|error| match error {
        RecoveryError::Store(error) => query::refuse(&error),
        RecoveryError::Refused(refusal) => refusal,
    })?;
    submission.idempotency = nest.idempotency;
    let kept = nest.kept.into_iter().map(|(task, row, output)| KeptTask { task, row, output });
    submission.kept = kept.collect();
    if submission.kept.iter().any(|it| it.task.as_usize() >= submission.graph.len()) {
        let error = StoreError::Corrupt("a kept task is not in its document".into());
        return Err(query::refuse(&error));
    }
    match submit(submission).await {
        Some(Submitted::Accepted) => Ok(()),
        Some(Submitted::Refused(refusal)) => Err(refusal),
        Some(Submitted::KeyTaken) => {
            let message = "the idempotency key was taken in this moment";
            Err(Refusal::of(ErrorCode::Busy, "", message, "ask again").retry_after(100))
        }
        Some(Submitted::Elsewhere { .. }) | None => Err(already_ended(parent)),
    }
}

/// Refuses what somebody asks for on behalf of a task that no agent works at.
fn not_running(task_id: &TaskId) -> Refusal {
    let name = text::escape(&text::cut(task_id.as_str(), 128));
    let message = format!("task \"{name}\", on whose behalf this is asked for, does not run");
    let hint = "an agent can dispatch only while it works at its task";
    Refusal::of(ErrorCode::AlreadyEnded, "", &message, hint)
}

/// The refusal of a dispatch that was just taken over, whose agents are about to start anew.
pub(super) fn just_adopted() -> Heard {
    let message = "the dispatch was taken over in this moment, and its agents start anew";
    Heard::Refused(Refusal::of(ErrorCode::Busy, "", message, "ask again").retry_after(500))
}
