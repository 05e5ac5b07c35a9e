//! What people decide and change while a dispatch runs, from a shell and over MCP.

use parallel_dispatch::model::DispatchId;
use rmcp::model::ProtocolVersion;
use serde_json::{Value, json};

use crate::{
    client::{Client, Face, id_of},
    space::{Program, TestSpace, by_task, document},
    standin::StandIn,
};

async fn open(space: &TestSpace) -> Client {
    Face::Http.open(space, &ProtocolVersion::V_2026_07_28).await
}

/// The id of the dispatch that a `run` has started.
async fn dispatch_of(program: &mut Program) -> DispatchId {
    let line = program.line_with("dispatch ").await;
    line.split(' ').nth(1).unwrap().parse().unwrap()
}

/// Waits until `is_there` holds of a dispatch's result.
async fn see(client: &Client, id: DispatchId, is_there: impl Fn(&Value) -> bool) -> Value {
    loop {
        let result = client.ask("get_result", json!({ "dispatch_id": id, "wait_ms": 20 })).await;
        if is_there(&result) {
            return result;
        }
    }
}

#[tokio::test]
async fn e2e_the_example_with_an_approval_is_decided_from_another_shell() {
    let space = TestSpace::embedded();
    space.copy_examples();
    let mut program = space.start(&["run", "examples/05_approval.json"]);
    let id = dispatch_of(&mut program).await.to_string();
    program.line_with("2 of 3 done, waiting for approval: gen-user-remover").await;
    let wrong = ["approve", &id, "gen-user-remover", "--decision", "maybe"];
    let refused = space.run(&wrong, "").await;
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("error[invalid_enum] at /decision"), "{refused:?}");
    let early = space.run(&["approve", &id, "debug-user-writer"], "").await;
    assert!(early.stderr.contains("error[not_waiting] at /task_id"), "{early:?}");

    let decided = ["approve", &id, "gen-user-remover", "--note", "well done"];
    let answer = space.run(&decided, "").await;
    assert_eq!(answer.code, Some(0), "{answer:?}");
    let ended = program.output().await;
    let result = ended.json();
    assert_eq!((ended.code, &result["status"]), (Some(0), &json!("success")), "{ended:?}");
    let approval = &result["results"][1]["approval"];
    assert_eq!(approval["decision"], "approve");
    assert_eq!(approval["note"], "well done");
}

#[tokio::test]
async fn crash_an_approval_outlives_a_kill_and_its_task_runs_once() {
    let standin = StandIn::start().await;
    let space = TestSpace::with(&standin);
    let client = open(&space).await;
    let rows: [(&str, &str, &[&str]); 3] =
        [("first", "coder", &[]), ("asked", "coder", &["first"]), ("after", "coder", &["asked"])];
    let mut document = document(&space, &rows);
    document["tasks"][1]["approval"] = json!({ "message": "go on?" });
    document["wait"] = json!(false);
    let id = id_of(&client.ask("dispatch", document).await);
    let waits = |it: &Value| it["results"][1]["waiting_for"] == "approval";
    let before = see(&client, id, waits).await;
    client.kill().await;

    let client = open(&space).await;
    let after = client.ask("get_result", json!({ "dispatch_id": id })).await;
    assert_eq!(after["results"][1], before["results"][1]);
    assert_eq!(standin.calls_of("asked").len(), 0);
    let decide = json!({ "dispatch_id": id, "task_id": "asked", "decision": "approve" });
    client.ask("approve_task", decide).await;
    let result = see(&client, id, |it| it["status"] != "running").await;
    assert_eq!(result["status"], "success");
    assert!(by_task(&result, "attempts").iter().all(|it| it.1 == 1));
}

#[tokio::test]
async fn e2e_a_run_is_paused_steered_and_resumed_from_another_shell() {
    let standin = StandIn::start().await;
    let space = TestSpace::with(&standin);
    let rows: [(&str, &str, &[&str]); 3] =
        [("held", "gate", &[]), ("after", "debug", &["held"]), ("other", "debug", &["held"])];
    std::fs::write(space.path("tasks.json"), document(&space, &rows).to_string()).unwrap();
    let mut program = space.start(&["run", "tasks.json"]);
    let id = dispatch_of(&mut program).await.to_string();
    standin.at_gate(1).await;
    let paused = space.run(&["pause", &id, "after", "--reason", "not so fast"], "").await;
    assert_eq!(paused.json()["paused_tasks"], json!(["after"]), "{paused:?}");
    program.line_with("partly paused").await;
    let workers = space.run(&["workers", &id, "3"], "").await;
    assert_eq!(workers.json()["max_workers"], 3, "{workers:?}");
    let told = r#"{"problem_description": "look here", "affected_files": ["${WORKSPACE}/x.py"]}"#;
    let steered = space.run(&["steer", &id, "after", "--input", "-"], told).await;
    assert_eq!(steered.code, Some(0), "{steered:?}");
    let refused = space.run(&["steer", &id, "held", "--description", "late"], "").await;
    assert!(refused.stderr.contains("error[already_started] at /task_id"), "{refused:?}");
    let refused = space.run(&["workers", &id, "2000"], "").await;
    assert!(refused.stderr.contains("error[out_of_range] at /max_workers"), "{refused:?}");
    assert_eq!(space.run(&["steer", &id, "after"], "").await.code, Some(2));
    let limits = ["--tasks", "3", "--wall-seconds", "600", "--on-exceeded", "hand_back"];
    let funded = space.run(&[&["budget", &id], limits.as_slice()].concat(), "").await;
    assert_eq!(funded.json()["budget"]["limits"]["tasks"], 3, "{funded:?}");
    assert_eq!(funded.json()["budget"]["spent"]["tasks"], 1, "{funded:?}");
    assert_eq!(space.run(&["budget", &id, "--on-exceeded", "fail"], "").await.code, Some(2));
    let refused = space.run(&["budget", &id, "--cost-usd", "0"], "").await;
    assert!(refused.stderr.contains("error[out_of_range] at /budget/cost_usd"), "{refused:?}");
    standin.release(1);
    program.line_with("2 of 3 done, partly paused").await;
    let resumed = space.run(&["resume", &id], "").await;
    assert_eq!(resumed.code, Some(0), "{resumed:?}");
    let ended = program.output().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let call = &standin.calls_of("after")[0];
    assert_eq!(call.arguments["problem_description"], "look here");
    assert_eq!(call.arguments["affected_files"], json!([space.path("x.py")]));
}
