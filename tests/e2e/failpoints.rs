//! What a crash at every edge of durability leaves behind, and what the next start makes of it.

use std::{os::unix::process::ExitStatusExt as _, time::Duration};

use futures::{StreamExt as _, stream};
use parallel_dispatch::{model::DispatchId, ports::Failpoint};
use rmcp::model::ProtocolVersion;
use serde_json::{Value, json};

use crate::{
    client::{Client, id_of},
    space::{Program, TestSpace, by_task, document},
    standin::{Call, StandIn},
};

/// How many spaces crash at once.
const ROUNDS_AT_ONCE: usize = 4;
/// How many dispatches are tried until the edge was reached often enough.
const DISPATCHES_MAX: usize = 3;
const ABORTED: i32 = 6;
const CRASH_MAX: Duration = Duration::from_secs(20);
const TASKS: [&str; 4] = ["a", "b", "c", "d"];

/// A diamond whose last task quotes what the first one answered.
fn diamond(space: &TestSpace, number: usize) -> Value {
    let rows: [(&str, &str, &[&str]); 4] = [
        ("a", "coder", &[]),
        ("b", "coder", &["a"]),
        ("c", "debug", &["a"]),
        ("d", "coder", &["b", "c"]),
    ];
    let mut document = document(space, &rows);
    let quote = "Effect node after ${tasks.a.output.key}, of ${tasks.b.output.tool}";
    document["tasks"][3]["input_data"]["contract_description"] = json!(quote);
    document["wait"] = json!(false);
    document["idempotency_key"] = json!(format!("number {number}"));
    document
}

/// One space, and all that was promised in it.
struct Round<'s> {
    space: TestSpace,
    standin: &'s StandIn,
    /// What the caller was told of each dispatch.
    promised: Vec<Option<DispatchId>>,
    /// The tasks of which the caller saw the result, and how often they had been called.
    seen: Vec<(DispatchId, &'static str, usize)>,
    n_crashes: usize,
}

impl<'s> Round<'s> {
    fn new(standin: &'s StandIn) -> Self {
        let space = TestSpace::with(standin);
        Self { space, standin, promised: Vec::new(), seen: Vec::new(), n_crashes: 0 }
    }

    /// Dispatches until the server crashes.
    async fn crash_while_dispatching(&mut self, wish: &str) {
        let client = self.start(wish).await;
        while self.promised.len() < DISPATCHES_MAX {
            let document = diamond(&self.space, self.promised.len());
            let answer = client.ask_if_it_lives("dispatch", document).await;
            let id = answer.as_ref().map(id_of);
            self.promised.push(id);
            let Some(id) = id else { break };
            if !self.look_at_each_task(&client, id).await {
                break;
            }
        }
        self.note_crash(client.into_program(), wish).await;
    }

    async fn start(&self, wish: &str) -> Client {
        let server = self.space.start_armed(&["serve"], wish);
        Client::over_stdio(server, &ProtocolVersion::V_2026_07_28).await
    }

    async fn crash_while_recovering(&mut self, wish: &str) {
        let mut server = self.space.start_armed(&["serve"], wish);
        // Without a client it would end in good order.
        let _client = server.streams();
        self.note_crash(server, wish).await;
    }

    async fn note_crash(&mut self, mut server: Program, wish: &str) {
        let ended = server.ended(CRASH_MAX).await;
        assert_eq!(ended.signal(), Some(ABORTED), "{wish}: {ended}");
        self.n_crashes += 1;
    }

    /// Waits for one task after the other, as long as the server lives.
    async fn look_at_each_task(&mut self, client: &Client, id: DispatchId) -> bool {
        for task in TASKS {
            let wait = json!({ "dispatch_id": id, "task_ids": [task], "wait_ms": 20_000 });
            let answer = client.ask_if_it_lives("get_result", wait).await;
            let Some(answer) = answer else { return false };
            assert_eq!(answer["results"][0]["status"], "success", "{answer}");
            self.seen.push((id, task, self.calls(id, task).len()));
        }
        // Its files and its end come after its last task.
        let wait = json!({ "dispatch_id": id, "wait_ms": 20_000 });
        client.ask_if_it_lives("get_result", wait).await.is_some()
    }

    /// Starts a server that lives on, and checks that all is as if nothing had happened.
    async fn check(&self, undisturbed: &Value, wish: &str) {
        let client = self.start("").await;
        for (number, promised) in self.promised.iter().enumerate() {
            let id = id_of(&client.ask("dispatch", diamond(&self.space, number)).await);
            assert!(promised.is_none_or(|it| it == id), "{wish}: a promised dispatch is gone");
            let wait = json!({ "dispatch_id": id, "wait_ms": 20_000 });
            let result = client.ask("get_result", wait).await;
            assert_eq!(shape(&result), *undisturbed, "{wish}: {result}");
            self.check_calls(id, &result, wish);
        }
        for (id, task, n_calls) in &self.seen {
            let calls = self.calls(*id, task);
            assert_eq!(calls.len(), *n_calls, "{wish}: {task} was done, and called again");
        }
    }

    fn check_calls(&self, id: DispatchId, result: &Value, wish: &str) {
        for (task, last) in by_task(result, "attempts") {
            let calls = self.calls(id, &task);
            let attempts: Vec<_> = calls.iter().map(|it| it.attempt).collect();
            assert!(attempts.is_sorted_by(|a, b| a < b), "{wish}: {task}: {attempts:?}");
            assert_eq!(attempts.last().map(|it| json!(it)), Some(last), "{wish}: {task}");
            assert!(attempts.len() <= 1 + self.n_crashes, "{wish}: {task}: {attempts:?}");
            if task == "d" {
                let said = &calls[0].arguments["contract_description"];
                let quote = format!("Effect node after {id}/a, of agent_coder");
                assert_eq!(*said, quote, "{wish}");
            }
        }
    }

    fn calls(&self, id: DispatchId, task: &str) -> Vec<Call> {
        let key = format!("{id}/{task}");
        self.standin.calls().into_iter().filter(|it| it.key == key).collect()
    }
}

/// What of a result may not depend on crashes.
fn shape(result: &Value) -> Value {
    let id = result["dispatch_id"].as_str().unwrap();
    let task = |it: &Value| {
        let output = it["output"].to_string().replace(id, "ID");
        let attempt = format!("\"attempt\":{}", it["attempts"]);
        json!([it["task_id"], it["status"], output.replace(&attempt, "\"attempt\":LAST")])
    };
    let tasks: Vec<_> = result["results"].as_array().unwrap().iter().map(task).collect();
    let counts = ["total_tasks", "successful", "failed", "skipped"];
    let counts = counts.map(|it| result["summary"][it].clone());
    json!({ "status": result["status"], "tasks": tasks, "counts": counts })
}

async fn undisturbed(standin: &StandIn) -> Value {
    let round = Round::new(standin);
    let client = round.start("").await;
    let id = id_of(&client.ask("dispatch", diamond(&round.space, 0)).await);
    let result = client.ask("get_result", json!({ "dispatch_id": id, "wait_ms": 20_000 })).await;
    assert_eq!(result["status"], "success", "{result}");
    round.check_calls(id, &result, "undisturbed");
    shape(&result)
}

/// Crashes at every edge that a dispatch comes past, when it is reached for the `nth` time.
async fn crash_everywhere(nth: usize) {
    let standin = StandIn::start().await;
    let expected = undisturbed(&standin).await;
    let points = Failpoint::ALL.into_iter().filter(|it| *it != Failpoint::WroteAdopt);
    stream::iter(points)
        .for_each_concurrent(ROUNDS_AT_ONCE, |point| {
            let (wish, standin, expected) = (format!("{point:?} {nth}"), &standin, &expected);
            async move {
                let mut round = Round::new(standin);
                round.crash_while_dispatching(&wish).await;
                round.check(expected, &wish).await;
            }
        })
        .await;
}

#[tokio::test]
async fn crash_at_the_first_pass_of_any_edge_loses_and_repeats_nothing() {
    crash_everywhere(1).await;
}

#[tokio::test]
async fn crash_at_the_second_pass_of_any_edge_loses_and_repeats_nothing() {
    crash_everywhere(2).await;
}

#[tokio::test]
async fn crash_at_the_third_pass_of_any_edge_loses_and_repeats_nothing() {
    crash_everywhere(3).await;
}

/// The first process crashes with the dispatch under way, the second while it takes it over.
#[tokio::test]
async fn crash_in_a_takeover_loses_and_repeats_nothing() {
    let standin = StandIn::start().await;
    let expected = undisturbed(&standin).await;
    let points = Failpoint::ALL.into_iter();
    let never = [Failpoint::WroteAccept, Failpoint::SubmitterTold];
    stream::iter(points.filter(|it| !never.contains(it)))
        .for_each_concurrent(ROUNDS_AT_ONCE, |point| {
            let (wish, standin, expected) = (format!("{point:?} 1"), &standin, &expected);
            async move {
                let mut round = Round::new(standin);
                round.crash_while_dispatching("AttemptLaunched 2").await;
                round.crash_while_recovering(&wish).await;
                round.check(expected, &wish).await;
            }
        })
        .await;
}
