//! Bytes and messages written by hand, for what no client would send.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use parallel_dispatch::transport::{HttpOptions, HttpServer, TransportError};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::toy::{Strings, Toy};

/// A running HTTP server.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    client: reqwest::Client,
    pub(crate) strings: Arc<Strings>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) serving: JoinHandle<Result<(), TransportError>>,
}

impl Server {
    pub(crate) async fn start(options: HttpOptions) -> Self {
        let server = HttpServer::bind("127.0.0.1:0".parse().unwrap(), options).await.unwrap();
        let address = server.local_addr();
        let (strings, shutdown) = (Arc::<Strings>::default(), CancellationToken::new());
        let (theirs, token) = (Arc::clone(&strings), shutdown.clone());
        let extra = Router::new().route("/health", axum::routing::get(|| async { "well" }));
        let serving = tokio::spawn(async move {
            server.serve(move || Toy(Arc::clone(&theirs)), extra, token).await
        });
        Self { address, client: http(), strings, shutdown, serving }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Sends bytes on a connection of their own and reads until the server closes it.
    pub(crate) async fn exchange(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    }

    /// Posts `body` as JSON with further headers; answers status and JSON body.
    pub(crate) async fn post(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> (u16, Value) {
        let request = self.client.post(self.url(path)).body(body);
        let request = request.header("accept", "application/json, text/event-stream");
        let mut given = reqwest::header::HeaderMap::new();
        given.insert("content-type", "application/json".parse().unwrap());
        for (name, value) in headers {
            let name: reqwest::header::HeaderName = name.parse().unwrap();
            given.insert(name, value.parse().unwrap());
        }
        let response = request.headers(given).send().await.unwrap();
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// Opens a session on `/mcp` and answers its id.
    pub(crate) async fn open(&self) -> String {
        self.open_as("2025-11-25").await
    }

    pub(crate) async fn open_as(&self, version: &str) -> String {
        let request = self.client.post(self.url("/mcp"));
        let request = request.header("content-type", "application/json");
        let request = request.header("accept", "application/json, text/event-stream");
        let response = request.body(initialize(version).to_string()).send().await.unwrap();
        assert_eq!(response.status(), 200);
        let session = response.headers()["mcp-session-id"].to_str().unwrap().to_owned();
        let headers = [("mcp-session-id", session.as_str())];
        assert_eq!(self.post("/mcp", &headers, initialized().to_string()).await.0, 202);
        session
    }

    /// Stops the server and says whether it ended well.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        within(self.serving).await.unwrap().unwrap();
    }
}

/// A client without surprises.
pub(crate) fn http() -> reqwest::Client {
    // A second provider is refused, which is as good.
    rustls::crypto::ring::default_provider().install_default().ok();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// Fails a test that would hang.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(20), future).await.unwrap()
}

pub(crate) fn initialize(version: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": version,
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    }})
}

pub(crate) fn initialized() -> Value {
    json!({"jsonrpc": "2.0", "method": "notifications/initialized"})
}

pub(crate) fn call(id: i64, tool: &str) -> Value {
    let params = json!({"name": tool, "arguments": {"text": "hello"}});
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params})
}

/// A batch of three messages that are answered, one of them by a refusal if there is `bad`, and
/// one that is not.
pub(crate) fn batch(bad: bool) -> Value {
    let last = if bad { json!({"jsonrpc": "2.0", "id": 3, "method": 5}) } else { call(3, "echo") };
    json!([call(1, "echo"), initialized(), {"jsonrpc": "2.0", "id": 2, "method": "ping"}, last])
}

pub(crate) fn cancel(id: i64) -> Value {
    let params = json!({"requestId": id});
    json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})
}

/// The same request in the revision without sessions.
pub(crate) fn modern(mut request: Value) -> Value {
    request["params"]["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
    });
    request
}

/// Messages that are wrong, and what must be answered: id, code, the start of the message.
pub(crate) fn wrong() -> Vec<(String, Value, i64, &'static str)> {
    let deep = "[".repeat(100) + &"]".repeat(100);
    let deep = format!(r#"{{"jsonrpc":"2.0","method":"ping","params":{{"a":{deep}}},"id":7}}"#);
    let of_7 = |params: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{params}}}"#)
    };
    vec![
        (
            of_7(r#"{"name":"echo","name":"slow"}"#),
            json!(7),
            -32700,
            "parse_error: the key \"name\"",
        ),
        (of_7(r#"{"name":"\ud800"}"#), json!(7), -32700, "parse_error: "),
        (of_7(r#"{"name":NaN}"#), json!(7), -32700, "parse_error: "),
        (deep, json!(7), -32700, "too_deep: "),
        ("hello".to_owned(), Value::Null, -32700, "parse_error: "),
        (format!("[{}]", of_7("{}")), Value::Null, -32600, "invalid_type: batches are not read"),
        (r#"{"id":7,"method":"ping"}"#.to_owned(), json!(7), -32600, "missing_field: jsonrpc"),
        (
            r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#.to_owned(),
            Value::Null,
            -32600,
            "invalid_type: id must",
        ),
        (of_7(r#"{"name":5}"#), json!(7), -32602, "invalid_type: the params of tools/call"),
    ]
}

#[track_caller]
pub(crate) fn assert_refused(answer: &Value, id: &Value, code: i64, message: &str) {
    let said = answer["error"]["message"].as_str().unwrap_or_default();
    assert!(said.starts_with(message), "{answer} should say {message}");
    assert!(said.contains("(hint: "), "{answer}");
    assert_eq!((&answer["id"], &answer["error"]["code"]), (id, &json!(code)), "{answer}");
    let body = &answer["error"]["data"];
    assert!(message.starts_with(body["error"]["code"].as_str().unwrap()), "{answer}");
    assert_eq!(body["error"], body["errors"][0]);
}
