//! Several servers on one state directory: each dispatch has one owner, and outlives it.

use std::{path::Path, time::Duration};

use rmcp::model::ProtocolVersion;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::{
    client::{Client, Face, id_of},
    space::{TestSpace, by_task, document, within},
    standin::StandIn,
};

/// The longest that a dispatch whose owner died may stand still.
const TAKEOVER_MAX: Duration = Duration::from_secs(5);

type Rows = [(&'static str, &'static str, &'static [&'static str]); 3];

const ROWS: Rows =
    [("done", "coder", &[]), ("held", "gate", &["done"]), ("after", "coder", &["held"])];

async fn open(space: &TestSpace) -> Client {
    Face::Http.open(space, &ProtocolVersion::V_2025_11_25).await
}

async fn servers(space: &TestSpace, n_servers: usize) -> Vec<Client> {
    let mut servers = Vec::new();
    for _ in 0..n_servers {
        servers.push(open(space).await);
    }
    servers
}

/// Starts a dispatch of [`ROWS`] and waits until its second task runs.
async fn hold(client: &Client, space: &TestSpace, standin: &StandIn) -> Value {
    let n_calls = standin.calls_of("held").len();
    let mut document = document(space, &ROWS);
    document["wait"] = json!(false);
    let id = id_of(&client.ask("dispatch", document).await);
    standin.at_gate(n_calls + 1).await;
    json!(id)
}

async fn end_of(client: &Client, id: &Value) -> Value {
    client.ask("get_result", json!({ "dispatch_id": id, "wait_ms": 25_000 })).await
}

async fn trace_of(client: &Client, id: &Value) -> Value {
    client.ask("read_trace", json!({ "dispatch_id": id })).await["events"].clone()
}

fn attempts(result: &Value) -> Vec<Value> {
    by_task(result, "attempts").into_iter().map(|it| it.1).collect()
}

#[tokio::test]
async fn crash_another_server_finishes_what_a_killed_one_held() {
    for n_servers in [2, 4] {
        let standin = StandIn::start().await;
        let space = TestSpace::with(&standin);
        let mut servers = servers(&space, n_servers).await;
        let first = servers.remove(0);
        let id = hold(&first, &space, &standin).await;
        first.kill().await;
        let taken_over = timeout(TAKEOVER_MAX, standin.at_gate(2)).await;
        assert!(taken_over.is_ok(), "{n_servers} servers: nobody took the dispatch over");
        // The call of the killed server still stands at the gate, before the other one.
        standin.release(2);
        for it in &servers {
            let result = end_of(it, &id).await;
            assert_eq!(
                (&result["status"], attempts(&result)),
                (&json!("success"), vec![json!(1), json!(2), json!(1)])
            );
        }
        let calls = ["done", "held", "after"].map(|it| standin.calls_of(it).len());
        assert_eq!(calls, [1, 2, 1], "{n_servers} servers");
    }
}

#[tokio::test]
async fn crash_one_owner_after_the_other_dies_and_the_last_one_finishes() {
    let standin = StandIn::start().await;
    let space = TestSpace::with(&standin);
    let mut servers = servers(&space, 3).await;
    let mut ids = Vec::new();
    for it in &servers {
        ids.push(hold(it, &space, &standin).await);
    }
    let last = servers.pop().unwrap();
    for it in servers {
        let n_calls = standin.calls_of("held").len();
        it.kill().await;
        standin.at_gate(n_calls + 1).await;
    }
    // The first death may leave its dispatch to the one that dies next.
    standin.release(100);
    for id in &ids {
        assert_eq!(end_of(&last, id).await["status"], "success");
    }
    let calls = ["done", "after"].map(|it| standin.calls_of(it).len());
    assert_eq!(calls, [3, 3], "a finished task was called again");
}

#[tokio::test]
async fn e2e_a_dispatch_outlives_the_session_that_started_it() {
    let standin = StandIn::start().await;
    let space = TestSpace::with(&standin);
    let editor = Face::Stdio.open(&space, &ProtocolVersion::V_2025_11_25).await;
    let other = open(&space).await;
    let id = hold(&editor, &space, &standin).await;
    let mut program = editor.into_program();
    program.signal(Signal::TERM);
    assert_eq!(program.ended(Duration::from_secs(10)).await.code(), Some(0));
    standin.at_gate(2).await;
    standin.release(2);
    assert_eq!(end_of(&other, &id).await["status"], "success");
}

#[tokio::test]
async fn e2e_a_wait_in_another_server_ends_with_the_dispatch() {
    let standin = StandIn::start().await;
    let space = TestSpace::with(&standin);
    let [one, two] = servers(&space, 2).await.try_into().ok().unwrap();
    let id = hold(&one, &space, &standin).await;
    let request = json!({ "dispatch_id": id, "wait_ms": 60_000 });
    let waiting = two.begin("get_result", request).await;
    // Whatever the other server is asked meanwhile, it answers, and the wait goes on.
    assert_eq!(two.ask("get_result", json!({ "dispatch_id": id })).await["status"], "running");
    let started = Instant::now();
    standin.release(1);
    let answer = within(waiting.await_response()).await.unwrap();
    let answer = json!(answer)["structuredContent"].clone();
    assert_eq!(answer["status"], "success", "{answer}");
    assert!(started.elapsed() < Duration::from_secs(20), "it was the wait that ended");
}

#[tokio::test]
async fn e2e_any_server_cancels_a_dispatch_of_another() {
    let standin = StandIn::start().await;
    let space = TestSpace::with(&standin);
    let [one, two] = servers(&space, 2).await.try_into().ok().unwrap();
    let id = hold(&one, &space, &standin).await;
    let result = two.ask("cancel_dispatch", json!({ "dispatch_id": id, "reason": "no" })).await;
    assert_eq!(result["status"], "cancelled", "{result}");
    let statuses: Vec<_> = by_task(&result, "status").into_iter().map(|it| it.1).collect();
    assert_eq!(statuses, ["success", "cancelled", "cancelled"]);
    assert_eq!(end_of(&one, &id).await["results"], result["results"]);
    let listed = space.run(&["list", "--json"], "").await.json();
    assert_eq!((&listed[0]["dispatch_id"], &listed[0]["status"]), (&id, &json!("cancelled")));
    assert_eq!((standin.calls_of("held").len(), standin.calls_of("after").len()), (1, 0));
}

#[tokio::test]
async fn crash_an_owner_that_was_stopped_writes_nothing_when_it_goes_on() {
    let standin = StandIn::start().await;
    let space = TestSpace::with(&standin);
    let [mut one, two] = servers(&space, 2).await.try_into().ok().unwrap();
    let id = hold(&one, &space, &standin).await;
    one.signal(Signal::STOP);
    standin.at_gate(2).await;
    standin.release(2);
    let result = end_of(&two, &id).await;
    assert_eq!(
        (&result["status"], attempts(&result)),
        (&json!("success"), vec![json!(1), json!(2), json!(1)])
    );
    let trace = trace_of(&two, &id).await;

    one.signal(Signal::CONT);
    one.logged("another process has taken the dispatch over").await;
    // It serves as before, and what it knows of the dispatch is what the other one wrote.
    assert_eq!(end_of(&one, &id).await["results"], result["results"]);
    assert_eq!(trace_of(&one, &id).await, trace);
    let calls = ["done", "held", "after"].map(|it| standin.calls_of(it).len());
    assert_eq!(calls, [1, 2, 1]);
    let next = hold(&one, &space, &standin).await;
    standin.release(1);
    assert_eq!(end_of(&one, &next).await["status"], "success");
}

#[tokio::test]
async fn crash_a_run_takes_over_in_its_own_time_and_leaves_the_rest_to_the_next() {
    let standin = StandIn::start().await;
    let space = TestSpace::with(&standin);
    let server = open(&space).await;
    let left = hold(&server, &space, &standin).await;
    let rows: [(&str, &str, &[&str]); 1] = [("own", "gate", &[])];
    std::fs::write(space.path("tasks.json"), document(&space, &rows).to_string()).unwrap();
    let program = space.start(&["run", "tasks.json"]);
    standin.at_gate(2).await;
    server.kill().await;
    standin.at_gate(3).await;
    assert_eq!(standin.calls_of("held").len(), 2, "the run took over what the server left");
    // What waits longest goes first: the dead server's call, and then the run's own one.
    standin.release(2);
    let ended = program.output().await;
    assert_eq!(ended.json()["status"], "success");
    assert!(Path::new(&space.path("tasks.json")).exists());
    let server = open(&space).await;
    standin.release(10);
    assert_eq!(end_of(&server, &left).await["status"], "success");
    assert_eq!((standin.calls_of("done").len(), standin.calls_of("after").len()), (1, 1));
}
