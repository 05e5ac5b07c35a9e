//! Dispatches as tasks of the extension `io.modelcontextprotocol/tasks`.

use rmcp::model::{
    CallToolResponse, ClientCapabilities, GetTaskParams, ProtocolVersion, TaskPayload,
};
use serde_json::{Value, json};

use crate::{
    client::{Face, id_of},
    raw::{NEW, Raw},
    space::{TestSpace, document, within},
    standin::StandIn,
};

const INVALID_PARAMS: i64 = -32_602;
const METHOD_NOT_FOUND: i64 = -32_601;

fn can_tasks() -> Value {
    json!({ "elicitation": {}, "extensions": { "io.modelcontextprotocol/tasks": {} } })
}

/// A task that waits to be approved, and one after it.
fn with_approval(space: &TestSpace) -> Value {
    let mut document = document(space, &[("asked", "coder", &[]), ("after", "gate", &["asked"])]);
    document["tasks"][0]["approval"] =
        json!({ "message": "go on?", "decisions": ["go", "reject"] });
    document
}

fn answer(key: &str, response: &Value) -> Value {
    json!({ key: response })
}

/// Asks after a task until it stands so, as clients do.
async fn until(raw: &mut Raw, id: &str, status: &str) -> Value {
    within(async {
        loop {
            let task = raw.ask("tasks/get", json!({ "taskId": id })).await["result"].take();
            if task["status"] == status {
                break task;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

async fn update(raw: &mut Raw, id: &str, responses: Value) -> Value {
    raw.ask("tasks/update", json!({ "taskId": id, "inputResponses": responses })).await
}

#[tokio::test]
async fn e2e_a_dispatch_is_a_task_that_outlives_the_server_and_is_approved_of() {
    let standin = StandIn::start().await;
    let space = TestSpace::with(&standin);
    let mut first = Raw::open(&space, NEW, can_tasks()).await;
    assert_eq!(first.server["extensions"]["io.modelcontextprotocol/tasks"], json!({}));
    let task = first.call("dispatch", with_approval(&space)).await;
    assert_eq!(task["resultType"], "task", "{task}");
    let days = |it: u64| it * 86_400_000;
    let ttl = task["ttlMs"].as_u64().unwrap();
    assert!((days(30)..days(31)).contains(&ttl), "as long as dispatches are kept: {task}");
    assert!((1_000..=5_000).contains(&task["pollIntervalMs"].as_u64().unwrap()), "{task}");
    let id = task["taskId"].as_str().unwrap().to_owned();
    first.kill().await;

    // Two others on the same store: one takes the dispatch over, both know the task.
    let mut second = Raw::open(&space, NEW, can_tasks()).await;
    let mut third = Raw::open(&space, NEW, can_tasks()).await;
    let asked = until(&mut second, &id, "input_required").await;
    assert_eq!(asked["createdAt"], task["createdAt"]);
    assert!(asked["statusMessage"].as_str().unwrap().contains("waiting for approval: asked"));
    let question = &asked["inputRequests"]["approval/asked"];
    assert_eq!(question["method"], "elicitation/create");
    assert!(question["params"]["message"].as_str().unwrap().contains("go on?"), "{question}");
    let schema = &question["params"]["requestedSchema"];
    assert_eq!(schema["properties"]["decision"]["enum"], json!(["go", "reject"]));
    assert_eq!(schema["required"], json!(["decision"]));

    let accept =
        |decision: &str| json!({ "action": "accept", "content": { "decision": decision } });
    let refused = update(&mut third, &id, answer("approval/asked", &accept("stop"))).await;
    assert_eq!(refused["error"]["code"], INVALID_PARAMS);
    let ignored = update(&mut third, &id, answer("approval/nobody", &accept("go"))).await;
    assert_eq!(ignored["result"]["resultType"], "complete");
    let put_aside = json!({ "action": "cancel" });
    update(&mut third, &id, answer("approval/asked", &put_aside)).await;
    let asked = third.ask("tasks/get", json!({ "taskId": id })).await;
    assert_eq!(asked["result"]["status"], "input_required");
    assert_eq!(standin.calls().len(), 0);

    update(&mut third, &id, answer("approval/asked", &accept("go"))).await;
    standin.at_gate(1).await;
    standin.release(1);
    let done = until(&mut third, &id, "completed").await;
    let result = second.call("get_result", json!({ "dispatch_id": id })).await;
    assert_eq!(done["result"], result, "what the call itself would have answered");
    assert_eq!(done["result"]["structuredContent"]["status"], "success");
    assert_eq!(done["result"]["structuredContent"]["results"][0]["approval"]["decision"], "go");
}

#[tokio::test]
async fn e2e_a_task_is_cancelled_and_a_no_to_its_question_rejects() {
    let standin = StandIn::start().await;
    let space = TestSpace::with(&standin);
    let mut raw = Raw::open(&space, NEW, can_tasks()).await;
    let task = raw.call("dispatch", with_approval(&space)).await;
    let id = task["taskId"].as_str().unwrap();
    raw.ask("tasks/cancel", json!({ "taskId": id })).await;
    let cancelled = until(&mut raw, id, "cancelled").await;
    let again = raw.ask("tasks/cancel", json!({ "taskId": id })).await;
    assert_eq!(again["result"]["resultType"], "complete", "twice is once: {again}");
    assert_eq!(until(&mut raw, id, "cancelled").await, cancelled);

    let other = raw.call("dispatch", with_approval(&space)).await;
    let other = other["taskId"].as_str().unwrap();
    until(&mut raw, other, "input_required").await;
    update(&mut raw, other, answer("approval/asked", &json!({ "action": "decline" }))).await;
    let failed = until(&mut raw, other, "completed").await;
    let result = &failed["result"]["structuredContent"];
    assert_eq!(result["results"][0]["failure"]["code"], "rejected", "{result}");
    assert_eq!(standin.calls().len(), 0);
    for unknown in ["01890a5d-ac96-774b-bcce-b302099a8057", "x", ""] {
        for method in ["tasks/get", "tasks/cancel"] {
            let answer = raw.ask(method, json!({ "taskId": unknown })).await;
            assert_eq!(answer["error"]["code"], INVALID_PARAMS, "{method} {unknown:?}");
        }
    }
}

#[tokio::test]
async fn e2e_only_a_request_that_declares_tasks_and_waits_is_answered_with_one() {
    let standin = StandIn::start().await;
    let space = TestSpace::with(&standin);
    for (revision, capabilities) in
        [(NEW, json!({})), ("2025-11-25", can_tasks()), ("2025-06-18", json!({}))]
    {
        let mut raw = Raw::open(&space, revision, capabilities).await;
        let is_new = revision == NEW;
        assert_eq!(raw.server["extensions"].is_object(), is_new, "{}", raw.server);
        let mut document = document(&space, &[("held", "gate", &[])]);
        document["wait_ms"] = json!(1);
        let result = raw.call("dispatch", document).await;
        assert_eq!(result["structuredContent"]["status"], "running", "{revision}: {result}");
        let id = &result["structuredContent"]["dispatch_id"];
        let error = raw.ask("tasks/get", json!({ "taskId": id })).await["error"].take();
        assert_eq!(error["code"] == METHOD_NOT_FOUND, !is_new, "{revision}: {error}");
        assert!(error["code"].is_i64(), "{revision}: {error}");
        raw.call("cancel_dispatch", json!({ "dispatch_id": id })).await;
    }
    let mut raw = Raw::open(&space, NEW, can_tasks()).await;
    let mut at_once = document(&space, &[("held", "gate", &[])]);
    at_once["wait"] = json!(false);
    let result = raw.call("dispatch", at_once).await;
    assert_eq!(result["structuredContent"]["status"], "running", "{result}");
    let id = result["structuredContent"]["dispatch_id"].as_str().unwrap();
    let task = raw.ask("tasks/get", json!({ "taskId": id })).await;
    assert_eq!(task["result"]["status"], "working", "any dispatch can be asked after: {task}");
    let failing = document(&space, &[("bad", "nobody", &[])]);
    let refused = raw.call("dispatch", failing).await;
    assert_eq!(refused["isError"], true, "a refusal is answered at once: {refused}");
}

#[tokio::test]
async fn e2e_a_retry_is_a_task_over_http_too() {
    let standin = StandIn::start().await;
    let space = TestSpace::with(&standin);
    let can = ClientCapabilities::builder().enable_tasks().build();
    let client = Face::Http.open_as(&space, &ProtocolVersion::V_2026_07_28, can).await;
    let mut failing = document(&space, &[("bad", "failing", &[])]);
    failing["wait"] = json!(false);
    let id = id_of(&client.ask("dispatch", failing).await);
    client.ask("get_result", json!({ "dispatch_id": id, "wait_ms": 20_000 })).await;
    let retry = json!({ "dispatch_id": id, "task_ids": ["bad"] });
    let CallToolResponse::Task(task) = client.call_once("retry_dispatch", retry).await else {
        panic!("no task");
    };
    let result = within(async {
        loop {
            let task = GetTaskParams::new(task.task.task_id.clone());
            let task = client.peer().get_task(task).await.unwrap().task;
            if let TaskPayload::Completed { result } = task.payload {
                break result;
            }
        }
    })
    .await;
    assert_eq!(result["structuredContent"]["retry_of"], json!(id));
    assert_eq!(result["structuredContent"]["status"], "failure", "a failure is a result too");
    assert_eq!(standin.calls_of("bad").len(), 2);
}
