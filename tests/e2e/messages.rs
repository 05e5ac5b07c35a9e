//! A Messages API in the place of the model's: it answers as its script says, and remembers what
//! it was asked.

use std::{convert::Infallible, sync::Arc};

use http_body_util::{BodyExt as _, Full};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::CONTENT_TYPE,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use crate::space::within;

/// What each turn takes, in tokens: what goes in, and what comes out.
pub(crate) const TOKENS: (u64, u64) = (11, 7);

/// What the model does when it is its turn.
#[derive(Clone, Debug)]
pub(crate) enum Turn {
    Say(&'static str),
    /// Wants a command run.
    Bash(String),
    /// Calls a tool of an MCP server.
    Call(&'static str, Value),
    /// Never answers.
    Hold,
}

/// The turns of each task.
pub(crate) type Script = Vec<(&'static str, Vec<Turn>)>;

/// The running API; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct MessagesApi {
    pub(crate) url: String,
    asked: watch::Receiver<Vec<Value>>,
    let_go: CancellationToken,
    _stop: DropGuard,
}

#[derive(Debug)]
struct Model {
    script: Script,
    asked: watch::Sender<Vec<Value>>,
    let_go: CancellationToken,
}

impl MessagesApi {
    pub(crate) async fn start(script: Script) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (asked, let_go) = (watch::Sender::new(Vec::new()), CancellationToken::new());
        let stop = CancellationToken::new();
        let api = Self {
            url,
            asked: asked.subscribe(),
            let_go: let_go.clone(),
            _stop: stop.clone().drop_guard(),
        };
        let model = Arc::new(Model { script, asked, let_go });
        tokio::spawn(stop.run_until_cancelled_owned(serve(listener, model)));
        api
    }

    /// What was asked so far, in the order in which it came.
    pub(crate) fn asked(&self) -> Vec<Value> {
        self.asked.borrow().clone()
    }

    /// Waits until so much was asked.
    pub(crate) async fn was_asked(&self, n_requests: usize) {
        let mut asked = self.asked.clone();
        drop(within(asked.wait_for(|it| it.len() >= n_requests)).await.unwrap());
    }

    /// Waits until who was left without an answer has hung up.
    pub(crate) async fn is_let_go(&self) {
        within(self.let_go.cancelled()).await;
    }
}

impl Model {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let is_known = request.method() == Method::POST && request.uri().path() == "/v1/messages";
        if !is_known {
            return respond(StatusCode::NOT_FOUND, "application/json", String::new());
        }
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let asked: Value = serde_json::from_slice(&body).unwrap();
        let turn = self.turn(&asked);
        self.asked.send_modify(|it| it.push(asked.clone()));
        let content = match turn {
            Some(Turn::Say(text)) => json!({ "type": "text", "text": text }),
            Some(Turn::Bash(command)) => call("Bash", &json!({ "command": command })),
            Some(Turn::Call(tool, input)) => call(tool, &input),
            Some(Turn::Hold) => {
                let _let_go = self.let_go.clone().drop_guard();
                return std::future::pending().await;
            }
            None => {
                let error = json!({ "type": "invalid_request_error", "message": "not scripted" });
                let body = json!({ "type": "error", "error": error }).to_string();
                return respond(StatusCode::BAD_REQUEST, "application/json", body);
            }
        };
        respond(StatusCode::OK, "text/event-stream", stream(&asked["model"], &content))
    }

    /// The script's answer: whose task it is follows from the first message, and which turn from
    /// how many there were, so one that is asked for again is the same.
    fn turn(&self, asked: &Value) -> Option<Turn> {
        let text = text_of(&asked["messages"][0]);
        let is_it = |task: &str| text.contains(&format!("# Task {task}\n"));
        let (_, turns) = self.script.iter().find(|it| is_it(it.0))?;
        let messages = asked["messages"].as_array()?;
        let n_turns = messages.iter().filter(|it| it["role"] == "assistant").count();
        turns.get(n_turns).cloned()
    }
}

/// The text of a message, with that of the results of tools.
pub(crate) fn text_of(message: &Value) -> String {
    if let Some(text) = message["content"].as_str() {
        return text.to_owned();
    }
    let text = |it: &Value| it["text"].as_str().map_or_else(|| text_of(it), str::to_owned);
    let blocks = message["content"].as_array().into_iter().flatten();
    blocks.map(text).collect::<Vec<_>>().join("\n")
}

async fn serve(listener: TcpListener, model: Arc<Model>) {
    while let Ok((stream, _)) = listener.accept().await {
        let model = Arc::clone(&model);
        let service = service_fn(move |request| {
            let model = Arc::clone(&model);
            async move { Ok::<_, Infallible>(model.answer(request).await) }
        });
        // Who hangs up without an answer has ended, which is what some tests wait for.
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

fn respond(status: StatusCode, kind: &str, body: String) -> Response<Full<Bytes>> {
    let response = Response::builder().status(status).header(CONTENT_TYPE, kind);
    response.body(Full::new(body.into())).unwrap()
}

fn call(tool: &str, input: &Value) -> Value {
    json!({ "type": "tool_use", "id": id("toolu"), "name": tool, "input": input })
}

/// An id as it has to be: messages of the same one are taken for pieces of one message.
fn id(kind: &str) -> String {
    format!("{kind}_{}", Uuid::new_v4().simple())
}

/// A message of one block, as the events in which it comes.
fn stream(model: &Value, content: &Value) -> String {
    let (start, delta, stop_reason) = if content["type"] == "text" {
        let delta = json!({ "type": "text_delta", "text": content["text"] });
        (json!({ "type": "text", "text": "" }), delta, "end_turn")
    } else {
        let input = content["input"].to_string();
        let mut start = content.clone();
        start["input"] = json!({});
        (start, json!({ "type": "input_json_delta", "partial_json": input }), "tool_use")
    };
    let message = json!({
        "id": id("msg"), "type": "message", "role": "assistant", "model": model, "content": [],
        "stop_reason": null, "stop_sequence": null,
        "usage": { "input_tokens": TOKENS.0, "output_tokens": 1 },
    });
    let end = json!({ "stop_reason": stop_reason, "stop_sequence": null });
    let events = [
        json!({ "type": "message_start", "message": message }),
        json!({ "type": "content_block_start", "index": 0, "content_block": start }),
        json!({ "type": "content_block_delta", "index": 0, "delta": delta }),
        json!({ "type": "content_block_stop", "index": 0 }),
        json!({ "type": "message_delta", "delta": end, "usage": { "output_tokens": TOKENS.1 } }),
        json!({ "type": "message_stop" }),
    ];
    let line = |it: Value| format!("event: {}\ndata: {it}\n\n", it["type"].as_str().unwrap());
    events.into_iter().map(line).collect()
}
