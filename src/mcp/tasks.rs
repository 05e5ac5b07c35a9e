//! The extension `io.modelcontextprotocol/tasks`: a dispatch as a task that its client comes back
//! for.
//!
//! A task is a dispatch and has its id, so there is nothing to keep beside the dispatch: it is
//! durable before the task is answered, survives a restart, and is there for every process on the
//! same state directory.

use std::borrow::Cow;

use rmcp::{
    ErrorData, RoleServer,
    model::{
        CancelTaskParams, ClientCapabilities, CreateTaskResult, DetailedTask, GetTaskMethod,
        GetTaskParams, GetTaskResult, ProtocolVersion, ServerCapabilities, TASKS_EXTENSION_ID,
        Task, TaskPayload, TaskStatus, UpdateTaskParams,
    },
    service::RequestContext,
};
use serde_json::Value;

use super::{
    DispatchServer,
    answer::answer,
    elicit,
    form::{self, Verdict},
};
use crate::{
    model::{
        ApprovalSpec, CancelRequest, DispatchId, DispatchStatus, ErrorCode, Millis, Refusal,
        Timestamp,
    },
    runtime::{DispatcherHandle, Question, Standing},
};

/// How often a client is asked to come back, at most and at least.
const POLL_MIN: Millis = Millis(1_000);
const POLL_MAX: Millis = Millis(5_000);

/// Whether this very request says that it can be answered with a task. What clients of older
/// revisions declare does not count: there the extension does not exist, and some cannot read it.
pub(super) fn is_wanted(context: &RequestContext<RoleServer>) -> bool {
    let declares = |it: ClientCapabilities| it.supports_tasks();
    is_known_to(context) && context.meta.client_capabilities().is_some_and(declares)
}

/// The task that stands for a dispatch; `None` once it has ended, when its result is as near.
pub(super) async fn create(
    handle: &DispatcherHandle,
    dispatch: DispatchId,
    context: &RequestContext<RoleServer>,
) -> Result<Option<CreateTaskResult>, Refusal> {
    let standing = for_client(handle.standing(dispatch).await?, context);
    let is_open = standing.status == DispatchStatus::Running;
    Ok(is_open.then(|| CreateTaskResult::new(task(dispatch, &standing))))
}

/// Answers `tasks/get`.
pub(super) async fn get(
    server: &DispatchServer,
    request: GetTaskParams,
    context: &RequestContext<RoleServer>,
) -> Result<GetTaskResult, ErrorData> {
    let (dispatch, handle) = asked(server, &request.task_id, context)?;
    let standing = handle.standing(dispatch).await.map_err(|it| to_error(&it))?;
    let standing = for_client(standing, context);
    let payload = match standing.status {
        DispatchStatus::Running if standing.questions.is_empty() => TaskPayload::Working,
        DispatchStatus::Running => TaskPayload::InputRequired {
            input_requests: form::requests(dispatch, &standing.questions),
        },
        DispatchStatus::Cancelled => TaskPayload::Cancelled,
        DispatchStatus::Success | DispatchStatus::Partial | DispatchStatus::Failure => {
            let result = handle.result(dispatch).await.map_err(|it| to_error(&it))?;
            let Ok(Value::Object(result)) = serde_json::to_value(answer(Ok(result))) else {
                return Err(ErrorData::internal_error("the result cannot be written", None));
            };
            TaskPayload::Completed { result }
        }
    };
    Ok(GetTaskResult::new(DetailedTask::new(task(dispatch, &standing), payload)))
}

/// Answers `tasks/update`: decides on approvals. Answers to what is not asked, or no longer, are
/// ignored; one that is none of the decisions is refused, and then nothing is decided. What could
/// not be carried out is an error, and the same update may be sent again.
pub(super) async fn update(
    server: &DispatchServer,
    request: UpdateTaskParams,
    context: &RequestContext<RoleServer>,
) -> Result<(), ErrorData> {
    let (dispatch, handle) = asked(server, &request.task_id, context)?;
    let standing = handle.standing(dispatch).await.map_err(|it| to_error(&it))?;
    let mut verdicts = Vec::new();
    for question in &standing.questions {
        if let Some(response) = form::response_to(question, &request.input_responses) {
            verdicts.push((question, verdict(question, response)?));
        }
    }
    for (question, verdict) in verdicts {
        let settled = elicit::settle(&handle, dispatch, question, verdict).await;
        settled.map_err(|it| to_error(&it))?;
    }
    Ok(())
}

/// Answers `tasks/cancel`: gives the dispatch up. What has ended stays as it is.
pub(super) async fn cancel(
    server: &DispatchServer,
    request: CancelTaskParams,
    context: &RequestContext<RoleServer>,
) -> Result<(), ErrorData> {
    let (dispatch_id, handle) = asked(server, &request.task_id, context)?;
    let reason = Some("tasks/cancel".to_owned());
    let cancel = CancelRequest { dispatch_id, task_ids: None, reason };
    handle.cancel(cancel).await.map(|_| ()).map_err(|it| to_error(&it))
}

/// How a dispatch stands for a client: one that can show no forms is not asked, and works on;
/// its status message says what is waited for.
fn for_client(mut standing: Standing, context: &RequestContext<RoleServer>) -> Standing {
    if !elicit::can_show_forms(context) {
        standing.questions.clear();
    }
    standing
}

/// Takes out what the extension declares, where there is none: it begins with the revision that
/// has no `initialize`. Without it rmcp knows no method of it.
pub(super) fn hide(capabilities: &mut ServerCapabilities) {
    if let Some(extensions) = &mut capabilities.extensions {
        extensions.remove(TASKS_EXTENSION_ID);
        if extensions.is_empty() {
            capabilities.extensions = None;
        }
    }
}

/// What a user says to a task's question. A task's client shows a question once, so a no is taken
/// for one, where it may be said; a question that was put aside goes on waiting for others.
fn verdict(question: &Question, response: &Value) -> Result<Verdict, ErrorData> {
    match Verdict::read(question, response) {
        Verdict::Declined if question.may_reject() => {
            Ok(Verdict::Decided(ApprovalSpec::REJECT.to_owned(), None))
        }
        Verdict::Nothing if response.get("action").is_none_or(|it| it != "cancel") => {
            let message = format!(
                "the answer about task \"{}\" must be an elicitation result: decline, cancel, or \
                 accept with content.decision one of \"{}\"",
                question.task_id,
                question.decisions.join("\", \"")
            );
            Err(ErrorData::invalid_params(message, None))
        }
        other @ (Verdict::Decided(..) | Verdict::Declined | Verdict::Nothing) => Ok(other),
    }
}

fn task(dispatch: DispatchId, standing: &Standing) -> Task {
    let status = match standing.status {
        DispatchStatus::Running if standing.questions.is_empty() => TaskStatus::Working,
        DispatchStatus::Running => TaskStatus::InputRequired,
        DispatchStatus::Cancelled => TaskStatus::Cancelled,
        // Whether the tasks of the dispatch succeeded is what its result says.
        DispatchStatus::Success | DispatchStatus::Partial | DispatchStatus::Failure => {
            TaskStatus::Completed
        }
    };
    let written = |at: Millis| Timestamp(at).to_rfc3339();
    let (created, updated) = (written(standing.created_at), written(standing.updated_at));
    let mut task = Task::new(dispatch.to_string(), status, created, updated)
        .with_status_message(standing.line.clone())
        .with_poll_interval_ms(poll_interval(standing).0);
    task.ttl_ms = standing.kept.map(|it| it.0);
    task
}

/// A tenth of the time that is left, or that has passed where nobody knows what is left.
fn poll_interval(standing: &Standing) -> Millis {
    let span = standing.left.unwrap_or_else(|| standing.now.since(standing.created_at));
    Millis(span.0 / 10).clamp(POLL_MIN, POLL_MAX)
}

fn is_known_to(context: &RequestContext<RoleServer>) -> bool {
    let version = context.protocol_version();
    version.is_some_and(|it| it >= ProtocolVersion::V_2026_07_28)
}

/// The dispatch that a request is about, and the service as its caller sees it.
fn asked<'a>(
    server: &'a DispatchServer,
    task_id: &str,
    context: &RequestContext<RoleServer>,
) -> Result<(DispatchId, Cow<'a, DispatcherHandle>), ErrorData> {
    if !is_known_to(context) {
        return Err(ErrorData::method_not_found::<GetTaskMethod>());
    }
    let dispatch = task_id.parse().map_err(|_| unknown_task())?;
    Ok((dispatch, server.handle(context)))
}

fn to_error(refusal: &Refusal) -> ErrorData {
    if refusal.code() == ErrorCode::UnknownDispatch {
        return unknown_task();
    }
    let data = serde_json::to_value(refusal.to_body()).ok();
    ErrorData::internal_error(format!("{}: {refusal}", refusal.code().as_str()), data)
}

fn unknown_task() -> ErrorData {
    ErrorData::invalid_params("unknown task: there is no dispatch of this id", None)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::{TaskId, TaskIdx};

    fn standing(left: Option<u64>, passed: u64) -> Standing {
        Standing {
            status: DispatchStatus::Running,
            created_at: Millis(1_795_232_640_123),
            updated_at: Millis(1_795_232_641_000),
            kept: Some(Millis(86_400_000)),
            left: left.map(Millis),
            now: Millis(1_795_232_640_123 + passed),
            questions: Vec::new(),
            line: "0 of 2 done".to_owned(),
        }
    }

    #[test]
    fn clients_come_back_more_often_towards_the_end() {
        let interval = |left, passed| poll_interval(&standing(left, passed)).0;
        assert_eq!([interval(Some(600_000), 0), interval(Some(30_000), 0)], [5_000, 3_000]);
        assert_eq!([interval(Some(2_000), 90_000), interval(None, 0)], [1_000, 1_000]);
        assert_eq!([interval(None, 20_000), interval(None, 900_000)], [2_000, 5_000]);
    }

    #[test]
    fn a_task_says_what_the_dispatch_is_at() {
        let dispatch: DispatchId = "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap();
        let written = serde_json::to_value(task(dispatch, &standing(None, 0))).unwrap();
        let expected = json!({
            "taskId": dispatch,
            "status": "working",
            "statusMessage": "0 of 2 done",
            "createdAt": "2026-11-21T03:44:00.123Z",
            "lastUpdatedAt": "2026-11-21T03:44:01.000Z",
            "ttlMs": 86_400_000,
            "pollIntervalMs": 1_000,
        });
        assert_eq!(written, expected);
    }

    #[test]
    fn a_no_is_a_rejection_only_where_it_may_be_said() {
        let mut question = Question {
            task: TaskIdx::from_usize(0),
            task_id: TaskId::new("deploy"),
            message: "may it?".to_owned(),
            decisions: ["go", "reject"].map(str::to_owned).into(),
        };
        let declined = json!({"action": "decline"});
        let rejected = Verdict::Decided("reject".to_owned(), None);
        assert_eq!(verdict(&question, &declined).unwrap(), rejected);
        assert_eq!(verdict(&question, &json!({"action": "cancel"})).unwrap(), Verdict::Nothing);
        let other = json!({"action": "accept", "content": {"decision": "stop"}});
        let error = verdict(&question, &other).unwrap_err();
        assert!(error.message.contains("one of \"go\", \"reject\""), "{error:?}");
        question.decisions.pop();
        assert_eq!(verdict(&question, &declined).unwrap(), Verdict::Declined);
    }
}
