//! The legacy HTTP+SSE transport, with a client of some lines.

use std::time::Duration;

use parallel_dispatch::transport::HttpOptions;
use serde_json::{Value, json};

use crate::{
    raw::{Server, call, cancel, http, initialize, initialized, modern, within},
    sse::EventStream,
};

struct Listener {
    stream: EventStream,
    address: String,
}

impl Listener {
    async fn start(server: &Server) -> Self {
        let stream = EventStream::open(&http(), server.url("/sse")).await;
        let address = stream.endpoint.clone();
        Self { stream, address }
    }

    async fn open(server: &Server, version: &str) -> Self {
        let mut listener = Self::start(server).await;
        listener.say(server, &initialize(version)).await;
        assert_eq!(listener.hear().await["result"]["protocolVersion"], version);
        listener.say(server, &initialized()).await;
        listener
    }

    async fn say(&self, server: &Server, message: &Value) {
        let (status, answer) = within(server.post(&self.address, &[], message.to_string())).await;
        assert_eq!((status, answer), (202, json!("")));
    }

    async fn hear(&mut self) -> Value {
        let (event, data) = self.event().await.unwrap();
        assert_eq!(event, "message");
        serde_json::from_str(&data).unwrap()
    }

    async fn event(&mut self) -> Option<(String, String)> {
        self.stream.event().await
    }
}

#[tokio::test]
async fn e2e_sse_serves_every_revision_with_initialize() {
    let server = Server::start(HttpOptions::default()).await;
    for version in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        let mut listener = Listener::open(&server, version).await;
        listener.say(&server, &call(1, "echo")).await;
        assert_eq!(listener.hear().await["result"]["content"][0]["text"], "hello");
    }
    server.stop().await;
}

#[tokio::test]
async fn e2e_discovery_gets_an_error_and_initialize_follows() {
    let server = Server::start(HttpOptions::default()).await;
    let mut listener = Listener::start(&server).await;
    let probe = modern(json!({"jsonrpc": "2.0", "id": 0, "method": "server/discover"}));
    listener.say(&server, &probe).await;
    assert_eq!(listener.hear().await["error"]["code"], -32601);
    listener.say(&server, &cancel(0)).await;
    listener.say(&server, &modern(call(1, "echo"))).await;
    assert_eq!(listener.hear().await["error"]["code"], -32600);
    listener.say(&server, &initialize("2025-11-25")).await;
    assert_eq!(listener.hear().await["result"]["protocolVersion"], "2025-11-25");
    server.stop().await;
}

#[tokio::test]
async fn e2e_sse_cancelling_reaches_the_handler() {
    let server = Server::start(HttpOptions::default()).await;
    let mut listener = Listener::open(&server, "2025-11-25").await;
    let mut slow = call(5, "slow");
    slow["params"]["_meta"] = json!({"progressToken": 3});
    listener.say(&server, &slow).await;
    assert_eq!(listener.hear().await["params"]["progressToken"], 3);
    listener.say(&server, &cancel(5)).await;
    within(server.strings.cancelled.notified()).await;
    listener.say(&server, &call(6, "echo")).await;
    assert_eq!(listener.hear().await["id"], 6);
    server.stop().await;
}

#[tokio::test]
async fn e2e_a_session_ends_with_its_stream() {
    let server = Server::start(HttpOptions::default()).await;
    let listener = Listener::open(&server, "2025-11-25").await;
    listener.say(&server, &call(5, "slow")).await;
    within(server.strings.started.notified()).await;
    let address = listener.address.clone();
    drop(listener);
    within(server.strings.cancelled.notified()).await;
    let (status, answer) = server.post(&address, &[], call(6, "echo").to_string()).await;
    assert_eq!((status, &answer["error"]["code"]), (404, &json!("unknown_session")));
    server.stop().await;
}

#[tokio::test]
async fn e2e_a_message_must_name_an_open_session() {
    let server = Server::start(HttpOptions::default()).await;
    let ping = call(1, "echo").to_string();
    let (status, answer) = server.post("/messages", &[], ping.clone()).await;
    assert_eq!((status, &answer["error"]["code"]), (400, &json!("missing_session")));
    let (status, _) = server.post("/messages?session_id=", &[], ping.clone()).await;
    assert_eq!(status, 400);
    let (status, _) = server.post("/messages?session_id=0", &[], ping.clone()).await;
    assert_eq!(status, 404);
    let one = Listener::start(&server).await;
    let (status, _) = server.post("/messages", &[], ping).await;
    assert_eq!(status, 400, "the only open session is not meant unless it is named");
    let id = one.address.strip_prefix("/messages?session_id=").unwrap();
    assert_eq!(id.len(), 32);
    assert_ne!(Listener::start(&server).await.address, one.address);
    server.stop().await;
}

#[tokio::test]
async fn e2e_an_idle_stream_says_that_it_is_alive() {
    let keep_alive = Duration::from_millis(10);
    let server = Server::start(HttpOptions { keep_alive, ..HttpOptions::default() }).await;
    let mut listener = Listener::start(&server).await;
    assert_eq!(listener.event().await.unwrap(), (String::new(), String::new()));
    server.stop().await;
}

#[tokio::test]
async fn e2e_who_does_not_listen_is_not_heard() {
    let post_timeout = Duration::from_millis(50);
    let server = Server::start(HttpOptions { post_timeout, ..HttpOptions::default() }).await;
    let listener = Listener::open(&server, "2025-11-25").await;
    let mut echo = call(5, "echo");
    echo["params"]["arguments"]["text"] = json!("x".repeat(1 << 17));
    let echo = echo.to_string();
    // The stream, the sockets and the queues take some; then there is no room.
    let mut n_taken = 0;
    let (status, answer) = loop {
        let (status, answer) = within(server.post(&listener.address, &[], echo.clone())).await;
        if status != 202 {
            break (status, answer);
        }
        n_taken += 1;
        assert!(n_taken < 2_000, "nothing is ever refused");
    };
    assert_eq!((status, &answer["error"]["code"]), (503, &json!("busy")));
    drop(listener);
    server.stop().await;
}

#[tokio::test]
async fn e2e_shutdown_answers_what_runs_and_ends_the_stream() {
    let server = Server::start(HttpOptions::default()).await;
    let mut listener = Listener::open(&server, "2025-11-25").await;
    listener.say(&server, &call(5, "slow")).await;
    within(server.strings.started.notified()).await;
    server.shutdown.cancel();
    server.strings.release.notify_one();
    assert_eq!(listener.hear().await["result"]["content"][0]["text"], "released");
    assert_eq!(listener.event().await, None);
    server.stop().await;
}
