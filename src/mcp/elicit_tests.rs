//! What users answer is carried out, or asked again, whatever the store does meanwhile.

use std::time::Duration;

use serde_json::{Value, json};

use super::testing::{NEW, Talk, serve};
use crate::{
    model::{DispatchId, DispatchStatus},
    runtime::testing::{World, document, pass},
};

const OLD: &str = "2025-11-25";

fn can_ask() -> Value {
    json!({ "elicitation": {}, "extensions": can_tasks()["extensions"] })
}

fn can_tasks() -> Value {
    json!({ "extensions": { "io.modelcontextprotocol/tasks": {} } })
}

/// A document in which the tasks of these names must be approved of.
fn asking(text: &str, names: &[&str]) -> Value {
    let mut document = document(text);
    for task in document["tasks"].as_array_mut().unwrap() {
        if names.iter().any(|it| task["task_id"] == **it) {
            task["approval"] = json!({ "message": "go on?", "decisions": ["go", "reject"] });
        }
    }
    document
}

fn go() -> Value {
    json!({ "action": "accept", "content": { "decision": "go" } })
}

/// A call that waits for a dispatch.
fn wait(id: DispatchId) -> Value {
    json!({ "name": "get_result", "arguments": { "dispatch_id": id, "wait_ms": 600_000 } })
}

/// Dispatches where `theirs` runs it, and waits until it asks.
async fn ask_elsewhere(theirs: &World) -> DispatchId {
    let id = theirs.dispatch(&asking("a", &["a"])).await.unwrap();
    let mut progress = theirs.handle.follow(id).await.unwrap();
    progress.wait_for(|it| it.n_waiting == 1).await.unwrap();
    id
}

#[tokio::test(start_paused = true)]
async fn an_update_that_cannot_be_carried_out_is_an_error_and_may_be_sent_again() {
    let [ours, theirs] = World::two();
    let id = ask_elsewhere(&theirs).await;
    let mut talk = Talk::open_as(serve(&ours), NEW, can_ask()).await;
    let update = json!({ "taskId": id, "inputResponses": { "approval/a": go() } });
    ours.break_writes(true);
    let refused = talk.request("tasks/update", update.clone()).await;
    let message = refused["error"]["message"].as_str().unwrap_or_default();
    assert!(message.starts_with("storage_unavailable"), "{refused}");
    ours.break_writes(false);
    let done = talk.request("tasks/update", update).await;
    assert!(done["error"].is_null(), "{done}");
    assert_eq!(theirs.finish(id).await.status, DispatchStatus::Success);
}

#[tokio::test(start_paused = true)]
async fn a_user_whose_answer_could_not_be_carried_out_is_asked_again_by_the_same_call() {
    let [ours, theirs] = World::two();
    let id = ask_elsewhere(&theirs).await;
    let mut talk = Talk::open_as(serve(&ours), OLD, can_ask()).await;
    let call = talk.begin("tools/call", wait(id));
    let question = talk.hear_of("elicitation/create").await;
    ours.break_writes(true);
    talk.reply(&question, &go());
    let question = talk.hear_of("elicitation/create").await;
    ours.break_writes(false);
    talk.reply(&question, &go());
    let result = talk.answer_to(call).await;
    assert_eq!(result["result"]["structuredContent"]["status"], "success", "{result}");
}

#[tokio::test(start_paused = true)]
async fn answers_that_could_not_be_carried_out_are_asked_for_in_the_next_round() {
    let [ours, theirs] = World::two();
    let id = ask_elsewhere(&theirs).await;
    let mut talk = Talk::open_as(serve(&ours), NEW, can_ask()).await;
    let first = talk.request("tools/call", wait(id)).await;
    assert_eq!(first["result"]["resultType"], "input_required", "{first}");
    let again = |answer: &Value| {
        let mut params = wait(id);
        params["requestState"] = answer["result"]["requestState"].clone();
        params["inputResponses"] = json!({ "approval/a": go() });
        params
    };
    ours.break_writes(true);
    let second = talk.request("tools/call", again(&first)).await;
    assert!(second["result"]["inputRequests"]["approval/a"].is_object(), "{second}");
    ours.break_writes(false);
    let result = talk.request("tools/call", again(&second)).await;
    assert_eq!(result["result"]["structuredContent"]["status"], "success", "{result}");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_cannot_be_read_for_a_while_costs_no_answer() {
    let world = World::new().await;
    let id = world.dispatch(&asking("a\nb <- c\nc !gate", &["a", "b"])).await.unwrap();
    let mut talk = Talk::open_as(serve(&world), OLD, can_ask()).await;
    let call = talk.begin("tools/call", wait(id));
    let first = talk.hear_of("elicitation/create").await;
    world.break_reads(true);
    // Another question comes up, and cannot be read.
    world.open_gate();
    pass(Duration::from_secs(10)).await;
    world.break_reads(false);
    talk.reply(&first, &go());
    let second = talk.hear_of("elicitation/create").await;
    assert!(second["params"]["message"].as_str().unwrap().contains("\"b\""), "{second}");
    talk.reply(&second, &go());
    let result = talk.answer_to(call).await;
    assert_eq!(result["result"]["structuredContent"]["status"], "success", "{result}");
}

#[tokio::test(start_paused = true)]
async fn only_clients_that_can_show_forms_are_asked_by_a_task() {
    let [ours, theirs] = World::two();
    let id = ask_elsewhere(&theirs).await;
    let url_only = json!({ "url": {} });
    for (elicitation, status) in [
        (Value::Null, "working"),
        (url_only, "working"),
        (json!({}), "input_required"),
        (json!({ "form": {} }), "input_required"),
    ] {
        let mut can = can_tasks();
        if !elicitation.is_null() {
            can["elicitation"] = elicitation;
        }
        let mut talk = Talk::open_as(serve(&ours), NEW, can.clone()).await;
        let task = talk.request("tasks/get", json!({ "taskId": id })).await["result"].take();
        assert_eq!(task["status"], status, "{can}: {task}");
        assert_eq!(task["inputRequests"].is_object(), status == "input_required", "{task}");
        let message = task["statusMessage"].as_str().unwrap();
        assert!(message.contains("waiting for approval: a"), "{message}");
    }
}

#[tokio::test(start_paused = true)]
async fn progress_is_told_of_a_dispatch_that_another_process_runs() {
    let [ours, theirs] = World::two();
    let id = theirs.dispatch(&document("a !gate\nb <- a")).await.unwrap();
    let mut talk = Talk::open_as(serve(&ours), OLD, json!({})).await;
    talk.meta = json!({ "progressToken": "it" });
    let call = talk.begin("tools/call", wait(id));
    let mut told = Vec::new();
    for _ in 0..3 {
        let notice = talk.hear_of("notifications/progress").await["params"].take();
        told.push(notice["message"].as_str().unwrap().to_owned());
    }
    let expected = [0, 5, 10].map(|it| format!("0 of 2 done, running a, {it} s"));
    assert_eq!(told, expected, "also where nothing happens");
    theirs.open_gate();
    let result = talk.answer_to(call).await;
    assert_eq!(result["result"]["structuredContent"]["status"], "success", "{result}");
}
