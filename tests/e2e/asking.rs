//! Approvals that come up where the user is, while a call waits; and what a client hears meanwhile.

use rmcp::model::{ClientCapabilities, ElicitationCapability, ProtocolVersion};
use serde_json::{Value, json};

use crate::{
    client::Face,
    raw::{NEW, Raw},
    space::{TestSpace, by_task, document, within},
    standin::StandIn,
};

const OLD: &str = "2025-11-25";
const INVALID_PARAMS: i64 = -32_602;

fn can_ask() -> Value {
    json!({ "elicitation": {} })
}

/// Two tasks, one after the other, of which each waits to be approved.
fn two_questions(space: &TestSpace) -> Value {
    let mut document = document(space, &[("one", "coder", &[]), ("two", "coder", &["one"])]);
    for task in document["tasks"].as_array_mut().unwrap() {
        task["approval"] = json!({ "message": "go on?", "decisions": ["go", "reject"] });
    }
    document
}

fn one_question(space: &TestSpace) -> Value {
    let mut document = two_questions(space);
    document["tasks"].as_array_mut().unwrap().pop();
    document
}

fn accept(decision: &str) -> Value {
    json!({ "action": "accept", "content": { "decision": decision, "note": "by hand" } })
}

async fn asks_in_the_way_of_each_revision(face: Face) {
    for version in face.versions() {
        let standin = StandIn::start().await;
        let space = TestSpace::with(&standin);
        let mut can = ClientCapabilities::default();
        can.elicitation = Some(ElicitationCapability::default());
        let client = face.open_as(&space, &version, can).await;
        let mut document = two_questions(&space);
        let is_asked = version >= ProtocolVersion::V_2025_06_18;
        document["wait_ms"] = json!(if is_asked { 20_000 } else { 500 });
        let result = client.ask("dispatch", document).await;
        let asked = client.asked();
        if is_asked {
            assert_eq!(result["status"], "success", "{version}: {result}");
            assert_eq!(asked.len(), 2, "{version}: {asked:?}");
            assert!(asked[0].contains("go on?") && asked[0].contains("\\\"one\\\""), "{asked:?}");
            assert_eq!(by_task(&result, "approval")[1].1["decision"], "go");
        } else {
            assert_eq!((&result["status"], asked.len()), (&json!("running"), 0), "{version}");
            assert!(result["next_steps"][0].as_str().unwrap().contains("approve_task"));
        }
        let recent = client.ask("read_trace", json!({})).await;
        assert_eq!(recent["dispatches"].as_array().unwrap().len(), 1, "{version}: one dispatch");
    }
}

#[tokio::test]
async fn e2e_stdio_asks_in_the_way_of_each_revision() {
    Box::pin(asks_in_the_way_of_each_revision(Face::Stdio)).await;
}

#[tokio::test]
async fn e2e_http_asks_in_the_way_of_each_revision() {
    Box::pin(asks_in_the_way_of_each_revision(Face::Http)).await;
}

#[tokio::test]
async fn e2e_sse_asks_in_the_way_of_each_revision() {
    Box::pin(asks_in_the_way_of_each_revision(Face::Sse)).await;
}

#[tokio::test]
async fn e2e_what_a_user_does_not_decide_stays_and_is_not_asked_again_by_that_call() {
    let standin = StandIn::start().await;
    let space = TestSpace::with(&standin);
    let mut raw = Raw::open(&space, OLD, can_ask()).await;
    for response in [json!({ "action": "decline" }), json!({ "action": "cancel" }), accept("stop")]
    {
        let mut document = one_question(&space);
        document["wait_ms"] = json!(1_500);
        let call =
            raw.begin("tools/call", json!({ "name": "dispatch", "arguments": document })).await;
        let question = raw.hear_of("elicitation/create").await;
        raw.reply(&question, response).await;
        let result = raw.answer_to(call).await["result"]["structuredContent"].take();
        assert_eq!(result["status"], "running", "{result}");
        assert_eq!(result["results"][0]["waiting_for"], "approval");
        assert!(raw.heard("elicitation/create").is_empty(), "{:?}", raw.aside);
        assert!(raw.heard("notifications/cancelled").is_empty(), "{:?}", raw.aside);
        raw.call("cancel_dispatch", json!({ "dispatch_id": result["dispatch_id"] })).await;
    }
    assert_eq!(standin.calls().len(), 0);
}

#[tokio::test]
async fn e2e_a_question_is_taken_back_when_it_is_decided_elsewhere_or_nobody_waits() {
    let standin = StandIn::start().await;
    let space = TestSpace::with(&standin);
    let mut raw = Raw::open(&space, OLD, can_ask()).await;
    let mut document = one_question(&space);
    document["wait_ms"] = json!(20_000);
    let call = raw.begin("tools/call", json!({ "name": "dispatch", "arguments": document })).await;
    let question = raw.hear_of("elicitation/create").await;
    raw.say(json!({
        "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": call },
    }))
    .await;
    let taken_back = raw.hear_of("notifications/cancelled").await;
    assert_eq!(taken_back["params"]["requestId"], question["id"]);
    // An answer that comes too late decides nothing.
    raw.reply(&question, accept("reject")).await;
    let recent = raw.call("read_trace", json!({})).await;
    let id = recent["structuredContent"]["dispatches"][0]["dispatch_id"].clone();
    let wait = json!({ "dispatch_id": id, "wait_ms": 20_000 });
    let call = raw.begin("tools/call", json!({ "name": "get_result", "arguments": wait })).await;
    let again = raw.hear_of("elicitation/create").await;
    assert_ne!(again["id"], question["id"]);
    let id_text = id.as_str().unwrap();
    let approved = space.run(&["approve", id_text, "one", "--decision", "go"], "").await;
    assert_eq!(approved.code, Some(0), "{approved:?}");
    let taken_back = raw.hear_of("notifications/cancelled").await;
    assert_eq!(taken_back["params"]["requestId"], again["id"]);
    let result = raw.answer_to(call).await["result"]["structuredContent"].take();
    assert_eq!(result["status"], "success", "{result}");
}

#[tokio::test]
async fn e2e_two_calls_ask_one_question_once() {
    let standin = StandIn::start().await;
    let space = TestSpace::with(&standin);
    let mut raw = Raw::open(&space, OLD, can_ask()).await;
    let mut document = one_question(&space);
    document["wait"] = json!(false);
    let id = raw.call("dispatch", document).await["structuredContent"]["dispatch_id"].take();
    let wait =
        json!({ "name": "get_result", "arguments": { "dispatch_id": id, "wait_ms": 20_000 } });
    let calls = [raw.begin("tools/call", wait.clone()).await, raw.begin("tools/call", wait).await];
    let question = raw.hear_of("elicitation/create").await;
    raw.reply(&question, accept("go")).await;
    for call in calls {
        let result = raw.answer_to(call).await["result"]["structuredContent"].take();
        assert_eq!(result["status"], "success", "{result}");
        assert_eq!(result["results"][0]["approval"]["note"], "by hand");
    }
    assert!(raw.heard("elicitation/create").is_empty(), "{:?}", raw.aside);
}

#[tokio::test]
async fn e2e_a_call_that_is_made_again_goes_on_and_dispatches_nothing() {
    let standin = StandIn::start().await;
    let space = TestSpace::with(&standin);
    let mut raw = Raw::open(&space, NEW, can_ask()).await;
    let mut document = two_questions(&space);
    document["wait_ms"] = json!(20_000);
    let first = raw.call("dispatch", document.clone()).await;
    assert_eq!(first["resultType"], "input_required", "{first}");
    let keys: Vec<_> = first["inputRequests"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["approval/one"]);
    let again = |arguments: &Value, state: &Value, responses: Value| {
        json!({
            "name": "dispatch", "arguments": arguments,
            "requestState": state, "inputResponses": responses,
        })
    };
    let state = &first["requestState"];
    let mut other = document.clone();
    other["tasks"][0]["description"] = json!("something else");
    let go = json!({ "approval/one": accept("go") });
    // Another dispatch of the same caller, a longer wait, and rounds without end.
    let whole = state.as_str().unwrap();
    let fields: Vec<_> = whole.split('.').collect();
    let tampered = |at: usize, field: &str| {
        let mut fields = fields.clone();
        fields[at] = field;
        json!(fields.join("."))
    };
    let elsewhere = raw.call("dispatch", {
        let mut other = two_questions(&space);
        other["wait"] = json!(false);
        other
    });
    let elsewhere = elsewhere.await["structuredContent"]["dispatch_id"].take();
    for state in [
        tampered(1, elsewhere.as_str().unwrap()),
        tampered(2, "600000"),
        tampered(3, "0"),
        tampered(5, "99999999999999"),
    ] {
        assert_ne!(state, json!(whole));
        let refused = raw.ask("tools/call", again(&document, &state, go.clone())).await;
        assert_eq!(refused["error"]["code"], INVALID_PARAMS, "{state}: {refused}");
    }
    raw.call("cancel_dispatch", json!({ "dispatch_id": elsewhere })).await;
    // The server that goes on may be another one than the server that asked.
    raw.kill().await;
    let mut raw = Raw::open(&space, NEW, can_ask()).await;
    for params in [
        again(&other, state, go.clone()),
        again(&document, &json!("pd1.x"), go.clone()),
        json!({ "name": "dispatch", "arguments": document, "inputResponses": go }),
    ] {
        let refused = raw.ask("tools/call", params).await;
        assert_eq!(refused["error"]["code"], INVALID_PARAMS, "{refused}");
    }
    let second = raw.ask("tools/call", again(&document, state, go.clone())).await["result"].take();
    let keys: Vec<_> = second["inputRequests"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["approval/two"], "{second}");
    let later = json!({ "approval/two": { "action": "cancel" } });
    let params = again(&document, &second["requestState"], later);
    let call = raw.begin("tools/call", params).await;
    // It waits, and does not ask again; somebody else decides.
    let id = standin.calls()[0].key.split('/').next().unwrap().to_owned();
    let approve = json!({ "dispatch_id": id, "task_id": "two", "decision": "go" });
    raw.call("approve_task", approve).await;
    let result = raw.answer_to(call).await["result"]["structuredContent"].take();
    assert_eq!((&result["status"], &result["dispatch_id"]), (&json!("success"), &json!(id)));
    // Even the first state goes on with the same dispatch.
    let again = raw.ask("tools/call", again(&document, state, go)).await["result"].take();
    assert_eq!(again["structuredContent"]["dispatch_id"], json!(id));
    let recent = raw.call("read_trace", json!({})).await;
    assert_eq!(recent["structuredContent"]["dispatches"].as_array().unwrap().len(), 2);
    assert_eq!(standin.calls().len(), 2);
}

#[tokio::test]
async fn e2e_sessions_hear_what_is_as_urgent_as_they_want() {
    let standin = StandIn::start().await;
    let space = TestSpace::with(&standin);
    let mut raw = Raw::open(&space, OLD, json!({})).await;
    assert_eq!(raw.server["logging"], json!({}));
    raw.call("dispatch", document(&space, &[("bad", "failing", &[])])).await;
    let warning = raw.hear_of("notifications/message").await["params"].take();
    assert_eq!(
        (&warning["level"], &warning["logger"]),
        (&json!("warning"), &json!("parallel-dispatch"))
    );
    assert_eq!(
        (&warning["data"]["event"], &warning["data"]["task_id"], &warning["data"]["code"]),
        (&json!("task_failed"), &json!("bad"), &json!("agent_error"))
    );
    assert!(!warning.to_string().contains("it cannot be done"), "no text of others: {warning}");
    let set = raw.ask("logging/setLevel", json!({ "level": "info" })).await;
    assert_eq!(set["result"], json!({}), "{set}");
    let good = raw.call("dispatch", document(&space, &[("good", "coder", &[])])).await;
    let good = &good["structuredContent"]["dispatch_id"];
    let ended = loop {
        let heard = raw.hear_of("notifications/message").await["params"].take();
        // The end of the first one may be told by now, too.
        if heard["data"]["dispatch_id"] == *good {
            break heard;
        }
    };
    assert_eq!(
        (&ended["level"], &ended["data"]["event"], &ended["data"]["status"]),
        (&json!("info"), &json!("dispatch_ended"), &json!("success"))
    );
}

#[tokio::test]
async fn e2e_requests_without_sessions_hear_what_they_ask_for() {
    let standin = StandIn::start().await;
    let space = TestSpace::with(&standin);
    let mut raw = Raw::open(&space, NEW, json!({})).await;
    raw.call("dispatch", document(&space, &[("bad", "failing", &[])])).await;
    assert!(raw.heard("notifications/message").is_empty(), "{:?}", raw.aside);
    raw.meta = json!({ "io.modelcontextprotocol/logLevel": "debug" });
    raw.call("dispatch", document(&space, &[("bad", "failing", &[])])).await;
    let told = raw.heard("notifications/message");
    let told: Vec<_> = told.iter().map(|it| it["params"]["data"]["event"].as_str()).collect();
    assert_eq!(told, ["attempt_started", "task_failed", "dispatch_ended"].map(Some));
    let set = raw.ask("logging/setLevel", json!({ "level": "info" })).await;
    assert_eq!(set["error"]["code"], -32_601, "{set}");
}

#[tokio::test]
async fn e2e_progress_says_what_is_left_where_that_is_known() {
    let standin = StandIn::start().await;
    let space = TestSpace::with(&standin);
    let mut raw = Raw::open(&space, OLD, json!({})).await;
    raw.meta = json!({ "progressToken": "it" });
    let mut document = document(&space, &[("one", "gate", &[]), ("two", "gate", &["one"])]);
    for task in document["tasks"].as_array_mut().unwrap() {
        task["estimate_seconds"] = json!(300);
    }
    let call = raw.begin("tools/call", json!({ "name": "dispatch", "arguments": document })).await;
    standin.at_gate(1).await;
    let message = within(async {
        loop {
            let told = raw.hear_of("notifications/progress").await["params"]["message"].take();
            if told.as_str().unwrap().contains("left") {
                break told;
            }
        }
    })
    .await;
    assert_eq!(message, "0 of 2 done, running one, ~10 min left");
    standin.release(2);
    let result = raw.answer_to(call).await["result"]["structuredContent"].take();
    assert_eq!(result["status"], "success");
}
