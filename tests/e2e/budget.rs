//! Budgets, over processes: what agents say that they used, and what becomes of the rest.

use rmcp::model::ProtocolVersion;
use serde_json::{Value, json};

use crate::{
    client::{Client, Face, id_of},
    space::{TestSpace, by_task, document},
    standin::StandIn,
};

const ROWS: [(&str, &str, &[&str]); 3] =
    [("one", "costly", &[]), ("two", "costly", &["one"]), ("three", "costly", &["two"])];

fn with_budget(space: &TestSpace, budget: &Value) -> Value {
    let mut document = document(space, &ROWS);
    document["config"] = json!({ "budget": budget });
    document
}

async fn open(space: &TestSpace) -> Client {
    Face::Http.open(space, &ProtocolVersion::V_2026_07_28).await
}

#[tokio::test]
async fn e2e_a_budget_of_money_hands_back_what_it_does_not_pay_for() {
    let standin = StandIn::start().await;
    let space = TestSpace::with(&standin);
    let document = with_budget(&space, &json!({ "cost_usd": 0.6 }));
    let ended = space.run(&["run", "-"], &document.to_string()).await;
    let result = ended.json();
    assert_eq!((ended.code, &result["status"]), (Some(1), &json!("partial")), "{ended:?}");
    assert_eq!(standin.calls().len(), 2);
    let usage = json!({
        "input_tokens": 900, "output_tokens": 100, "total_tokens": 1000, "cost_usd": 0.25,
    });
    assert_eq!(result["results"][0]["usage"], usage);
    assert_eq!(result["results"][2]["failure"]["code"], "budget_exceeded");
    let budget = &result["budget"];
    assert_eq!(
        (&budget["exceeded"], &budget["spent"]["cost_usd"]),
        (&json!("cost_usd"), &json!(0.5))
    );
    assert_eq!((&budget["spent"]["tokens"], &budget["spent"]["tasks"]), (&json!(2000), &json!(2)));

    let id = result["dispatch_id"].as_str().unwrap();
    let client = open(&space).await;
    let retry = json!({ "dispatch_id": id, "budget": { "cost_usd": 0.3 } });
    let retried = client.ask("retry_dispatch", retry).await;
    assert_eq!(retried["status"], "success", "{retried}");
    assert_eq!(retried["budget"]["spent"]["cost_usd"], 0.25);
    assert_eq!(standin.calls().len(), 3);
}

#[tokio::test]
async fn crash_a_paused_dispatch_keeps_what_was_spent() {
    let standin = StandIn::start().await;
    let space = TestSpace::with(&standin);
    let mut client = open(&space).await;
    let mut document = with_budget(&space, &json!({ "tokens": 1000, "on_exceeded": "pause" }));
    document["wait"] = json!(false);
    let id = id_of(&client.ask("dispatch", document).await);
    let first = json!({ "dispatch_id": id, "task_ids": ["one"], "wait_ms": 20_000 });
    client.ask("get_result", first).await;
    for _ in 0..2 {
        client.kill().await;
        client = open(&space).await;
        let asked = json!({ "dispatch_id": id, "wait_ms": 300 });
        let result = client.ask("get_result", asked).await;
        assert_eq!(
            (&result["status"], &result["budget"]["exceeded"]),
            (&json!("running"), &json!("tokens"))
        );
        assert_eq!(result["budget"]["spent"]["tokens"], 1000);
    }
    let cancelled = client.ask("cancel_dispatch", json!({ "dispatch_id": id })).await;
    assert_eq!(cancelled["status"], "cancelled");
    let states: Vec<_> = by_task(&cancelled, "status").into_iter().map(|it| it.1).collect();
    assert_eq!(states, ["success", "cancelled", "cancelled"]);
    assert_eq!(standin.calls().len(), 1);
}
