//! What users ask of a dispatch while it runs, carried out by its owner.

use std::sync::Arc;

use tokio::sync::oneshot;
use tracing::{debug, error};

use super::{
    batch::Batch, dispatcher::Dispatcher, document::StoredDocument, live::Live, message::Heard,
    nesting, row, submission::Backends,
};
use crate::{
    model::{
        ApprovalSpec, ControlAction, DispatchId, ErrorCode, Failure, FailureCode, InputData,
        Millis, Refusal, TaskIdx, TaskStatus, text,
    },
    ports::{Asked, Nest, RecordBody, Request, TaskRow, Write},
    scheduler::{Gate, GateAnswer, Input, Outbox},
};

impl Dispatcher {
    /// Does what somebody in this process asks; he is answered when it is durable.
    pub(super) fn take_request(
        &mut self,
        (dispatch, request): (DispatchId, Request),
        reply: oneshot::Sender<Heard>,
        batch: &mut Batch,
    ) {
        match self.obey(dispatch, request, batch) {
            Heard::Done => batch.replies.push((dispatch, reply)),
            heard @ (Heard::Refused(_) | Heard::NotHere) => {
                let _gone = reply.send(heard);
            }
        }
    }

    /// Does what other processes ask.
    pub(super) async fn poll_requests(&mut self, batch: &mut Batch) {
        let me = self.dependencies.ownership.me();
        let requests = match self.dependencies.journal.requests(me).await {
            Ok(requests) => requests,
            Err(error) => {
                debug!(%error, "failed to look for requests");
                return;
            }
        };
        for Asked { id, dispatch, request } in requests {
            let is_cancel = matches!(request, Request::Cancel { .. });
            if let Request::Nest(nest) = &request
                && self.lives.contains_key(&dispatch)
            {
                self.take_nest(dispatch, id, Nest::clone(nest));
                continue;
            }
            let refusal = match self.obey(dispatch, request, batch) {
                Heard::Done => None,
                Heard::Refused(refusal) => Some(refusal),
                Heard::NotHere => (!is_cancel).then(|| already_ended(dispatch)),
            };
            let refusal = refusal.and_then(|it| serde_json::to_string(&it.to_body()).ok());
            batch.writes.push(Write::RequestHandled { dispatch, request: id, refusal });
        }
    }

    fn obey(&mut self, dispatch: DispatchId, request: Request, batch: &mut Batch) -> Heard {
        let now = self.dependencies.clock.now();
        if !self.lives.contains_key(&dispatch) {
            return Heard::NotHere;
        }
        let is_cancel = matches!(request, Request::Cancel { .. });
        if let Request::Nest(_) = request {
            return nesting::just_adopted();
        }
        if let Request::SetWorkers { max_workers, .. } = request {
            if let Err(refusal) = self.rules.check_workers(max_workers) {
                return Heard::Refused(refusal);
            }
            self.expect_workers(now, max_workers, batch);
        }
        let Some(live) = self.lives.get_mut(&dispatch) else { return Heard::NotHere };
        if let Err(refusal) = live.obey(now, request, &mut self.out, batch) {
            return Heard::Refused(refusal);
        }
        if is_cancel {
            // A dispatch that still gathers context has not started, and must end all the same.
            live.handle(now, Input::Start, &mut self.out, batch);
        }
        batch.touched.push(dispatch);
        Heard::Done
    }
}

impl Live {
    /// Tells reports what is paused and how many may run.
    pub(super) fn note_control(&mut self, batch: &mut Batch) {
        let (is_paused, tasks) = (self.scheduler.is_paused(), self.scheduler.paused_tasks());
        let (tasks, workers_max) = (tasks.collect(), self.scheduler.workers_limit());
        let is_changed = workers_max != self.document.config.max_workers;
        self.change_meta(batch, |it| {
            (it.paused, it.paused_tasks) = (is_paused, tasks);
            it.max_workers = (is_changed || it.max_workers.is_some()).then_some(workers_max);
        });
    }

    fn obey(
        &mut self,
        now: Millis,
        request: Request,
        out: &mut Outbox,
        batch: &mut Batch,
    ) -> Result<(), Refusal> {
        // What another process wrote is not trusted with places.
        if request.tasks().iter().any(|it| it.as_usize() >= self.rows.len()) {
            error!(dispatch_id = %self.id, "a request names a task that is not there");
            let message = "the dispatch has no such task";
            return Err(Refusal::of(ErrorCode::UnknownTask, "", message, "report this"));
        }
        match request {
            Request::Cancel { tasks, reason } => {
                let body = RecordBody::CancelRequested { tasks: tasks.clone(), reason };
                self.record(now, body, batch);
                let input =
                    if tasks.is_empty() { Input::Cancel } else { Input::CancelTasks { tasks } };
                self.handle(now, input, out, batch);
                Ok(())
            }
            Request::Decide { task, decision, note } => {
                self.decide((now, task), (decision, note), out, batch)
            }
            Request::Pause { tasks, reason } => {
                self.note_wish(now, ControlAction::Pause, (&tasks, reason), batch);
                self.handle(now, Input::Pause { tasks }, out, batch);
                Ok(())
            }
            Request::Resume { tasks, reason } => {
                self.note_wish(now, ControlAction::Resume, (&tasks, reason), batch);
                self.handle(now, Input::Resume { tasks }, out, batch);
                Ok(())
            }
            Request::SetWorkers { max_workers, reason } => {
                self.note_wish(now, ControlAction::SetMaxWorkers, (&[], reason), batch);
                self.handle(now, Input::SetWorkers { workers_max: max_workers }, out, batch);
                Ok(())
            }
            Request::Replace { task, input_data, description, reason } => {
                self.replace((now, task), (input_data, description), reason, batch)
            }
            Request::SetBudget { budget, reason } => {
                self.note_wish(now, ControlAction::SetBudget, (&[], reason), batch);
                self.set_budget(now, &budget, out, batch);
                Ok(())
            }
            // It was taken before it came here.
            Request::Nest(_) => Ok(()),
            Request::Grow { tasks } => self.add(now, (tasks, Backends::new()), out, batch),
        }
    }

    fn decide(
        &mut self,
        (now, task): (Millis, TaskIdx),
        (decision, note): (String, String),
        out: &mut Outbox,
        batch: &mut Batch,
    ) -> Result<(), Refusal> {
        let name = self.document.tasks[task.as_usize()].task_id.clone();
        let row = &mut self.rows[task.as_usize()];
        if check_decision(row, name.as_str(), &decision)? == Decided::Already {
            return Ok(());
        }
        let answer = if decision == ApprovalSpec::REJECT {
            let why = if note.is_empty() { String::new() } else { format!(": {note}") };
            let message = format!("it was rejected{why}");
            GateAnswer::Fail(Failure::new(FailureCode::Rejected, message))
        } else {
            GateAnswer::Pass
        };
        if let Some(approval) = &mut row.approval {
            approval.decision = Some(decision.clone());
            approval.note = (!note.is_empty()).then(|| note.clone());
        }
        self.record(now, RecordBody::ApprovalDecided { task, decision, note }, batch);
        self.handle(now, Input::Answer { task, gate: Gate::Approval, answer }, out, batch);
        Ok(())
    }
}

impl Live {
    fn note_wish(
        &mut self,
        now: Millis,
        action: ControlAction,
        (tasks, reason): (&[TaskIdx], String),
        batch: &mut Batch,
    ) {
        let tasks = tasks.to_vec();
        self.record(now, RecordBody::ControlRequested { action, tasks, reason }, batch);
    }

    /// Refuses a change while something is found out by what the task says now.
    fn check_is_settled(&self, task: TaskIdx) -> Result<(), Refusal> {
        match self.scheduler.gate(task) {
            Some(Gate::Condition | Gate::Reuse | Gate::Expansion) => {
                let message = "the task is just being looked at";
                let refusal = Refusal::of(ErrorCode::Busy, "/task_id", message, "ask again");
                Err(refusal.retry_after(100))
            }
            Some(Gate::Approval) | None => Ok(()),
        }
    }

    /// Tells a task something else.
    fn replace(
        &mut self,
        (now, task): (Millis, TaskIdx),
        (input_data, description): (Option<InputData>, Option<String>),
        reason: String,
        batch: &mut Batch,
    ) -> Result<(), Refusal> {
        let name = self.document.tasks[task.as_usize()].task_id.as_str();
        check_not_started(&self.rows[task.as_usize()], name)?;
        check_is_one(&self.document, task)?;
        self.check_is_settled(task)?;
        let mut fields = Vec::new();
        let spec = &mut Arc::make_mut(&mut self.document).tasks[task.as_usize()];
        if let Some(input_data) = input_data {
            spec.input_data = input_data;
            fields.push("input_data".to_owned());
        }
        if let Some(description) = description {
            spec.description = description;
            fields.push("description".to_owned());
        }
        self.record(now, RecordBody::InputReplaced { task, fields, reason }, batch);
        batch.write_document(self.id, Vec::new());
        Ok(())
    }
}

/// Refuses a change to a task that has become many: they were made of what it said before.
pub(super) fn check_is_one(document: &StoredDocument, task: TaskIdx) -> Result<(), Refusal> {
    let Some(&part) = document.parts_of(task).first() else { return Ok(()) };
    let name = |it: TaskIdx| &document.tasks[it.as_usize()].task_id;
    let message = format!("task \"{}\" has become \"{}\" and others", name(task), name(part));
    let hint = "change those that have not started";
    Err(Refusal::of(ErrorCode::AlreadyStarted, "/task_id", &message, hint))
}

/// Refuses a change to a task that an agent has, or that has ended.
pub(super) fn check_not_started(row: &TaskRow, name: &str) -> Result<(), Refusal> {
    if row.status == TaskStatus::Pending && row.attempts == 0 {
        return Ok(());
    }
    let what = if row.status.is_final() { "has ended" } else { "has started" };
    let message = format!("task \"{name}\" {what}");
    let hint = "only what has not started can be changed; after the end, retry_dispatch takes \
                overrides";
    Err(Refusal::of(ErrorCode::AlreadyStarted, "/task_id", &message, hint))
}

/// Whether a decision is news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decided {
    Now,
    /// The same was decided before; twice is once.
    Already,
}

/// Checks a decision against where its task stands.
pub(super) fn check_decision(
    row: &TaskRow,
    name: &str,
    decision: &str,
) -> Result<Decided, Refusal> {
    let approval = row.approval.as_deref();
    if approval.is_some_and(|it| it.decision.as_deref() == Some(decision)) {
        return Ok(Decided::Already);
    }
    let Some(approval) = approval.filter(|_| row::waits_for_approval(row)) else {
        let why = match approval.and_then(|it| it.decision.as_deref()) {
            Some(decision) => format!("{decision:?} was decided before"),
            None if row.status.is_final() => "it has ended".to_owned(),
            None if row.attempts > 0 => "it has started".to_owned(),
            None => "it has none, or waits for other tasks first".to_owned(),
        };
        let message = format!("task \"{name}\" does not wait for an approval: {why}");
        let hint = "get_result shows waiting_for \"approval\" where a decision is wanted";
        return Err(Refusal::of(ErrorCode::NotWaiting, "/task_id", &message, hint));
    };
    if approval.decisions.iter().any(|it| it == decision) {
        return Ok(Decided::Now);
    }
    let known = approval.decisions.join("\", \"");
    let guess = text::did_you_mean(decision, approval.decisions.iter().map(String::as_str));
    let given = text::cut(decision, 80);
    let message = format!("{given:?} is no decision on task \"{name}\"{guess}");
    let hint = format!("choose one of \"{known}\"");
    Err(Refusal::of(ErrorCode::InvalidEnum, "/decision", &message, &hint))
}

/// Refuses a wish about a dispatch that has ended.
pub(super) fn already_ended(dispatch: DispatchId) -> Refusal {
    let message = format!("dispatch {dispatch} has ended");
    let hint = "read its results with get_result; retry_dispatch runs again what did not succeed";
    Refusal::of(ErrorCode::AlreadyEnded, "/dispatch_id", &message, hint)
}
