//! What the settings of an upstream grant: secrets, tools, places, retries, and its own state.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rmcp::model::CallToolResult;
use serde_json::json;
use tokio::sync::{Barrier, watch};

use super::{
    testing::{
        HttpHost, Reply, Rogue, StillClock, TestServer, call, http_settings, http_upstream,
        memory_upstream, upstream,
    },
    *,
};
use crate::model::{FailureCode, ToolsState, UpstreamState};

fn in_memory(server: TestServer) -> UpstreamSettings {
    let transport = UpstreamTransport::InMemory { connect: server.connector() };
    UpstreamSettings { transport, ..http_settings("") }
}

fn retrying(url: &str, attempts_max: u32) -> Arc<Upstream> {
    let retry = Retry { attempts_max, backoff: Duration::from_millis(10) };
    upstream(UpstreamSettings { retry, ..http_settings(url) })
}

#[tokio::test]
async fn e2e_headers_are_read_at_each_connection_and_sent_with_each_request() {
    let n_read = Arc::new(AtomicUsize::new(0));
    let reads = Arc::clone(&n_read);
    let headers = Supply::new(["X-Key".to_owned()], move || {
        let n = reads.fetch_add(1, Ordering::Relaxed);
        Ok([("X-Key".to_owned(), format!("s3cret-{n}"))].into())
    });
    let rogue = Rogue::start(|_| None).await;
    let transport = UpstreamTransport::Http { url: rogue.url.clone(), headers };
    let upstream = upstream(UpstreamSettings { transport, ..http_settings("") });
    assert!(!format!("{upstream:?}").contains("s3cret"));
    for _ in 0..2 {
        assert_eq!(call(&upstream, "coder").await.result, Ok(json!("fine")));
    }
    assert_eq!(n_read.load(Ordering::Relaxed), 1);
    let seen = rogue.seen.lock();
    assert!(seen.len() >= 4 && seen.iter().all(|it| it.head.contains("x-key: s3cret-0\r\n")));
}

#[tokio::test]
async fn a_secret_that_cannot_be_read_fails_the_call_and_is_named() {
    let missing = "the environment variable TOKEN is not set".to_owned();
    let headers = Supply::new(["X-Key".to_owned()], move || Err(missing.clone()));
    let transport = UpstreamTransport::Http { url: "http://127.0.0.1:1/mcp".to_owned(), headers };
    let upstream = upstream(UpstreamSettings { transport, ..http_settings("") });
    let error = call(&upstream, "coder").await.result.unwrap_err();
    assert_eq!(error.kind, FailureCode::UpstreamUnavailable);
    assert!(error.message.ends_with("cannot be read: the environment variable TOKEN is not set"));
}

#[tokio::test]
async fn a_tool_that_is_not_allowed_is_neither_listed_nor_called() {
    let server = TestServer::echo(&["rag_search", "delete_all", "coder"]);
    let patterns = ["rag_*", "coder"].map(str::to_owned);
    let tools_allow = ToolFilter::new(&patterns).unwrap();
    let upstream = upstream(UpstreamSettings { tools_allow, ..in_memory(server) });
    let tools = upstream.tools().await.unwrap();
    let names: Vec<_> = tools.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["rag_search", "coder"]);
    assert!(call(&upstream, "coder").await.result.is_ok());
    let outcome = call(&upstream, "delete_all").await;
    let error = outcome.result.unwrap_err();
    assert_eq!(error.kind, FailureCode::UpstreamProtocol);
    assert!(error.message.contains("do not allow the tool \"delete_all\""), "{error}");
    assert!(!outcome.record.ok);
}

#[tokio::test]
async fn calls_beyond_the_places_wait_and_lists_do_not() {
    let (running, most) = (Arc::new(watch::Sender::new(0)), Arc::new(AtomicUsize::new(0)));
    let (pair, gate) = (Arc::new(Barrier::new(2)), Arc::new(watch::Sender::new(false)));
    let seen = (Arc::clone(&running), Arc::clone(&most), Arc::clone(&gate));
    let server = TestServer::new(&["coder"], move |_| {
        let ((running, most, gate), pair) = (seen.clone(), Arc::clone(&pair));
        async move {
            running.send_modify(|it| *it += 1);
            most.fetch_max(*running.borrow(), Ordering::SeqCst);
            // Nobody goes on alone.
            pair.wait().await;
            gate.subscribe().wait_for(|it| *it).await.unwrap();
            running.send_modify(|it| *it -= 1);
            Ok(CallToolResult::structured(json!({})))
        }
    });
    let upstream = upstream(UpstreamSettings { max_concurrent: 2, ..in_memory(server) });
    let calls = futures::future::join_all((0..6).map(|_| call(&upstream, "coder")));
    let list = async {
        running.subscribe().wait_for(|it| *it == 2).await.unwrap();
        upstream.tools().await.unwrap();
        gate.send_replace(true);
    };
    let (outcomes, ()) = tokio::join!(calls, list);
    assert!(outcomes.iter().all(|it| it.result.is_ok()));
    assert_eq!(most.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn e2e_a_call_that_was_turned_away_for_a_moment_is_sent_again() {
    for status in ["503 Service Unavailable", "429 Too Many Requests"] {
        let n_seen = AtomicUsize::new(0);
        let rogue = Rogue::start(move |request| {
            let is_early =
                request.method() == "tools/call" && n_seen.fetch_add(1, Ordering::Relaxed) < 2;
            is_early.then(|| Reply::http(status, "text/plain\r\nretry-after: 0", "busy"))
        })
        .await;
        let failure = call(&retrying(&rogue.url, 1), "coder").await.result.unwrap_err();
        assert_eq!(failure.kind, FailureCode::RateLimited);
        assert_eq!(rogue.count("tools/call"), 2);
        assert_eq!(call(&retrying(&rogue.url, 3), "coder").await.result, Ok(json!("fine")));
    }
}

#[tokio::test]
async fn e2e_a_call_that_may_have_run_is_not_sent_again() {
    for reply in [
        || Reply::http("500 Oops", "text/plain", ""),
        || Reply::http("503 Busy", "text/plain", ""),
        || Reply::raw("", testing::Then::Close),
        || Reply::http("429 Later", "text/plain\r\nretry-after: 60", ""),
    ] {
        let rogue = Rogue::at_calls(move |_| reply()).await;
        assert!(call(&retrying(&rogue.url, 9), "coder").await.result.is_err());
        assert_eq!(rogue.count("tools/call"), 1);
    }
}

#[tokio::test]
async fn e2e_a_server_that_starts_meanwhile_is_reached() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let upstream = retrying(&format!("http://{address}/mcp"), 10);
    let error = http_upstream(&format!("http://{address}/mcp")).tools().await.unwrap_err();
    assert_eq!(error.kind, FailureCode::UpstreamUnavailable);
    let calling = call(&upstream, "coder");
    let (outcome, _host) =
        tokio::join!(calling, HttpHost::start_at(TestServer::echo(&["coder"]), &address));
    assert_eq!(outcome.result.unwrap()["tool"], "coder");
}

#[tokio::test]
async fn e2e_a_call_without_a_session_that_the_server_wants_by_now_is_sent_in_one() {
    let is_stateful = AtomicUsize::new(0);
    let rogue = Rogue::start(move |request| match request.method() {
        "initialize" if is_stateful.fetch_add(1, Ordering::Relaxed) == 0 => {
            Some(request.answer(&json!({
                "protocolVersion": "2025-06-18", "capabilities": {},
                "serverInfo": { "name": "rogue", "version": "1" }
            })))
        }
        "tools/call" if !request.head.contains("mcp-session-id: ") => {
            let kind = "application/json\r\nmcp-session-id: fresh";
            let body = r#"{"jsonrpc":"2.0","id":"server-error","error":{"code":-32600,"message":"Bad Request: Missing session ID"}}"#;
            Some(Reply::http("400 Bad Request", kind, body))
        }
        _ => None,
    })
    .await;
    assert_eq!(call(&http_upstream(&rogue.url), "coder").await.result, Ok(json!("fine")));
    assert_eq!((rogue.count("initialize"), rogue.count("tools/call")), (2, 2));
}

#[tokio::test]
async fn e2e_a_400_without_a_content_type_is_a_forgotten_session() {
    let n_opened = AtomicUsize::new(0);
    let rogue = Rogue::start(move |request| match request.method() {
        "initialize" => {
            let n = n_opened.fetch_add(1, Ordering::Relaxed);
            Some(request.open_session(&format!("session-{n}")))
        }
        "tools/call" if request.head.contains("mcp-session-id: session-0") => Some(Reply::raw(
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\nno",
            testing::Then::Go,
        )),
        _ => None,
    })
    .await;
    assert_eq!(call(&http_upstream(&rogue.url), "coder").await.result, Ok(json!("fine")));
    assert_eq!((rogue.count("initialize"), rogue.count("tools/call")), (2, 2));
}

#[tokio::test]
async fn tools_that_become_others_are_noted_and_read_again() {
    let server = TestServer::new(&["coder"], |call| async move {
        call.peer.notify_tool_list_changed().await.unwrap();
        Ok(CallToolResult::structured(json!({})))
    });
    let upstream = memory_upstream(server.clone(), Era::Legacy);
    assert_eq!(upstream.status().tools, ToolsState::Unknown);
    assert_eq!(upstream.tools().await.unwrap().len(), 1);
    assert_eq!(upstream.status().tools, ToolsState::Pinned);
    server.set_tools(&["coder", "another"]);
    assert_eq!(upstream.tools().await.unwrap().len(), 1, "nobody said anything yet");
    call(&upstream, "coder").await.result.unwrap();
    assert_eq!(upstream.tools().await.unwrap().len(), 2);
    let status = upstream.status();
    assert_eq!((status.n_tools, status.tools), (Some(2), ToolsState::Changed));
}

#[tokio::test(start_paused = true)]
async fn tools_are_looked_at_again_now_and_then() {
    let server = TestServer::echo(&["coder"]);
    let upstream = memory_upstream(server.clone(), Era::Legacy);
    upstream.tools().await.unwrap();
    server.set_tools(&["reviewer"]);
    tokio::time::advance(Duration::from_secs(299)).await;
    assert_eq!(upstream.tools().await.unwrap()[0].name, "coder");
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(upstream.tools().await.unwrap()[0].name, "reviewer");
}

#[tokio::test]
async fn e2e_its_state_is_what_calls_have_met() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let clock = Arc::new(StillClock::default());
    let breaker = BreakerSettings { failures_max: 2, pause: Duration::from_secs(3) };
    let settings = http_settings(&format!("http://{address}/mcp"));
    let shared = Arc::clone(&clock) as Arc<dyn crate::ports::Clock>;
    let upstream = Upstream::new(UpstreamSettings { breaker, ..settings }, shared);
    let state = || (upstream.status().state, upstream.status().down_since.map(|it| it.0.0));
    assert_eq!(state(), (UpstreamState::Idle, None));
    clock.advance(7);
    call(&upstream, "coder").await.result.unwrap_err();
    assert_eq!(state(), (UpstreamState::Down, Some(7)));
    clock.advance(1);
    call(&upstream, "coder").await.result.unwrap_err();
    assert_eq!(state(), (UpstreamState::BreakerOpen, Some(7)));
    let _host = HttpHost::start_at(TestServer::echo(&["coder"]), &address).await;
    clock.advance(2_999);
    let error = call(&upstream, "coder").await.result.unwrap_err();
    assert_eq!((error.kind, error.retry_after_ms), (FailureCode::CircuitOpen, Some(1)));
    clock.advance(1);
    call(&upstream, "coder").await.result.unwrap();
    assert_eq!(state(), (UpstreamState::Connected, None));
}

#[tokio::test]
async fn e2e_a_list_that_is_known_already_says_nothing_of_how_the_server_is() {
    let rogue = Rogue::start(|request| match request.method() {
        "tools/list" => Some(request.answer(&json!({ "tools": [] }))),
        "tools/call" => Some(Reply::http("500 Oops", "text/plain", "")),
        _ => None,
    })
    .await;
    let clock = Arc::new(StillClock::default());
    let shared = Arc::clone(&clock) as Arc<dyn crate::ports::Clock>;
    let upstream = Upstream::new(http_settings(&rogue.url), shared);
    let failed = async || {
        let error = call(&upstream, "coder").await.result.unwrap_err();
        (error.kind, error.retry_after_ms)
    };
    for _ in 0..5 {
        upstream.tools().await.unwrap();
        assert_eq!(failed().await, (FailureCode::UpstreamUnavailable, None));
    }
    assert_eq!(upstream.tools().await.unwrap_err().kind, FailureCode::CircuitOpen);
    assert_eq!(rogue.count("tools/list"), 1);

    clock.advance(1_000);
    upstream.tools().await.unwrap();
    assert_eq!(upstream.status().state, UpstreamState::BreakerOpen, "nothing was tried");
    assert_eq!(failed().await, (FailureCode::UpstreamUnavailable, None));
    assert_eq!(failed().await, (FailureCode::CircuitOpen, Some(2_000)));
}
