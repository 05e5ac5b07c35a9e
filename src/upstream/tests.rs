//! The client against servers that behave and servers that do not.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use expect_test::{Expect, expect};
use rmcp::model::CallToolResult;
use serde_json::json;
use tokio::sync::{Barrier, Notify};
use tokio_util::sync::CancellationToken;

use super::{
    testing::{
        HttpHost, Reply, Rogue, StillClock, TestServer, Then, call, fields, http_settings,
        http_upstream, memory_upstream, meta,
    },
    *,
};
use crate::model::{FailureCode, TraceContext};

/// Calls a server that misbehaves as `reply` says, and shows what the caller gets; the server's
/// address is left out.
async fn check_fault(rogue: &Rogue, upstream: &Upstream, expected: &Expect) {
    let outcome = call(upstream, "coder").await;
    let error = outcome.result.unwrap_err();
    assert!(!outcome.record.ok);
    assert_eq!(outcome.record.error.as_ref(), Some(&error.message));
    let prefix = format!("upstream \"archon\" ({}): ", rogue.url);
    let message = error.message.strip_prefix(&prefix).expect("errors name the upstream");
    expected.assert_eq(&format!("{}: {message}", error.kind.as_str()));
}

async fn check(
    reply: impl Fn(&testing::Request) -> Reply + Send + Sync + 'static,
    expected: Expect,
) {
    let rogue = Rogue::at_calls(reply).await;
    let upstream = http_upstream(&rogue.url);
    check_fault(&rogue, &upstream, &expected).await;
    assert_eq!(rogue.count("tools/call"), 1, "a call that may have arrived is not sent again");
}

#[tokio::test]
async fn tools_of_all_pages_are_listed_once() {
    for protocol in [Era::Legacy, Era::Auto] {
        let upstream = memory_upstream(TestServer::echo(&["a", "b", "c"]), protocol);
        let tools = upstream.tools().await.unwrap();
        let names: Vec<_> = tools.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert!(Arc::ptr_eq(&tools, &upstream.tools().await.unwrap()));
    }
}

#[tokio::test]
async fn a_call_carries_arguments_and_meta_unchanged() {
    let upstream = memory_upstream(TestServer::echo(&["coder"]), Era::Legacy);
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let trace = TraceContext::read(traceparent, Some("a=1"));
    let arguments = fields(json!({ "text": " a\n\u{e9}\u{1f600} ", "n": null }));
    let meta = CallMeta { trace, ..meta() };
    let (limit, never) = (Duration::from_secs(9), CancellationToken::new());
    let outcome = upstream.call("coder", arguments.clone(), meta, limit, &never).await;
    let mut output = outcome.result.unwrap();
    assert_eq!(output["arguments"], json!(arguments));
    output["meta"].as_object_mut().unwrap().remove("progressToken");
    let expected = json!({
        "parallel-dispatch/key": "d/t", "parallel-dispatch/attempt": 2,
        "traceparent": traceparent, "tracestate": "a=1"
    });
    assert_eq!(output["meta"], expected);
    assert!(outcome.record.ok && outcome.record.error.is_none());
    assert_eq!(outcome.record.request_bytes, json!(arguments).to_string().len() as u64);
    assert!(outcome.record.response_bytes > 100);
}

#[tokio::test]
async fn a_failure_of_the_tool_and_of_the_protocol_are_told_apart() {
    let server = TestServer::new(&["coder"], |call| async move {
        match call.tool.as_str() {
            "coder" => Err(rmcp::ErrorData::invalid_params("node_type is missing", None)),
            other => Err(rmcp::ErrorData::invalid_params(format!("tool not found: {other}"), None)),
        }
    });
    let upstream = memory_upstream(server, Era::Legacy);
    let error = call(&upstream, "coder").await.result.unwrap_err();
    assert_eq!(error.kind, FailureCode::AgentError);
    assert_eq!(error.message, "node_type is missing (JSON-RPC error -32602)");
    let error = call(&upstream, "nobody").await.result.unwrap_err();
    assert_eq!(error.kind, FailureCode::UpstreamProtocol);
}

#[tokio::test]
async fn a_cancelled_or_forgotten_call_is_cancelled_at_the_upstream() {
    let (started, stopped) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (at_start, at_stop) = (Arc::clone(&started), Arc::clone(&stopped));
    let server = TestServer::new(&["coder"], move |call| {
        let (at_start, at_stop) = (Arc::clone(&at_start), Arc::clone(&at_stop));
        async move {
            at_start.notify_one();
            call.cancelled.cancelled().await;
            at_stop.notify_one();
            Ok(CallToolResult::success(vec![]))
        }
    });
    let upstream = memory_upstream(server, Era::Legacy);
    let cancelled = CancellationToken::new();
    let limit = Duration::from_secs(20);
    let calling = upstream.call("coder", fields(json!({})), meta(), limit, &cancelled);
    let cancel = async {
        started.notified().await;
        cancelled.cancel();
    };
    let (outcome, ()) = tokio::join!(calling, cancel);
    assert_eq!(outcome.result.unwrap_err().kind, FailureCode::Cancelled);
    stopped.notified().await;

    tokio::select! {
        _ = call(&upstream, "coder") => panic!("nobody answers"),
        () = started.notified() => {}
    }
    stopped.notified().await;
}

#[tokio::test]
async fn a_closed_upstream_answers_no_more() {
    let upstream = memory_upstream(TestServer::echo(&["coder"]), Era::Legacy);
    call(&upstream, "coder").await.result.unwrap();
    upstream.close().await;
    let error = call(&upstream, "coder").await.result.unwrap_err();
    assert_eq!(error.kind, FailureCode::UpstreamUnavailable);
}

#[tokio::test]
async fn e2e_64_calls_run_at_once_in_one_session() {
    let all = Arc::new(Barrier::new(64));
    let server = TestServer::new(&["coder"], move |_| {
        let all = Arc::clone(&all);
        async move {
            all.wait().await;
            Ok(CallToolResult::structured(json!({ "ok": true })))
        }
    });
    let host = HttpHost::start(server).await;
    for protocol in [Era::Legacy, Era::Auto] {
        let settings = UpstreamSettings { protocol, ..http_settings(&host.url) };
        let upstream = Upstream::new(settings, Arc::new(StillClock::default()));
        let calls = (0..64).map(|_| call(&upstream, "coder"));
        for outcome in futures::future::join_all(calls).await {
            assert_eq!(outcome.result, Ok(json!({ "ok": true })));
        }
    }
}

#[tokio::test]
async fn e2e_cancelling_reaches_the_upstream_over_http() {
    let stopped = Arc::new(Notify::new());
    let at_stop = Arc::clone(&stopped);
    let cancelled = CancellationToken::new();
    let cancel = cancelled.clone();
    let server = TestServer::new(&["coder"], move |call| {
        let (at_stop, cancel) = (Arc::clone(&at_stop), cancel.clone());
        async move {
            cancel.cancel();
            call.cancelled.cancelled().await;
            at_stop.notify_one();
            Ok(CallToolResult::success(vec![]))
        }
    });
    let host = HttpHost::start(server).await;
    let upstream = http_upstream(&host.url);
    let limit = Duration::from_secs(20);
    let outcome = upstream.call("coder", fields(json!({})), meta(), limit, &cancelled).await;
    assert_eq!(outcome.result.unwrap_err().kind, FailureCode::Cancelled);
    stopped.notified().await;
}

#[tokio::test]
async fn e2e_a_restarted_server_gets_a_new_session() {
    let host = HttpHost::start(TestServer::echo(&["old"])).await;
    let upstream = http_upstream(&host.url);
    assert_eq!(upstream.tools().await.unwrap()[0].name, "old");
    let address = host.url.trim_start_matches("http://").trim_end_matches("/mcp").to_owned();
    drop(host);
    let error = call(&upstream, "coder").await.result.unwrap_err();
    assert_eq!(error.kind, FailureCode::UpstreamUnavailable);
    let _host = HttpHost::start_at(TestServer::echo(&["new"]), &address).await;
    assert_eq!(call(&upstream, "coder").await.result.unwrap()["tool"], "coder");
    assert_eq!(upstream.tools().await.unwrap()[0].name, "new");
}

#[tokio::test]
async fn e2e_an_unknown_session_is_opened_anew_and_the_call_sent_again_once() {
    for status in ["400 Bad Request", "404 Not Found"] {
        let rogue = Rogue::start(move |request| {
            let is_call = request.method() == "tools/call";
            is_call.then(|| Reply::http(status, "", "Bad Request: no session"))
        })
        .await;
        let upstream = http_upstream(&rogue.url);
        check_fault(
            &rogue,
            &upstream,
            &expect!["upstream_unavailable: it does not know the session"],
        )
        .await;
        assert_eq!((rogue.count("initialize"), rogue.count("tools/call")), (2, 2));
    }
}

#[tokio::test]
async fn e2e_many_calls_of_a_forgotten_session_share_a_new_one() {
    let n_opened = AtomicUsize::new(0);
    let rogue = Rogue::start(move |request| match request.method() {
        "initialize" => {
            let n = n_opened.fetch_add(1, Ordering::Relaxed);
            Some(request.open_session(&format!("session-{n}")))
        }
        "tools/call" if request.head.contains("mcp-session-id: session-0") => {
            Some(Reply::http("400 Bad Request", "text/plain", "No valid session ID provided"))
        }
        _ => None,
    })
    .await;
    let upstream = http_upstream(&rogue.url);
    for outcome in futures::future::join_all((0..20).map(|_| call(&upstream, "coder"))).await {
        assert_eq!(outcome.result, Ok(json!("fine")));
    }
    assert_eq!((rogue.count("initialize"), rogue.count("tools/call")), (2, 40));
}

#[tokio::test]
async fn e2e_nothing_there_is_said_once_for_all_who_wait() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    drop(listener);
    let upstream = http_upstream(&url);
    for outcome in futures::future::join_all((0..5).map(|_| call(&upstream, "coder"))).await {
        let error = outcome.result.unwrap_err();
        assert_eq!(error.kind, FailureCode::UpstreamUnavailable);
        assert!(error.message.contains("nothing answers there: Connection refused"), "{error}");
    }
    assert_eq!(upstream.probe().await, Probe { presence: Presence::Nothing, health: None });
}

#[tokio::test]
async fn e2e_what_fails_again_and_again_is_left_alone() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    drop(listener);
    let upstream = http_upstream(&url);
    for _ in 0..5 {
        let error = call(&upstream, "coder").await.result.unwrap_err();
        assert_eq!(error.kind, FailureCode::UpstreamUnavailable);
    }
    let error = call(&upstream, "coder").await.result.unwrap_err();
    assert_eq!((error.kind, error.retry_after_ms), (FailureCode::CircuitOpen, Some(1_000)));
    assert!(error.message.contains("left alone for 1000 ms more"), "{error}");
    assert_eq!(upstream.tools().await.unwrap_err().kind, FailureCode::CircuitOpen);
}

#[tokio::test]
async fn e2e_health_is_reported_as_it_is() {
    let rogue = Rogue::start(|request| {
        let body = r#"{"success": true, "status": "ready"}"#;
        let is_health = request.head.starts_with("get /health ");
        is_health.then(|| Reply::http("200 OK", "application/json", body))
    })
    .await;
    let probe = http_upstream(&rogue.url).probe().await;
    let body = Some(json!({ "success": true, "status": "ready" }));
    assert_eq!(probe.presence, Presence::Something);
    assert_eq!(probe.health, Some(Health { status: 200, body }));
}

#[tokio::test]
async fn e2e_a_hanging_server_is_left_at_the_deadline() {
    let rogue = Rogue::at_calls(|_| Reply::raw("", Then::Hang)).await;
    let settings =
        UpstreamSettings { call_timeout: Duration::from_millis(100), ..http_settings(&rogue.url) };
    let upstream = Upstream::new(settings, Arc::new(StillClock::default()));
    check_fault(&rogue, &upstream, &expect!["timeout: it gave no answer within 100 ms"]).await;
}

#[tokio::test]
async fn e2e_a_server_that_hangs_at_the_start_holds_up_nobody_twice() {
    let rogue = Rogue::start(|_| Some(Reply::raw("", Then::Hang))).await;
    let settings = UpstreamSettings {
        connect_timeout: Duration::from_millis(100),
        ..http_settings(&rogue.url)
    };
    let upstream = Upstream::new(settings, Arc::new(StillClock::default()));
    for outcome in futures::future::join_all((0..50).map(|_| call(&upstream, "coder"))).await {
        assert_eq!(outcome.result.unwrap_err().kind, FailureCode::Timeout);
    }
    assert_eq!(rogue.count("initialize"), 1);
}

#[tokio::test]
async fn e2e_broken_answers_have_typed_causes() {
    let half = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{";
    check(
        |_| Reply::raw(half, Then::Close),
        expect![
            "upstream_unavailable: the connection broke: end of file before message length reached"
        ],
    )
    .await;
    check(
        |_| Reply::raw("", Then::Close),
        expect![
            "upstream_unavailable: the connection broke: connection closed before message completed"
        ],
    )
    .await;
    check(
        |_| Reply::raw("!!! not http\r\n\r\n", Then::Close),
        expect!["upstream_protocol: it does not speak MCP: nor HTTP: invalid HTTP version parsed"],
    )
    .await;
    check(
        |_| Reply::http("200 OK", "text/html", "<html>"),
        expect![
            "upstream_protocol: it does not speak MCP: its answer is of type text/html, not JSON"
        ],
    )
    .await;
    check(
        |_| Reply::http("200 OK", "application/json", "{\"id\": 1"),
        expect![[r#"upstream_protocol: it does not speak MCP: its answer is "{\"id\": 1""#]],
    )
    .await;
    check(
        |_| Reply::json(&json!({ "jsonrpc": "2.0", "id": 4711, "result": {} })),
        expect!["upstream_protocol: it does not speak MCP: its answer belongs to another request"],
    )
    .await;
    check(
        |it| it.answer(&json!({ "what": 1 })),
        expect!["upstream_protocol: it answered the call with what is no tool result"],
    )
    .await;
    check(
        |_| {
            Reply::http("307 Temporary Redirect", "text/plain\r\nlocation: http://127.0.0.1:1/", "")
        },
        expect![
            "upstream_protocol: it does not speak MCP: it redirects (HTTP 307); set the final URL"
        ],
    )
    .await;
    check(
        |_| Reply::http("401 Unauthorized", "text/plain", "Bearer abcdef0123456789"),
        expect![[
            r#"upstream_protocol: it does not speak MCP: it answered HTTP 401: "Bearer [redacted]""#
        ]],
    )
    .await;
}

#[tokio::test]
async fn e2e_pushing_back_is_told_from_failing() {
    check(
        |_| Reply::http("429 Too Many Requests", "text/plain\r\nretry-after: 7", "slow"),
        expect!["rate_limited: it asks to come back later, retry after 7"],
    )
    .await;
    check(
        |_| Reply::http("503 Service Unavailable", "text/plain\r\nretry-after: 60", ""),
        expect!["rate_limited: it answered HTTP 503, retry after 60"],
    )
    .await;
    check(
        |_| Reply::http("500 Internal Server Error", "text/html", "<h1>oops"),
        expect!["upstream_unavailable: it answered HTTP 500"],
    )
    .await;
}

#[tokio::test]
async fn e2e_event_streams_end_in_an_answer_or_a_cause() {
    check(
        |_| Reply::events(": hello\n\ndata: garbage\n\n", Then::Close),
        expect!["upstream_unavailable: the connection broke: the event stream ended"],
    )
    .await;
    check(
        |_| Reply::events("id: 1\nretry: 60000\ndata:\n\n", Then::Close),
        expect!["upstream_unavailable: the connection broke: the event stream ended"],
    )
    .await;
    let rogue = Rogue::at_calls(|request| {
        let answer = json!({ "jsonrpc": "2.0", "id": request.body["id"],
            "result": { "content": [{ "type": "text", "text": "7" }] } });
        Reply::events(&format!("data: {answer}\n\n"), Then::Hang)
    })
    .await;
    assert_eq!(call(&http_upstream(&rogue.url), "coder").await.result, Ok(json!(7)));
}

#[tokio::test]
async fn e2e_floods_are_cut_off() {
    let limit = UpstreamSettings::RESPONSE_BYTES_MAX;
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 104857600\r\n\r\n";
    let filler = vec![b' '; limit / 64];
    let (body, event) = (filler.clone(), filler);
    check(
        move |_| Reply::raw(head, Then::Repeat(body.clone())),
        expect!["upstream_limit: its answer is larger than 16777216 bytes"],
    )
    .await;
    check(
        move |_| Reply::events("data: ", Then::Repeat(event.clone())),
        expect!["upstream_limit: its answer is larger than 16777216 bytes"],
    )
    .await;
    check(
        |_| Reply::events("", Then::Repeat(b": still here\n\n".repeat(9_000))),
        expect!["upstream_limit: its answer is larger than 16777216 bytes"],
    )
    .await;
}

#[tokio::test]
async fn e2e_a_fault_of_one_call_leaves_the_others_alone() {
    let rogue = Rogue::at_calls(|request| match request.body["params"]["name"].as_str() {
        Some("bad") => Reply::events("data: {", Then::Close),
        _ => request.answer(&json!({ "content": [{ "type": "text", "text": "fine" }] })),
    })
    .await;
    let upstream = http_upstream(&rogue.url);
    let (bad, good) = tokio::join!(call(&upstream, "bad"), call(&upstream, "good"));
    assert!(bad.result.is_err());
    assert_eq!(good.result, Ok(json!("fine")));
    assert_eq!(rogue.count("initialize"), 1);
}

#[tokio::test]
async fn e2e_what_a_server_asks_of_the_client_is_refused() {
    let (refused, mut refusals) = tokio::sync::mpsc::unbounded_channel();
    let rogue = Rogue::start(move |request| {
        if request.method() != "tools/call" {
            if request.body["error"].is_object() {
                refused.send(request.body.clone()).unwrap();
            }
            return None;
        }
        let ask = |id: u32, method: &str, params: serde_json::Value| {
            let ask = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
            format!("data: {ask}\n\n")
        };
        let answer = json!({ "jsonrpc": "2.0", "id": request.body["id"],
            "result": { "content": [{ "type": "text", "text": "did without" }] } });
        let form = json!({ "type": "object", "properties": {} });
        let form = json!({ "message": "?", "requestedSchema": form });
        let events = ask(901, "elicitation/create", form)
            + &ask(902, "sampling/createMessage", json!({ "messages": [], "maxTokens": 5 }))
            + &ask(903, "roots/list", json!({}))
            + &format!("data: {answer}\n\n");
        Some(Reply::events(&events, Then::Hang))
    })
    .await;
    let upstream = http_upstream(&rogue.url);
    assert_eq!(call(&upstream, "coder").await.result, Ok(json!("did without")));
    let mut refused_ids = Vec::new();
    for _ in 0..3 {
        let refusal = refusals.recv().await.unwrap();
        assert_eq!(refusal["error"]["code"], -32_601);
        refused_ids.push(refusal["id"].as_u64().unwrap());
    }
    refused_ids.sort_unstable();
    assert_eq!(refused_ids, [901, 902, 903]);
}
