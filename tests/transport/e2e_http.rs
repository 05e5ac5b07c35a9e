//! Streamable HTTP and the guard, by hand.

use parallel_dispatch::transport::{HttpOptions, HttpServer, MESSAGE_BYTES_MAX, TransportError};
use serde_json::{Value, json};

use crate::raw::{
    Server, assert_refused, batch, call, cancel, http, initialize, initialized, modern, within,
    wrong,
};

const MODERN: [(&str, &str); 3] =
    [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", "echo")];

async fn post(server: &Server, session: &str, message: &Value) -> (u16, Value) {
    within(server.post("/mcp", &[("mcp-session-id", session)], message.to_string())).await
}

#[tokio::test]
async fn e2e_wrong_bodies_are_answered_with_json_rpc_errors() {
    let server = Server::start(HttpOptions::default()).await;
    for path in ["/mcp", "/messages?session_id=x"] {
        for (body, id, code, message) in wrong() {
            let (status, answer) = server.post(path, &[], body).await;
            assert_eq!(status, 400);
            assert_refused(&answer, &id, code, message);
        }
        let notification = r#"{"jsonrpc":"2.0","method":"x","params":{"a":1,"a":2}}"#;
        let (status, answer) = server.post(path, &[], notification).await;
        assert_eq!((status, &answer["id"]), (400, &Value::Null));
    }
    server.stop().await;
}

#[tokio::test]
async fn e2e_a_batch_is_answered_in_one_stream() {
    let server = Server::start(HttpOptions::default()).await;
    let session = server.open_as("2025-03-26").await;
    let (status, answer) = post(&server, &session, &batch(false)).await;
    let events = answer.as_str().unwrap().lines().filter_map(|it| it.strip_prefix("data:"));
    let mut answers: Vec<Value> =
        events.filter_map(|it| serde_json::from_str(it.trim()).ok()).collect();
    answers.sort_by_key(|it| it["id"].as_i64());
    let texts = answers.iter().map(|it| &it["result"]["content"][0]["text"]);
    assert_eq!(status, 200);
    assert_eq!(texts.collect::<Vec<_>>(), [&json!("hello"), &Value::Null, &json!("hello")]);
    assert_eq!(answers[1], json!({"jsonrpc": "2.0", "id": 2, "result": {}}));
    let said = json!([initialized(), cancel(77)]);
    assert_eq!(post(&server, &session, &said).await, (202, json!("")), "nothing was asked");
    assert_eq!(post(&server, "no-such-session", &batch(false)).await.0, 404);
    server.stop().await;
}

#[tokio::test]
async fn e2e_nothing_of_a_batch_is_done_that_is_wrong_or_of_another_revision() {
    let server = Server::start(HttpOptions::default()).await;
    let session = server.open_as("2025-03-26").await;
    let (status, answer) = post(&server, &session, &batch(true)).await;
    assert_eq!(status, 400);
    assert_refused(&answer, &json!(3), -32600, "invalid_type: method must be a string");
    let (status, answer) = post(&server, &session, &json!([])).await;
    assert_eq!(status, 400);
    assert_refused(&answer, &Value::Null, -32600, "out_of_range: a batch has 1 to 64");
    let (status, answer) = post(&server, &session, &json!([initialize("2025-03-26")])).await;
    assert_eq!(status, 400);
    assert_refused(&answer, &json!(0), -32600, "invalid_enum: initialize must not");
    let later = [("mcp-session-id", session.as_str()), ("mcp-protocol-version", "2025-06-18")];
    for headers in [&later[..], &later[1..], &MODERN] {
        let (status, answer) = server.post("/mcp", headers, batch(false).to_string()).await;
        assert_eq!(status, 400);
        assert_refused(&answer, &Value::Null, -32600, "invalid_type: batches are not read");
    }
    server.stop().await;
}

#[tokio::test]
async fn e2e_every_route_is_guarded() {
    let server = Server::start(HttpOptions::default()).await;
    for path in ["/mcp", "/sse", "/messages", "/health", "/nowhere"] {
        for (header, code) in [
            ("host: evil.example\r\n", "host_not_allowed"),
            ("host: localhost\r\norigin: https://evil.example\r\n", "origin_not_allowed"),
            ("host: localhost\r\norigin: null\r\n", "origin_not_allowed"),
        ] {
            let answer = server
                .exchange(
                    format!("GET {path} HTTP/1.1\r\n{header}connection: close\r\n\r\n").as_bytes(),
                )
                .await;
            assert!(answer.starts_with("HTTP/1.1 403 "), "{path} {header}: {answer}");
            assert!(answer.contains(&format!(r#"{{"error":{{"code":"{code}","#)), "{answer}");
            assert!(answer.contains("x-content-type-options: nosniff\r\n"), "{answer}");
        }
        let (status, answer) = server.post(path, &[("content-type", "text/plain")], "{}").await;
        assert_eq!((status, &answer["error"]["code"]), (415, &json!("content_type_not_allowed")));
    }
    let health = http().get(server.url("/health")).header("origin", "http://localhost:3000");
    assert_eq!(health.send().await.unwrap().text().await.unwrap(), "well");
    server.stop().await;
}

#[tokio::test]
async fn e2e_a_listed_origin_is_let_in() {
    let allowed_origins = vec!["https://app.example".to_owned()];
    let server = Server::start(HttpOptions { allowed_origins, ..HttpOptions::default() }).await;
    let health = http().get(server.url("/health")).header("origin", "https://app.example");
    assert_eq!(health.send().await.unwrap().status(), 200);
    server.stop().await;
}

#[tokio::test]
async fn e2e_a_body_over_the_cap_is_refused_with_an_answer() {
    let server = Server::start(HttpOptions::default()).await;
    let (status, answer) = server.post("/mcp", &[], vec![b'x'; MESSAGE_BYTES_MAX + 1]).await;
    assert_eq!((status, &answer["error"]["code"]), (413, &json!("request_too_large")));
    let head = "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
    let asks = format!("{head}expect: 100-continue\r\ncontent-length: 99999999\r\n\r\n");
    assert!(server.exchange(asks.as_bytes()).await.starts_with("HTTP/1.1 413 "));
    // Chunked bodies say nothing about their length beforehand.
    let mut chunked = format!("{head}transfer-encoding: chunked\r\nconnection: close\r\n\r\n");
    let chunk = "x".repeat(0x10_0000);
    for part in ["100000\r\n", &chunk, "\r\n"].repeat(5) {
        chunked.push_str(part);
    }
    chunked.push_str("0\r\n\r\n");
    assert!(server.exchange(chunked.as_bytes()).await.starts_with("HTTP/1.1 413 "));
    server.stop().await;
}

#[tokio::test]
async fn e2e_streams_leave_connections_to_whoever_asks() {
    let options = HttpOptions { connections_max: 8, ..HttpOptions::default() };
    let server = Server::start(options).await;
    let session = server.open().await;
    let mut streams = Vec::new();
    for _ in 0..6 {
        let stream = http().get(server.url("/sse")).send().await.unwrap();
        assert_eq!(stream.status(), 200);
        streams.push(stream);
    }
    let refused = http().get(server.url("/sse")).send().await.unwrap();
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));
    assert_eq!(server.post("/nowhere", &[], "{}").await.0, 404, "others are served");
    let (status, answer) = post(&server, &session, &call(1, "echo")).await;
    let answer = answer.as_str().unwrap_or_default();
    assert!(status == 200 && answer.contains("hello"), "what was done is answered: {answer}");
    drop(streams.pop());
    let again = async {
        while http().get(server.url("/sse")).send().await.unwrap().status() != 200 {
            tokio::task::yield_now().await;
        }
    };
    within(again).await;
    drop(streams);
    server.stop().await;
}

#[tokio::test]
async fn e2e_inner_errors_have_json_bodies_too() {
    let server = Server::start(HttpOptions::default()).await;
    let (status, answer) = post(&server, "no-such-session", &call(1, "echo")).await;
    assert_eq!((status, &answer["error"]["code"]), (404, &json!("not_found")));
    let (status, answer) = server.post("/mcp", &[], call(1, "echo").to_string()).await;
    assert_eq!((status, &answer["error"]["code"]), (400, &json!("bad_request")));
    let (status, answer) = server.post("/nowhere", &[], "{}").await;
    assert_eq!((status, &answer["error"]["code"]), (404, &json!("not_found")));
    let (status, answer) = server.post("/health", &[], "{}").await;
    assert_eq!((status, &answer["error"]["code"]), (405, &json!("method_not_allowed")));
    server.stop().await;
}

#[tokio::test]
async fn e2e_a_deleted_session_is_gone() {
    let server = Server::start(HttpOptions::default()).await;
    let session = server.open().await;
    let delete = http().delete(server.url("/mcp")).header("mcp-session-id", &session);
    let again = delete.try_clone().unwrap();
    assert_eq!(delete.send().await.unwrap().status(), 204);
    within(server.strings.dropped.notified()).await;
    assert_eq!(again.send().await.unwrap().status(), 404);
    assert_eq!(post(&server, &session, &call(1, "echo")).await.0, 404);
    server.stop().await;
}

#[tokio::test]
async fn e2e_cancelling_reaches_the_handler_of_a_session() {
    let server = Server::start(HttpOptions::default()).await;
    let session = server.open().await;
    let slow = call(5, "slow");
    let waiting = post(&server, &session, &slow);
    let cancelling = async {
        within(server.strings.started.notified()).await;
        assert_eq!(post(&server, &session, &cancel(5)).await.0, 202);
        within(server.strings.cancelled.notified()).await;
    };
    tokio::join!(waiting, cancelling);
    server.stop().await;
}

#[tokio::test]
async fn e2e_hanging_up_cancels_a_call_without_session() {
    let server = Server::start(HttpOptions::default()).await;
    let headers = [MODERN[0], MODERN[1], ("mcp-name", "slow")];
    let slow = modern(call(5, "slow")).to_string();
    tokio::select! {
        _ = server.post("/mcp", &headers, slow) => panic!("answered"),
        () = server.strings.started.notified() => {}
    }
    within(server.strings.cancelled.notified()).await;
    server.stop().await;
}

#[tokio::test]
async fn e2e_a_call_without_session_is_answered_as_json() {
    let server = Server::start(HttpOptions::default()).await;
    let echo = modern(call(5, "echo")).to_string();
    let (status, answer) = server.post("/mcp", &MODERN, echo).await;
    assert_eq!((status, &answer["result"]["content"][0]["text"]), (200, &json!("hello")));
    server.stop().await;
}

#[tokio::test]
async fn e2e_shutdown_lets_a_running_call_end() {
    let server = Server::start(HttpOptions::default()).await;
    let headers = [MODERN[0], MODERN[1], ("mcp-name", "slow")];
    let session = server.open().await;
    let (slow, old) = (modern(call(5, "slow")).to_string(), call(6, "slow"));
    let calls =
        async { tokio::join!(server.post("/mcp", &headers, slow), post(&server, &session, &old)) };
    let ending = async {
        within(server.strings.started.notified()).await;
        within(server.strings.started.notified()).await;
        server.shutdown.cancel();
        server.strings.release.notify_one();
        server.strings.release.notify_one();
    };
    let (((status, answer), (old_status, old_answer)), ()) = tokio::join!(within(calls), ending);
    assert_eq!((status, &answer["result"]["content"][0]["text"]), (200, &json!("released")));
    assert_eq!(old_status, 200);
    assert!(old_answer.as_str().unwrap().contains("released"), "{old_answer}");
    server.stop().await;
}

#[tokio::test]
async fn e2e_an_address_that_others_reach_is_not_bound_for_anybody() {
    for address in ["0.0.0.0:0", "[::]:0", "[::ffff:10.0.0.1]:0"] {
        let error = HttpServer::bind(address.parse().unwrap(), HttpOptions::default()).await;
        let error = error.unwrap_err();
        assert!(matches!(error, TransportError::NotLoopback { .. }), "{error}");
        assert!(error.to_string().contains("token"), "{error}");
    }
}

#[tokio::test]
async fn e2e_an_address_in_use_is_named() {
    let server = Server::start(HttpOptions::default()).await;
    let error = HttpServer::bind(server.address, HttpOptions::default()).await.unwrap_err();
    assert!(error.to_string().starts_with(&server.address.to_string()), "{error}");
    server.stop().await;
}
