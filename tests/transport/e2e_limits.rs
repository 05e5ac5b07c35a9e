//! The caps and timeouts of the HTTP server, made small.

use std::time::Duration;

use parallel_dispatch::transport::HttpOptions;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::raw::{Server, call, http, initialize, modern, within};

const SHORT: Duration = Duration::from_millis(50);
const HEAD: &str = "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";

#[tokio::test]
async fn e2e_a_head_that_does_not_arrive_is_cut_off() {
    let options = HttpOptions { header_timeout: SHORT, ..HttpOptions::default() };
    let server = Server::start(options).await;
    let answer = within(server.exchange(b"GET /health HTTP/1.1\r\nhost: local")).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408 "), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn e2e_a_body_that_does_not_arrive_is_refused() {
    let options = HttpOptions { body_timeout: SHORT, ..HttpOptions::default() };
    let server = Server::start(options).await;
    let slow = format!("{HEAD}content-length: 10\r\n\r\n{{");
    let answer = within(server.exchange(slow.as_bytes())).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains(r#""code":"body_timeout""#), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn e2e_who_reads_no_answer_is_cut_off() {
    let options = HttpOptions { write_timeout: SHORT, ..HttpOptions::default() };
    let server = Server::start(options).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let mut body = modern(call(5, "echo"));
    body["params"]["arguments"]["text"] = json!("x".repeat(3 << 20));
    let body = body.to_string();
    let request = format!(
        "{HEAD}accept: application/json, text/event-stream\r\nmcp-protocol-version: 2026-07-28\r\n\
         mcp-method: tools/call\r\nmcp-name: echo\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    // The first answers find room in the system's buffers; without an end this would wait for ever.
    let asked = async { while stream.write_all(request.as_bytes()).await.is_ok() {} };
    within(asked).await;
    server.stop().await;
}

#[tokio::test]
async fn e2e_connections_over_the_cap_wait_for_a_place() {
    let options = HttpOptions { connections_max: 1, ..HttpOptions::default() };
    let server = Server::start(options).await;
    let mut first = TcpStream::connect(server.address).await.unwrap();
    let second =
        server.exchange(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    let mut second = Box::pin(second);
    tokio::select! {
        biased;
        answer = &mut second => panic!("{answer}"),
        () = within(ask_often(&mut first)) => drop(first),
    }
    assert!(within(second).await.ends_with("well"));
    server.stop().await;
}

/// Twenty exchanges on one connection: time enough for any other that is served.
async fn ask_often(stream: &mut TcpStream) {
    for _ in 0..20 {
        stream.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"well") {
            assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "closed");
        }
    }
}

#[tokio::test]
async fn e2e_sessions_over_the_cap_are_busy() {
    let options = HttpOptions { sessions_max: 1, ..HttpOptions::default() };
    let server = Server::start(options).await;
    let hello = initialize("2025-11-25").to_string();
    assert_eq!(server.post("/mcp", &[], hello.clone()).await.0, 200);
    let (status, answer) = server.post("/mcp", &[], hello).await;
    assert_eq!((status, &answer["error"]["code"]), (503, &json!("busy")));
    assert!(answer["retry_after_ms"].is_u64(), "{answer}");

    let first = http().get(server.url("/sse")).send().await.unwrap();
    let second = http().get(server.url("/sse")).send().await.unwrap();
    assert_eq!(second.status(), 503);
    assert!(second.headers().contains_key("retry-after"));
    assert_eq!(second.json::<serde_json::Value>().await.unwrap()["error"]["code"], "busy");
    drop(first);
    within(server.strings.dropped.notified()).await;
    server.stop().await;
}

#[tokio::test]
async fn e2e_an_idle_session_ends_and_one_with_a_running_call_does_not() {
    let session_idle = SHORT * 10;
    let options = HttpOptions { session_idle, ..HttpOptions::default() };
    let server = Server::start(options).await;
    let session = server.open().await;
    let headers = [("mcp-session-id", session.as_str())];
    let waiting = server.post("/mcp", &headers, call(5, "slow").to_string());
    let mut waiting = Box::pin(waiting);
    tokio::select! {
        answer = &mut waiting => panic!("{answer:?}"),
        () = within(server.strings.started.notified()) => (),
    }
    // A younger session with nothing to do ends first; the older one must have outlived its time.
    server.open().await;
    tokio::select! {
        answer = &mut waiting => panic!("{answer:?}"),
        () = within(server.strings.dropped.notified()) => server.strings.release.notify_one(),
    }
    let (status, answer) = within(waiting).await;
    assert_eq!(status, 200);
    assert!(answer.as_str().unwrap().contains("released"), "{answer}");
    within(server.strings.dropped.notified()).await;
    server.stop().await;
}

#[tokio::test]
async fn e2e_shutdown_does_not_wait_for_streams_on_which_nothing_runs() {
    let options = HttpOptions { grace: Duration::from_mins(10), ..HttpOptions::default() };
    let server = Server::start(options).await;
    let session = server.open().await;
    let get = |path| {
        let get = http().get(server.url(path)).header("accept", "text/event-stream");
        get.header("mcp-session-id", &session).send()
    };
    let streams = [get("/mcp").await.unwrap(), get("/sse").await.unwrap()];
    assert!(streams.iter().all(|it| it.status() == 200));
    server.stop().await;
}

#[tokio::test]
async fn e2e_shutdown_does_not_wait_for_a_call_for_ever() {
    let options = HttpOptions { grace: SHORT, ..HttpOptions::default() };
    let server = Server::start(options).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let body = modern(call(5, "slow")).to_string();
    let request = format!(
        "{HEAD}accept: application/json, text/event-stream\r\nmcp-protocol-version: 2026-07-28\r\n\
         mcp-method: tools/call\r\nmcp-name: slow\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.unwrap();
    within(server.strings.started.notified()).await;
    let strings = std::sync::Arc::clone(&server.strings);
    server.stop().await;
    within(strings.cancelled.notified()).await;
    let mut rest = Vec::new();
    within(stream.read_to_end(&mut rest)).await.ok();
}
