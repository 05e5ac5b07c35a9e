//! What callers get from the tools, by who they are, over the ways in which rmcp hands that on.

use std::sync::Arc;

use axum::body::Body;
use futures::future::BoxFuture;
use http_body_util::BodyExt as _;
use rmcp::transport::streamable_http_server::{
    StreamableHttpServerConfig, StreamableHttpService, session::local::LocalSessionManager,
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{
    DispatchServer,
    testing::{Talk, call, seal, serve},
};
use crate::{
    model::{AgentName, ClaimedTask, Failure, HandedIn, Identity, LeaseId, LeaseReport, Sees},
    ports::{Claim, WorkBoard},
    runtime::testing::{World, document},
};

fn identity(name: &str, sees: Sees) -> Option<Identity> {
    Identity::new(name, sees)
}

#[tokio::test(start_paused = true)]
async fn the_tools_show_each_caller_what_is_theirs() {
    let world = World::new().await;
    let mut talk = Talk::open(serve(&world)).await;
    let (ada, bob) = (identity("ada", Sees::Own), identity("bob", Sees::Own));
    let root = identity("root", Sees::All);
    let result = talk.call(ada.as_ref(), "dispatch", &document("a !fail")).await;
    assert_eq!(result["status"], "failure");
    let id = json!({ "dispatch_id": result["dispatch_id"] });
    let approval = json!({
        "dispatch_id": result["dispatch_id"], "task_id": "a", "decision": "approve",
    });
    let pause = json!({ "dispatch_id": result["dispatch_id"], "action": "pause" });
    let mut more = document("b");
    more["dispatch_id"] = result["dispatch_id"].clone();
    let asked = [
        ("get_result", &id),
        ("read_trace", &id),
        ("cancel_dispatch", &id),
        ("retry_dispatch", &id),
        ("approve_task", &approval),
        ("control_dispatch", &pause),
        ("dispatch", &more),
    ];
    for (tool, arguments) in asked {
        let answer = talk.call(bob.as_ref(), tool, arguments).await;
        assert_eq!(answer["error"]["code"], "unknown_dispatch", "{tool}: {answer}");
        for who in [&ada, &root, &None] {
            let answer = talk.call(who.as_ref(), tool, arguments).await;
            assert_ne!(answer["error"]["code"], "unknown_dispatch", "{tool}: {answer}");
        }
    }
    let plan = talk.call(ada.as_ref(), "plan_tasks", &document("a")).await;
    let plan = json!({ "plan_id": plan["plan_id"] });
    let answer = talk.call(bob.as_ref(), "dispatch", &plan).await;
    assert_eq!(answer["error"]["code"], "unknown_plan");
    assert_eq!(talk.call(ada.as_ref(), "dispatch", &plan).await["status"], "success");
    let listed = talk.call(bob.as_ref(), "read_trace", &json!({})).await;
    assert_eq!(listed["dispatches"], json!([]));
}

#[tokio::test(start_paused = true)]
async fn a_task_of_somebody_else_cannot_be_named_as_the_one_above() {
    let world = World::new().await;
    let mut talk = Talk::open(serve(&world)).await;
    let (ada, bob) = (identity("ada", Sees::Own), identity("bob", Sees::Own));
    let mut waits_not = document("t !gate");
    waits_not["wait"] = json!(false);
    let above = talk.call(ada.as_ref(), "dispatch", &waits_not).await["dispatch_id"].clone();
    let ended = talk.call(bob.as_ref(), "dispatch", &document("a")).await["dispatch_id"].clone();
    let below = |parent: &Value, field: &str, tool: &str, arguments: &Value| {
        let mut request = call(tool, arguments);
        let key = format!("{}/t", parent.as_str().unwrap());
        request["params"]["_meta"] = json!({ field: key });
        request
    };
    let parent = "parallel-dispatch/parent";
    let nowhere = json!("01890000-0000-7000-8000-000000000000");
    for above in [&above, &nowhere] {
        for (tool, arguments) in
            [("dispatch", document("b")), ("retry_dispatch", json!({ "dispatch_id": ended }))]
        {
            let request = below(above, parent, tool, &arguments);
            let answer = talk.ask(bob.as_ref(), &request).await;
            let error = &answer["result"]["structuredContent"]["error"];
            assert_eq!(
                (&error["code"], &error["path"]),
                (&json!("unknown_dispatch"), &json!("/_meta"))
            );
        }
        // The key comes with every call of an agent, whatever server it is of.
        let request = below(above, "parallel-dispatch/key", "dispatch", &document("b"));
        let answer = &talk.ask(bob.as_ref(), &request).await["result"]["structuredContent"];
        assert_eq!((&answer["status"], &answer["parent"]), (&json!("success"), &Value::Null));
    }
    let request = below(&above, parent, "dispatch", &document("b"));
    let answer = &talk.ask(ada.as_ref(), &request).await["result"]["structuredContent"];
    assert_eq!(answer["parent"]["dispatch_id"], above);
}

#[tokio::test(start_paused = true)]
async fn the_call_of_a_client_stands_for_a_key_of_its_caller() {
    let world = World::new().await;
    let mut talk = Talk::open(serve(&world)).await;
    let mut request = call("dispatch", &document("a"));
    request["params"]["_meta"] = json!({ "claudecode/toolUseId": "toolu_1" });
    let mut ids = Vec::new();
    for who in [identity("ada", Sees::Own), identity("bob", Sees::Own), None] {
        let mut answers = Vec::new();
        for _ in 0..2 {
            let answer = talk.ask(who.as_ref(), &request).await;
            answers.push(answer["result"]["structuredContent"]["dispatch_id"].clone());
        }
        assert!(answers[0].is_string() && answers[0] == answers[1], "{answers:?}");
        ids.extend(answers);
    }
    assert!(ids[0] != ids[2] && ids[2] != ids[4] && ids[0] != ids[4]);
}

#[tokio::test(start_paused = true)]
async fn tools_for_workers_are_shown_to_those_who_see_all() {
    let world = World::new().await;
    let handle = world.handle.clone().with_workers(Arc::new(NoWork));
    let server = DispatchServer::new(handle, CancellationToken::new(), 1_000_000, seal());
    let mut talk = Talk::open(server).await;
    let list = json!({ "jsonrpc": "2.0", "id": 3, "method": "tools/list" });
    let own = identity("ada", Sees::Own);
    for (who, n_tools) in [(own.clone(), 8), (identity("root", Sees::All), 12), (None, 12)] {
        let answer = talk.ask(who.as_ref(), &list).await;
        assert_eq!(answer["result"]["tools"].as_array().unwrap().len(), n_tools, "{who:?}");
    }
    let lease = json!({ "lease": "01890000-0000-7000-8000-000000000000" });
    let with = |name: &str, value: &str| {
        let mut arguments = lease.clone();
        arguments[name] = json!(value);
        arguments
    };
    let asked = [
        ("claim_task", json!({ "worker": "w" }), Value::Null),
        ("heartbeat", lease.clone(), json!("lease_lost")),
        ("complete_task", with("output", "done"), json!("lease_lost")),
        ("fail_task", with("message", "no"), json!("lease_lost")),
    ];
    for (tool, arguments, code) in asked {
        let answer = talk.call(own.as_ref(), tool, &arguments).await;
        assert_eq!(answer["error"]["code"], "not_allowed", "{tool}: {answer}");
        assert_eq!(talk.call(None, tool, &arguments).await["error"]["code"], code, "{tool}");
    }
}

/// What rmcp's own streamable HTTP makes of a request that the guard has let in.
#[tokio::test(start_paused = true)]
async fn over_http_the_request_says_who_calls() {
    let world = World::new().await;
    let server = serve(&world);
    let config = StreamableHttpServerConfig::default()
        .disable_allowed_hosts()
        .with_legacy_session_mode(false)
        .with_json_response(true);
    let service = StreamableHttpService::new(
        move || Ok(server.clone()),
        Arc::new(LocalSessionManager::default()),
        config,
    );
    let ask = async |who: Option<Identity>, tool: &str, arguments: &Value| {
        let request = axum::http::Request::post("/mcp")
            .header("Host", "localhost")
            .header("Accept", "application/json, text/event-stream")
            .header("Content-Type", "application/json")
            .header("MCP-Protocol-Version", "2025-06-18")
            .body(Body::from(call(tool, arguments).to_string()));
        let mut request = request.unwrap();
        if let Some(who) = who {
            request.extensions_mut().insert(who);
        }
        let body = service.handle(request).await.into_body().collect().await.unwrap().to_bytes();
        let answer: Value = serde_json::from_slice(&body)
            .unwrap_or_else(|error| panic!("{error}: {}", body.escape_ascii()));
        answer["result"]["structuredContent"].clone()
    };
    let (ada, bob) = (identity("ada", Sees::Own), identity("bob", Sees::Own));
    let result = ask(ada.clone(), "dispatch", &document("a")).await;
    assert_eq!(result["status"], "success", "{result}");
    let id = json!({ "dispatch_id": result["dispatch_id"] });
    assert_eq!(ask(bob, "get_result", &id).await["error"]["code"], "unknown_dispatch");
    for who in [ada, identity("root", Sees::All), None] {
        assert_eq!(ask(who, "get_result", &id).await["status"], "success");
    }
}

/// A board on which there is never anything.
#[derive(Debug)]
struct NoWork;

impl WorkBoard for NoWork {
    fn agents(&self) -> Vec<AgentName> {
        Vec::new()
    }

    fn claim(&self, _claim: Claim) -> BoxFuture<'_, Option<ClaimedTask>> {
        Box::pin(async { None })
    }

    fn n_waiting(&self, _agents: &[AgentName]) -> usize {
        0
    }

    fn heartbeat(&self, _lease: LeaseId) -> Option<LeaseReport> {
        None
    }

    fn hand_in(&self, _lease: LeaseId, _result: Result<Value, Failure>) -> Option<HandedIn> {
        None
    }
}
