//! The client of the older HTTP+SSE transport against servers that behave and that do not.

use std::{sync::Arc, time::Duration};

use expect_test::{Expect, expect};
use rmcp::model::CallToolResult;
use serde_json::json;
use tokio::sync::Barrier;

use super::{
    testing::{
        Reply, Request, Rogue, SseHost, TestServer, Then, call, http_settings, sse_upstream,
        upstream,
    },
    *,
};
use crate::model::FailureCode;

/// Calls a server that says this into its stream.
async fn check(say: impl Fn(&Request) -> Reply + Send + Sync + 'static, expected: Expect) {
    let rogue = Rogue::on_stream(move |request| (Some(say(request)), None)).await;
    check_fault(&rogue, &expected).await;
}

/// Calls a server that answers the POST itself like this.
async fn check_post(answer: impl Fn() -> Reply + Send + Sync + 'static, expected: Expect) {
    let rogue = Rogue::on_stream(move |_| (None, Some(answer()))).await;
    check_fault(&rogue, &expected).await;
}

async fn check_fault(rogue: &Rogue, expected: &Expect) {
    let error = call(&sse_upstream(&rogue.url), "coder").await.result.unwrap_err();
    let prefix = format!("upstream \"archon\" ({}): ", rogue.url);
    let message = error.message.strip_prefix(&prefix).expect("errors name the upstream");
    expected.assert_eq(&format!("{}: {message}", error.kind.as_str()));
}

fn event(text: &str) -> Reply {
    Reply::raw(&format!("data: {text}\n\n"), Then::Go)
}

#[tokio::test]
async fn e2e_64_calls_run_at_once_over_the_older_transport() {
    let all = Arc::new(Barrier::new(64));
    let server = TestServer::new(&["a", "b"], move |_| {
        let all = Arc::clone(&all);
        async move {
            all.wait().await;
            Ok(CallToolResult::structured(json!({ "ok": true })))
        }
    });
    let host = SseHost::start(server).await;
    let upstream = sse_upstream(&host.url);
    assert_eq!(upstream.tools().await.unwrap().len(), 2);
    let calls = (0..64).map(|_| call(&upstream, "a"));
    for outcome in futures::future::join_all(calls).await {
        assert_eq!(outcome.result, Ok(json!({ "ok": true })));
    }
    upstream.close().await;
}

#[tokio::test]
async fn e2e_a_restarted_server_of_the_older_transport_is_called_again() {
    let host = SseHost::start(TestServer::echo(&["coder"])).await;
    let (url, upstream) = (host.url.clone(), sse_upstream(&host.url));
    assert_eq!(call(&upstream, "coder").await.result.unwrap()["tool"], "coder");
    host.stop().await;
    let address = url.trim_start_matches("http://").trim_end_matches("/sse");
    let _host = SseHost::start_at(TestServer::echo(&["coder"]), address).await;
    assert_eq!(call(&upstream, "coder").await.result.unwrap()["tool"], "coder");
}

#[tokio::test]
async fn e2e_a_session_that_the_server_forgot_is_opened_again_and_the_call_sent_once_more() {
    for status in ["400 Bad Request", "404 Not Found"] {
        let is_first = std::sync::atomic::AtomicBool::new(true);
        let rogue = Rogue::on_stream(move |request| {
            let was_first = is_first.swap(false, std::sync::atomic::Ordering::Relaxed);
            if was_first {
                (None, Some(Reply::http(status, "text/plain", "gone")))
            } else {
                (request.usual_event(), None)
            }
        })
        .await;
        let upstream = sse_upstream(&rogue.url);
        assert_eq!(call(&upstream, "coder").await.result, Ok(json!("fine")));
        assert_eq!((rogue.count("initialize"), rogue.count("tools/call")), (2, 2));
    }
}

#[tokio::test]
async fn e2e_broken_streams_have_typed_causes() {
    check(
        |_| Reply::raw("", Then::Close),
        expect!["upstream_unavailable: the connection broke: the event stream ended"],
    )
    .await;
    check(
        |_| Reply::raw("data: {\"id\"", Then::Close),
        expect!["upstream_unavailable: the connection broke: the event stream ended"],
    )
    .await;
    check(
        |it| event(&format!("{{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":{{", it.body["id"])),
        expect![[r#"upstream_protocol: it does not speak MCP: its answer is "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{""#]],
    )
    .await;
}

#[tokio::test]
async fn e2e_refused_posts_have_typed_causes() {
    check_post(
        || Reply::http("500 Oops", "text/plain", "x"),
        expect!["upstream_unavailable: it answered HTTP 500"],
    )
    .await;
    check_post(
        || Reply::http("503 Busy", "text/plain\r\nretry-after: 60", "x"),
        expect!["rate_limited: it answered HTTP 503, retry after 60"],
    )
    .await;
    check_post(
        || Reply::http("429 Slow", "text/plain\r\nretry-after: 7", "x"),
        expect!["rate_limited: it asks to come back later, retry after 7"],
    )
    .await;
    check_post(
        || Reply::http("307 There", "text/plain\r\nlocation: http://127.0.0.1:1/", ""),
        expect![
            "upstream_protocol: it does not speak MCP: it redirects (HTTP 307); set the final URL"
        ],
    )
    .await;
    check_post(
        || Reply::raw("", Then::Close),
        expect![
            "upstream_unavailable: the connection broke: connection closed before message completed"
        ],
    )
    .await;
}

#[tokio::test]
async fn e2e_what_is_no_event_stream_is_no_session() {
    let check_opening = async |reply: fn() -> Reply, expected: Expect| {
        let rogue = Rogue::start(move |_| Some(reply())).await;
        check_fault(&rogue, &expected).await;
    };
    check_opening(
        || Reply::http("404 Not Found", "text/plain", "no"),
        expect![[r#"upstream_protocol: it does not speak MCP: it answered HTTP 404: "no""#]],
    )
    .await;
    check_opening(|| Reply::http("200 OK", "text/html", "<html>"), expect![[r#"upstream_protocol: it does not speak MCP: its answer is of type "text/html", not an event stream"#]]).await;
    check_opening(|| Reply::events("data: {}\n\n", Then::Hang), expect!["upstream_protocol: it does not speak MCP: the first event of its stream does not say where to post"]).await;
    check_opening(
        || Reply::events("event: endpoint\ndata: http://127.0.0.1:1/m\n\n", Then::Hang),
        expect![[r#"upstream_protocol: it does not speak MCP: it asks to post to another origin: "http://127.0.0.1:1/m""#]],
    )
    .await;
}

#[tokio::test]
async fn e2e_what_hangs_is_left_at_the_deadline() {
    let call_timeout = Duration::from_millis(200);
    let settings = |url: &str| UpstreamSettings {
        transport: UpstreamTransport::sse(url),
        call_timeout,
        connect_timeout: call_timeout,
        ..http_settings(url)
    };
    let silent = Rogue::on_stream(|_| (None, None)).await;
    let wrong_id = json!({ "jsonrpc": "2.0", "id": 4711, "result": {} }).to_string();
    let wrong = Rogue::on_stream(move |_| (Some(event(&wrong_id)), None)).await;
    let post = Rogue::on_stream(|_| (None, Some(Reply::raw("", Then::Hang)))).await;
    let stream = Rogue::start(|_| Some(Reply::raw("", Then::Hang))).await;
    let endpoint = Rogue::start(|_| Some(Reply::events(": hi\n\n", Then::Hang))).await;
    for rogue in [silent, wrong, post, stream, endpoint] {
        let error = call(&upstream(settings(&rogue.url)), "coder").await.result.unwrap_err();
        assert_eq!(error.kind, FailureCode::Timeout, "{error}");
    }
}

#[tokio::test]
async fn e2e_floods_of_events_are_cut_off() {
    let say = |bytes: &'static [u8]| {
        move |_: &Request| (Some(Reply::raw("", Then::Repeat(bytes.repeat(5_000)))), None)
    };
    for flood in [b": still here\n\n".as_slice(), b"data: x\n\n", b"data: x\n", b"x"] {
        let rogue = Rogue::on_stream(say(flood)).await;
        let transport = UpstreamTransport::sse(&rogue.url);
        let settings = UpstreamSettings {
            transport,
            response_bytes_max: 1 << 16,
            ..http_settings(&rogue.url)
        };
        let error = call(&upstream(settings), "coder").await.result.unwrap_err();
        assert_eq!(error.kind, FailureCode::UpstreamLimit, "{error}");
    }
}

#[tokio::test]
async fn e2e_an_event_that_is_too_large_fails_its_call_alone() {
    let rogue = Rogue::on_stream(|request| {
        if request.body["params"]["name"] == "large" {
            let start =
                format!("{{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":\"", request.body["id"]);
            let large = event(&format!("{start}{}\"}}", "x".repeat(100_000_000)));
            return (Some(large), None);
        }
        (request.usual_event(), None)
    })
    .await;
    let upstream = sse_upstream(&rogue.url);
    let (large, small) = tokio::join!(call(&upstream, "large"), call(&upstream, "coder"));
    assert_eq!(large.result.unwrap_err().kind, FailureCode::UpstreamLimit);
    assert_eq!(small.result, Ok(json!("fine")));
    assert_eq!(rogue.count("initialize"), 1);
}
