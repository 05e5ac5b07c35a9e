//! Agents that dispatch tasks themselves, over MCP and as processes of their own.

use rmcp::model::ProtocolVersion;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::{
    client::{Client, Face, id_of},
    space::{TestSpace, document, within},
    standin::StandIn,
};

async fn open(space: &TestSpace, version: &ProtocolVersion) -> Client {
    Face::Http.open(space, version).await
}

/// Starts a dispatch whose only task runs until it is released.
async fn hold(client: &Client, space: &TestSpace, standin: &StandIn, config: Value) -> Value {
    let mut document = document(space, &[("held", "gate", &[])]);
    document["wait"] = json!(false);
    document["config"] = config;
    let id = id_of(&client.ask("dispatch", document).await);
    standin.at_gate(1).await;
    json!(id)
}

/// A `run` as the agent of a task would start it.
fn run_below(space: &TestSpace, parent: &str) -> Command {
    let rows: [(&str, &str, &[&str]); 2] = [("one", "coder", &[]), ("two", "coder", &["one"])];
    std::fs::write(space.path("below.json"), document(space, &rows).to_string()).unwrap();
    let mut command = space.command(&["run", "below.json"]);
    command.env("PARALLEL_DISPATCH_PARENT", parent);
    command
}

#[tokio::test]
async fn e2e_a_program_that_an_agent_starts_dispatches_under_its_task() {
    let standin = StandIn::start().await;
    let space = TestSpace::with(&standin);
    let client = open(&space, &ProtocolVersion::V_2026_07_28).await;
    let config = json!({ "max_workers": 1, "budget": { "tasks": 3 } });
    let id = hold(&client, &space, &standin, config).await;
    let parent = format!("{}/held", id.as_str().unwrap());

    let output = within(run_below(&space, &parent).output()).await.unwrap();
    let below: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &below["status"]), (Some(0), &json!("success")));
    assert_eq!(below["parent"], json!({ "dispatch_id": id, "task_id": "held" }));
    // Nothing is left of the budget above, and so nothing runs.
    let output = within(run_below(&space, &parent).output()).await.unwrap();
    let none: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &none["summary"]["successful"]), (Some(1), &json!(0)));

    standin.release(1);
    let result = client.ask("get_result", json!({ "dispatch_id": id, "wait_ms": 25_000 })).await;
    assert_eq!(
        result["results"][0]["dispatches"],
        json!([below["dispatch_id"], none["dispatch_id"]])
    );
    assert_eq!(result["budget"]["spent"]["tasks"], 3);
    let listed = space.run(&["list"], "").await.stdout;
    assert_eq!(listed.matches(&format!("below {parent}")).count(), 2, "{listed}");
    let wrong = within(run_below(&space, "nobody").output()).await.unwrap();
    let said = String::from_utf8(wrong.stderr).unwrap();
    assert!(said.contains("PARALLEL_DISPATCH_PARENT: is not DISPATCH_ID/TASK_ID"), "{said}");
}

#[tokio::test]
async fn e2e_an_agent_says_in_meta_at_which_task_it_works() {
    for version in [ProtocolVersion::V_2025_06_18, ProtocolVersion::V_2026_07_28] {
        let standin = StandIn::start().await;
        let space = TestSpace::with(&standin);
        let client = open(&space, &version).await;
        let id = hold(&client, &space, &standin, json!({})).await;
        let parent = format!("{}/held", id.as_str().unwrap());
        let rows: [(&str, &str, &[&str]); 1] = [("one", "gate", &[])];
        for name in ["parallel-dispatch/parent", "parallel-dispatch/key"] {
            let mut below = document(&space, &rows);
            below["wait"] = json!(false);
            let answer = client.ask_as("dispatch", below, json!({ name: parent })).await;
            assert_eq!(answer["parent"]["task_id"], "held");
        }
        client.ask("cancel_dispatch", json!({ "dispatch_id": id })).await;
        let result = client.ask("get_result", json!({ "dispatch_id": id })).await;
        let below = result["results"][0]["dispatches"].as_array().unwrap();
        assert_eq!(below.len(), 2);
        for it in below {
            let ended = json!({ "dispatch_id": it, "wait_ms": 25_000 });
            assert_eq!(client.ask("get_result", ended).await["status"], "cancelled");
        }
    }
}
