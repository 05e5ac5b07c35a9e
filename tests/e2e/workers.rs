//! Workers that pull tasks, as an editor's subagents or other programs do.

use rmcp::model::ProtocolVersion;
use serde_json::{Value, json};

use crate::{
    client::{Client, Face, id_of},
    space::{TestSpace, document},
};

const AGENTS: &str = "agents:
  steady: {worker: pull, timeout_seconds: 600}
  hasty: {worker: pull, timeout_seconds: 600, heartbeat_seconds: 1}
";

/// A space whose agents wait for workers.
fn space() -> TestSpace {
    let space = TestSpace::offline();
    std::fs::write(space.config_file(), AGENTS).unwrap();
    space
}

async fn open(space: &TestSpace) -> Client {
    Face::Http.open(space, &ProtocolVersion::V_2026_07_28).await
}

/// Claims a task, as soon as there is one.
async fn claim(client: &Client, worker: &str, agent: &str) -> Value {
    let asked = json!({ "worker": worker, "agents": [agent], "wait_ms": 25_000 });
    let task = client.ask("claim_task", asked).await["task"].clone();
    assert!(task.is_object(), "there was nothing for {agent}");
    task
}

async fn complete(client: &Client, task: &Value, output: Value) {
    let done = json!({ "lease": task["lease"], "output": output });
    let handed_in = client.ask("complete_task", done).await;
    assert_eq!(
        (&handed_in["task_id"], &handed_in["status"]),
        (&task["task_id"], &json!("success"))
    );
}

/// What workers did at a task, as `worker ok` or `worker failed`.
async fn claims_of(client: &Client, id: &Value, task: &str) -> Vec<String> {
    let asked = json!({ "dispatch_id": id, "task_id": task, "kinds": ["upstream_call"] });
    let page = client.ask("read_trace", asked).await;
    let show = |it: &Value| {
        let end = if it["data"]["ok"] == true { "ok" } else { "failed" };
        format!("{} {end}", it["data"]["tool"].as_str().unwrap())
    };
    page["events"].as_array().unwrap().iter().map(show).collect()
}

#[tokio::test]
async fn e2e_workers_pull_tasks_and_one_that_goes_silent_is_replaced() {
    let space = space();
    let client = open(&space).await;
    let tools = client.tools().await;
    let last: Vec<_> = tools.iter().skip(8).map(|it| &*it.name).collect();
    assert_eq!(last, ["claim_task", "heartbeat", "complete_task", "fail_task"]);
    let rows: [(&str, &str, &[&str]); 3] =
        [("one", "steady", &[]), ("two", "hasty", &[]), ("after", "steady", &["one"])];
    let mut document = document(&space, &rows);
    document["tasks"][2]["input_data"] = json!({ "text": "${tasks.one.output.text}" });
    document["wait"] = json!(false);
    let id = json!(id_of(&client.ask("dispatch", document).await));

    let (one, two) =
        tokio::join!(claim(&client, "first", "steady"), claim(&client, "second", "hasty"));
    assert_eq!((&one["task_id"], &two["task_id"]), (&json!("one"), &json!("two")));
    assert_eq!((&one["description"], &one["heartbeat_seconds"]), (&json!("do one"), &json!(300.0)));
    let report = client.ask("heartbeat", json!({ "lease": one["lease"] })).await;
    assert!(report["lease_until"].as_str() >= one["lease_until"].as_str());
    complete(&client, &one, json!({ "text": "well", "usage": { "total_tokens": 7 } })).await;

    // The second worker says nothing more; whoever waits gets its task when the lease lapses.
    let again = claim(&client, "first", "hasty").await;
    assert_eq!((&again["task_id"], &again["attempt"]), (&two["task_id"], &two["attempt"]));
    complete(&client, &again, json!("done by another")).await;
    let late = json!({ "lease": two["lease"], "output": "late" });
    assert_eq!(client.refusal("complete_task", late).await, ["lease_lost"]);
    let late = json!({ "lease": two["lease"], "message": "late" });
    assert_eq!(client.refusal("fail_task", late).await, ["lease_lost"]);
    let late = json!({ "lease": two["lease"] });
    assert_eq!(client.refusal("heartbeat", late).await, ["lease_lost"]);

    let after = claim(&client, "first", "steady").await;
    assert_eq!(after["input"], json!({ "text": "well" }));
    let failed = json!({ "lease": after["lease"], "message": "no", "code": "check_failed" });
    client.ask("fail_task", failed).await;
    let asked = json!({ "dispatch_id": id, "wait_ms": 25_000 });
    let result = client.ask("get_result", asked).await;
    assert_eq!(result["status"], "partial");
    assert_eq!(result["results"][0]["usage"]["total_tokens"], 7);
    assert_eq!(result["results"][1]["output"], "done by another");
    assert_eq!(result["results"][2]["failure"]["code"], "check_failed");
    assert_eq!(claims_of(&client, &id, "two").await, ["second failed", "first ok"]);
    let nothing = client.ask("claim_task", json!({ "worker": "first", "wait_ms": 0 })).await;
    assert_eq!(nothing, json!({ "task": null, "waiting_tasks": 0 }));
    let unknown = json!({ "worker": "first", "agents": ["coder"] });
    assert_eq!(client.refusal("claim_task", unknown).await, ["unknown_agent"]);
}

#[tokio::test]
async fn crash_what_a_worker_had_is_offered_again_after_a_kill() {
    let space = space();
    let client = open(&space).await;
    let mut document = document(&space, &[("one", "steady", &[])]);
    document["wait"] = json!(false);
    let id = json!(id_of(&client.ask("dispatch", document).await));
    let before = claim(&client, "first", "steady").await;
    client.kill().await;

    let client = open(&space).await;
    let after = claim(&client, "second", "steady").await;
    assert_eq!((&before["attempt"], &after["attempt"]), (&json!(1), &json!(2)));
    let late = json!({ "lease": before["lease"], "output": "late" });
    assert_eq!(client.refusal("complete_task", late).await, ["lease_lost"]);
    complete(&client, &after, json!("in time")).await;
    let result = client.ask("get_result", json!({ "dispatch_id": id })).await;
    assert_eq!(result["results"][0]["output"], "in time");
}

#[tokio::test]
async fn e2e_without_agents_that_wait_for_workers_there_are_no_tools_for_them() {
    let client = open(&TestSpace::offline()).await;
    assert_eq!(client.tools().await.len(), 8);
    for tool in ["claim_task", "heartbeat", "complete_task", "fail_task"] {
        assert!(client.call_unknown(tool).await.contains("unknown tool"), "{tool}");
    }
}
