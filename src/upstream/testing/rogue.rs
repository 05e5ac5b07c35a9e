//! An HTTP server that answers as a test tells it, byte by byte.

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
};

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) head: String,
    pub(crate) body: Value,
}

/// What to answer.
pub(crate) struct Reply {
    pub(crate) bytes: Vec<u8>,
    pub(crate) then: Then,
}

/// What to do after the answer's bytes.
pub(crate) enum Then {
    /// Wait for the next request.
    Go,
    /// Close the connection.
    Close,
    /// Say nothing more.
    Hang,
    /// Send these bytes again and again.
    Repeat(Vec<u8>),
    /// Send what comes, until that ends.
    Follow(mpsc::UnboundedReceiver<Reply>),
}

type Script = dyn Fn(&Request) -> Option<Reply> + Send + Sync;

/// The server. What its script does not answer, it answers as a server with one session would.
pub(crate) struct Rogue {
    pub(crate) url: String,
    pub(crate) seen: Arc<Mutex<Vec<Request>>>,
    _connections: JoinSet<()>,
}

impl Rogue {
    pub(crate) async fn start(
        script: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let seen = Arc::<Mutex<Vec<Request>>>::default();
        let (notes, script) = (Arc::clone(&seen), Arc::new(script) as Arc<Script>);
        let mut connections = JoinSet::new();
        connections.spawn(async move {
            let mut open = JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                open.spawn(converse(socket, Arc::clone(&script), Arc::clone(&notes)));
            }
        });
        Self { url, seen, _connections: connections }
    }

    /// Misbehaves at `tools/call` only, over HTTP+SSE: what `say` gives goes into the stream; a
    /// call that it says nothing to is answered at once by its second part.
    pub(crate) async fn on_stream(
        say: impl Fn(&Request) -> (Option<Reply>, Option<Reply>) + Send + Sync + 'static,
    ) -> Self {
        let stream = Mutex::new(None::<mpsc::UnboundedSender<Reply>>);
        let rogue = Self::start(move |request| {
            if request.head.starts_with("get ") {
                let (to_stream, said) = mpsc::unbounded_channel();
                *stream.lock() = Some(to_stream);
                let hello = "event: endpoint\ndata: /messages?session=1\n\n";
                return Some(Reply::events(hello, Then::Follow(said)));
            }
            let (said, answer) = match request.method() {
                "tools/call" => say(request),
                _ => (request.usual_event(), None),
            };
            let (said, mut stream) = (said.into_iter(), stream.lock());
            for reply in said {
                let is_last = matches!(reply.then, Then::Close);
                let _gone = stream.as_ref().map(|it| it.send(reply));
                if is_last {
                    *stream = None;
                }
            }
            Some(answer.unwrap_or_else(|| Reply::http("202 Accepted", "text/plain", "")))
        })
        .await;
        Self { url: rogue.url.replace("/mcp", "/sse"), ..rogue }
    }

    /// Misbehaves at `tools/call` only.
    pub(crate) async fn at_calls(
        reply: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::start(move |request| (request.method() == "tools/call").then(|| reply(request))).await
    }

    /// How often `method` was asked for.
    pub(crate) fn count(&self, method: &str) -> usize {
        self.seen.lock().iter().filter(|it| it.method() == method).count()
    }
}

impl Request {
    pub(crate) fn method(&self) -> &str {
        self.body["method"].as_str().unwrap_or_default()
    }

    /// A proper answer to this request.
    pub(crate) fn answer(&self, result: &Value) -> Reply {
        Reply::json(&json!({ "jsonrpc": "2.0", "id": self.body["id"], "result": result }))
    }

    /// The answer to `initialize` that opens a session.
    pub(crate) fn open_session(&self, session: &str) -> Reply {
        let result = json!({
            "protocolVersion": "2025-06-18", "capabilities": { "tools": {} },
            "serverInfo": { "name": "rogue", "version": "1" }
        });
        let body = json!({ "jsonrpc": "2.0", "id": self.body["id"], "result": result });
        let kind = format!("application/json\r\nmcp-session-id: {session}");
        Reply::http("200 OK", &kind, &body.to_string())
    }

    /// The usual answer as an event.
    pub(crate) fn usual_event(&self) -> Option<Reply> {
        let reply = self.usual_answer().bytes;
        let body = reply.windows(4).position(|it| it == b"\r\n\r\n")? + 4;
        let body = String::from_utf8_lossy(&reply[body..]).into_owned();
        (!body.is_empty()).then(|| Reply::raw(&format!("data: {body}\n\n"), Then::Go))
    }

    fn usual_answer(&self) -> Reply {
        match self.method() {
            "initialize" => self.open_session("s1"),
            "tools/call" => {
                self.answer(&json!({ "content": [{ "type": "text", "text": "fine" }] }))
            }
            _ => Reply::http("202 Accepted", "text/plain", ""),
        }
    }
}

impl Reply {
    pub(crate) fn http(status: &str, kind: &str, body: &str) -> Self {
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        Self { bytes: (head + body).into_bytes(), then: Then::Go }
    }

    pub(crate) fn json(body: &Value) -> Self {
        Self::http("200 OK", "application/json", &body.to_string())
    }

    /// An event stream, without an end of its own.
    pub(crate) fn events(body: &str, then: Then) -> Self {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
        Self { bytes: format!("{head}{body}").into_bytes(), then }
    }

    pub(crate) fn raw(bytes: &str, then: Then) -> Self {
        Self { bytes: bytes.as_bytes().to_vec(), then }
    }
}

async fn converse(mut socket: TcpStream, script: Arc<Script>, seen: Arc<Mutex<Vec<Request>>>) {
    while let Some(request) = read_request(&mut socket).await {
        seen.lock().push(request.clone());
        let reply = script(&request).unwrap_or_else(|| request.usual_answer());
        if !say(&mut socket, reply).await {
            return;
        }
    }
}

/// Sends a reply; whether the conversation goes on.
async fn say(socket: &mut TcpStream, reply: Reply) -> bool {
    let mut replies = vec![reply];
    let mut followed = None;
    loop {
        let reply = match (replies.pop(), &mut followed) {
            (Some(reply), _) => reply,
            (None, None) => return true,
            (None, Some(said)) => {
                let said: &mut mpsc::UnboundedReceiver<Reply> = said;
                let Some(reply) = said.recv().await else { return false };
                reply
            }
        };
        if socket.write_all(&reply.bytes).await.is_err() {
            return false;
        }
        match reply.then {
            Then::Go => {}
            Then::Close => return false,
            Then::Hang => std::future::pending().await,
            Then::Repeat(bytes) => while socket.write_all(&bytes).await.is_ok() {},
            Then::Follow(said) => followed = Some(said),
        }
    }
}

async fn read_request(socket: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|it| it == b"\r\n\r\n") {
            break at + 4;
        }
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).to_ascii_lowercase();
    let length = head.lines().find_map(|it| it.strip_prefix("content-length: "));
    let length: usize = length.map_or(0, |it| it.trim().parse().unwrap());
    while bytes.len() < head_end + length {
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    let body = serde_json::from_slice(&bytes[head_end..]).unwrap_or_default();
    Some(Request { head, body })
}
