//! All ways of asking the service about a dispatch by its id, for the tests of what callers see.

use std::time::Duration;

use serde_json::{Value, json};

use super::{DispatcherHandle, course::Heed, handle::Caller, testing::document, tests::retry_of};
use crate::model::{
    ApproveRequest, CancelRequest, DispatchId, GetResultRequest, ReadTraceRequest, Refusal, TaskId,
    View, json::Json,
};

/// How a caller asks of a dispatch by its id, each by the name of the handle's method; those of one
/// method are numbered.
pub(super) const OF_A_DISPATCH: [&str; 32] = [
    "check_seen",
    "result",
    "whole_result",
    "get_result",
    "get_result 2",
    "get_result 3",
    "read_trace",
    "read_trace 2",
    "wait",
    "finished",
    "follow",
    "retry",
    "dispatch",
    "approve",
    "control",
    "control 2",
    "control 3",
    "control 4",
    "control 5",
    "control 6",
    "cancel",
    "cancel 2",
    "questions",
    "course",
    "standing",
    "status",
    "bounded_result",
    "task_result",
    "task_trace",
    "tasks_like",
    "watch_dispatch",
    "watch_task",
];

/// What comes of asking one of [`OF_A_DISPATCH`] of the dispatch: the refusal as JSON, if any.
pub(super) async fn ask(handle: &DispatcherHandle, how: &str, id: DispatchId) -> String {
    let short = Duration::from_millis(10);
    let t = || Some(vec![TaskId::new("t")]);
    let of = |task_ids, wait_ms| GetResultRequest {
        dispatch_id: id,
        task_ids,
        wait_ms,
        view: None,
        cursor: None,
    };
    let trace = |task_id| ReadTraceRequest {
        dispatch_id: Some(id),
        task_id,
        ..ReadTraceRequest::default()
    };
    let cancelled = |task_ids| CancelRequest { dispatch_id: id, task_ids, reason: None };
    let answer = match how {
        "check_seen" => handle.check_seen(id).await,
        "result" => handle.result(id).await.map(drop),
        "whole_result" => handle.whole_result(id, View::Summary).await.map(drop),
        "get_result" => handle.get_result(of(None, None)).await.map(drop),
        "get_result 2" => handle.get_result(of(None, Some(10))).await.map(drop),
        "get_result 3" => handle.get_result(of(t(), Some(10))).await.map(drop),
        "read_trace" => handle.read_trace(trace(None)).await.map(drop),
        "read_trace 2" => handle.read_trace(trace(Some(TaskId::new("t")))).await.map(drop),
        "wait" => handle.wait(id, short).await.map(drop),
        "finished" => handle.finished(id, short).await.map(drop),
        "follow" => {
            return handle.follow(id).await.map_or("nothing", |_| "followed").to_owned();
        }
        "retry" => handle.retry(retry_of(id, None), None).await.map(drop),
        "dispatch" => {
            let mut args = document("added");
            args["dispatch_id"] = json!(id);
            call(handle, &args, Caller::default()).await.map(drop)
        }
        "approve" => {
            let (task_id, decision) = (TaskId::new("t"), "approve".to_owned());
            let request = ApproveRequest { dispatch_id: id, task_id, decision, note: None };
            handle.approve(request).await.map(drop)
        }
        "cancel" => handle.cancel(cancelled(t())).await.map(drop),
        "cancel 2" => handle.cancel(cancelled(None)).await.map(drop),
        _ if how.starts_with("control") => control(handle, how, id).await,
        _ => look_up(handle, how, id).await,
    };
    answer.err().map_or_else(String::new, |it| serde_json::to_string(&it.to_body()).unwrap())
}

async fn look_up(handle: &DispatcherHandle, how: &str, id: DispatchId) -> Result<(), Refusal> {
    let t = TaskId::new("t");
    match how {
        "questions" => handle.questions(id).read().await.map(drop),
        "course" => handle.course(id, Heed::Counts).read().await.map(drop),
        "standing" => handle.standing(id).await.map(drop),
        "status" => handle.status(id).await.map(drop),
        "bounded_result" => handle.bounded_result(id, 9_999).await.map(drop),
        "task_result" => handle.task_result(id, &t, 9_999).await.map(drop),
        "task_trace" => handle.task_trace(id, &t, 9_999).await.map(drop),
        "tasks_like" => handle.tasks_like(id, "t").await.map(drop),
        "watch_dispatch" => handle.watch_dispatch(id).await.map(drop),
        "watch_task" => handle.watch_task(id, &t).await.map(drop),
        _ => panic!("{how} is not in the table"),
    }
}

async fn control(handle: &DispatcherHandle, how: &str, id: DispatchId) -> Result<(), Refusal> {
    let wish = match how {
        "control" => json!({ "action": "pause" }),
        "control 2" => json!({ "action": "resume", "task_ids": ["u"] }),
        "control 3" => json!({ "action": "set_max_workers", "max_workers": 3 }),
        "control 4" => json!({ "action": "set_budget", "budget": { "tokens": 9 } }),
        "control 5" => {
            json!({ "action": "replace_input", "task_id": "u", "input_data": { "fate": "echo" } })
        }
        "control 6" => {
            json!({ "action": "replace_input", "task_id": "u", "description": "another" })
        }
        _ => panic!("{how} is not in the table"),
    };
    let mut args = wish;
    args["dispatch_id"] = json!(id);
    let request = handle.check_control(&Json::from_value(&args)?)?;
    handle.control(request).await.map(drop)
}

/// Calls the tool `dispatch`.
pub(super) async fn call(
    handle: &DispatcherHandle,
    args: &Value,
    caller: Caller,
) -> Result<DispatchId, Refusal> {
    Ok(handle.dispatch(&Json::from_value(args)?, caller).await?.dispatch)
}
