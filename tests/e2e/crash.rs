//! What a kill -9 leaves behind, and what the next start makes of it.

use parallel_dispatch::model::DispatchId;
use rmcp::model::ProtocolVersion;
use serde_json::{Value, json};

use crate::{
    client::{Client, Face, id_of},
    space::{TestSpace, by_task, document},
    standin::StandIn,
};

/// How often the server is killed in one test.
const ROUNDS: usize = 4;

async fn open(space: &TestSpace) -> Client {
    Face::Http.open(space, &ProtocolVersion::V_2026_07_28).await
}

async fn dispatch(client: &Client, mut document: Value) -> DispatchId {
    document["wait"] = json!(false);
    id_of(&client.ask("dispatch", document).await)
}

async fn end_of(client: &Client, id: DispatchId) -> Value {
    client.ask("get_result", json!({ "dispatch_id": id, "wait_ms": 20_000 })).await
}

#[tokio::test]
async fn crash_a_running_task_runs_again_and_a_finished_one_does_not() {
    let standin = StandIn::start().await;
    let space = TestSpace::with(&standin);
    let mut client = open(&space).await;
    let rows: [(&str, &str, &[&str]); 3] =
        [("done", "coder", &[]), ("held", "gate", &["done"]), ("after", "coder", &["held"])];
    let id = dispatch(&client, document(&space, &rows)).await;
    for round in 1..=ROUNDS {
        standin.at_gate(round).await;
        client.kill().await;
        client = open(&space).await;
    }
    standin.at_gate(ROUNDS + 1).await;
    assert_eq!(standin.calls_of("after").len(), 0);
    // The calls of the killed processes still stand at the gate, before the last one.
    standin.release(ROUNDS + 1);
    let result = end_of(&client, id).await;
    assert_eq!(result["status"], "success", "{result}");

    let held = standin.calls_of("held");
    let attempts: Vec<_> = held.iter().map(|it| it.attempt).collect();
    assert_eq!(attempts, (1..=ROUNDS + 1).collect::<Vec<_>>());
    assert!(held.iter().all(|it| it.key == format!("{id}/held")));
    assert_eq!((standin.calls_of("done").len(), standin.calls_of("after").len()), (1, 1));
    let times: Vec<_> = by_task(&result, "attempts").into_iter().map(|it| it.1).collect();
    assert_eq!(times, [1, ROUNDS + 1, 1]);

    let kinds = json!({ "dispatch_id": id, "kinds": ["attempt_interrupted"] });
    let trace = client.ask("read_trace", kinds).await;
    assert_eq!(trace["events"].as_array().unwrap().len(), ROUNDS);
}

#[tokio::test]
async fn crash_what_was_acknowledged_is_done_whenever_the_crash_comes() {
    let standin = StandIn::start().await;
    let space = TestSpace::with(&standin);
    let mut client = open(&space).await;
    let ids: Vec<_> = (0..20).map(|it| format!("t{it}")).collect();
    let rows: Vec<_> = ids.iter().map(|it| (it.as_str(), "coder", [].as_slice())).collect();
    let mut dispatches = Vec::new();
    for _ in 0..ROUNDS {
        let mut document = document(&space, &rows);
        document["config"] = json!({ "max_workers": 3 });
        dispatches.push(dispatch(&client, document).await);
        client.kill().await;
        client = open(&space).await;
    }
    for (round, id) in dispatches.into_iter().enumerate() {
        let result = end_of(&client, id).await;
        assert_eq!(result["status"], "success");
        let ended = by_task(&result, "attempts");
        let calls: Vec<_> =
            standin.calls().into_iter().filter(|it| it.key.starts_with(&id.to_string())).collect();
        for (task, last) in &ended {
            let of_task = calls.iter().filter(|it| it.key.ends_with(&format!("/{task}")));
            let attempts: Vec<_> = of_task.map(|it| it.attempt).collect();
            // At most one more for each kill that the dispatch went through, each with the next
            // number, and none after the one that ended it.
            assert!(attempts.is_sorted_by(|a, b| a < b), "{attempts:?}");
            assert_eq!(attempts.last().map(|it| json!(it)).as_ref(), Some(last), "{attempts:?}");
            assert!(last.as_u64().unwrap() <= (1 + ROUNDS - round) as u64, "{attempts:?}");
        }
    }
}

#[tokio::test]
async fn crash_a_server_takes_over_what_a_killed_run_left() {
    let standin = StandIn::start().await;
    let space = TestSpace::with(&standin);
    let document = document(&space, &[("held", "gate", &[]), ("after", "coder", &["held"])]);
    std::fs::write(space.path("tasks.json"), document.to_string()).unwrap();
    let mut program = space.start(&["run", "tasks.json"]);
    let line = program.line_with("dispatch ").await;
    let id: DispatchId = line.split(' ').nth(1).unwrap().parse().unwrap();
    standin.at_gate(1).await;
    program.kill().await;

    let result = space.run(&["result", &id.to_string()], "").await;
    assert_eq!(result.json()["status"], "running", "who only reads takes nothing over");
    let client = open(&space).await;
    standin.at_gate(2).await;
    standin.release(2);
    let result = end_of(&client, id).await;
    assert_eq!(
        (&result["status"], &result["results"][0]["attempts"]),
        (&json!("success"), &json!(2))
    );
}
