//! A client of a server in this process, which sees each message and answers what it likes.

use std::time::Duration;

use futures::{
    StreamExt as _,
    channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded},
};
use rmcp::{
    RoleServer, ServiceExt as _,
    model::{ClientJsonRpcMessage, GetExtensions as _},
    service::{RxJsonRpcMessage, TxJsonRpcMessage},
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{DispatchServer, Seal};
use crate::{model::Identity, runtime::testing::World};

/// The first revision without sessions.
pub(super) const NEW: &str = "2026-07-28";
/// The longest that anything may take, of the paused clock.
const ANYTHING_MAX: Duration = Duration::from_hours(1);

/// Its transport says with each message who it is from.
pub(super) struct Talk {
    said: UnboundedSender<RxJsonRpcMessage<RoleServer>>,
    heard: UnboundedReceiver<TxJsonRpcMessage<RoleServer>>,
    revision: &'static str,
    capabilities: Value,
    n_sent: u64,
    /// What goes into each `_meta` besides what must stand there.
    pub(super) meta: Value,
    /// Messages that came while something else was waited for.
    pub(super) aside: Vec<Value>,
}

impl Talk {
    pub(super) async fn open(server: DispatchServer) -> Self {
        Self::open_as(server, "2025-06-18", json!({})).await
    }

    /// Greets the server in the way of the revision.
    pub(super) async fn open_as(
        server: DispatchServer,
        revision: &'static str,
        capabilities: Value,
    ) -> Self {
        let (said, from_client) = unbounded();
        let (to_client, heard) = unbounded();
        tokio::spawn(async move {
            let running = Box::pin(server.serve((to_client, from_client))).await.unwrap();
            running.waiting().await
        });
        let (meta, aside) = (json!({}), Vec::new());
        let mut talk = Self { said, heard, revision, capabilities, n_sent: 0, meta, aside };
        if revision == NEW {
            talk.request("server/discover", json!({})).await;
        } else {
            let hello = json!({
                "protocolVersion": revision, "capabilities": talk.capabilities,
                "clientInfo": { "name": "test", "version": "1" },
            });
            talk.request("initialize", hello).await;
            talk.say(None, &json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
        }
        talk
    }

    pub(super) async fn ask(&mut self, who: Option<&Identity>, request: &Value) -> Value {
        self.say(who, request);
        self.find(|it| it["id"] == request["id"] && it["method"].is_null()).await
    }

    pub(super) async fn call(
        &mut self,
        who: Option<&Identity>,
        tool: &str,
        arguments: &Value,
    ) -> Value {
        let answer = self.ask(who, &call(tool, arguments)).await;
        answer["result"]["structuredContent"].clone()
    }

    /// Sends a request and waits for its answer.
    pub(super) async fn request(&mut self, method: &str, params: Value) -> Value {
        let id = self.begin(method, params);
        self.answer_to(id).await
    }

    /// Sends a request and answers its id.
    pub(super) fn begin(&mut self, method: &str, mut params: Value) -> u64 {
        self.n_sent += 1;
        let mut meta = self.meta.clone();
        if self.revision == NEW {
            meta["io.modelcontextprotocol/protocolVersion"] = json!(NEW);
            meta["io.modelcontextprotocol/clientCapabilities"] = self.capabilities.clone();
        }
        params["_meta"] = meta;
        let id = 1_000 + self.n_sent;
        let request = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        self.say(None, &request);
        id
    }

    pub(super) async fn answer_to(&mut self, id: u64) -> Value {
        self.find(|it| it["id"] == id && it["method"].is_null()).await
    }

    /// Waits for a request or a notification of the server.
    pub(super) async fn hear_of(&mut self, method: &str) -> Value {
        self.find(|it| it["method"] == method).await
    }

    /// Answers a request of the server.
    pub(super) fn reply(&self, request: &Value, result: &Value) {
        self.say(None, &json!({ "jsonrpc": "2.0", "id": request["id"], "result": result }));
    }

    async fn find(&mut self, is_it: impl Fn(&Value) -> bool) -> Value {
        if let Some(at) = self.aside.iter().position(&is_it) {
            return self.aside.remove(at);
        }
        loop {
            let message = self.hear().await;
            if is_it(&message) {
                return message;
            }
            self.aside.push(message);
        }
    }

    fn say(&self, who: Option<&Identity>, message: &Value) {
        let mut message: ClientJsonRpcMessage = serde_json::from_value(message.clone()).unwrap();
        if let (ClientJsonRpcMessage::Request(request), Some(who)) = (&mut message, who) {
            request.request.extensions_mut().insert(who.clone());
        }
        self.said.unbounded_send(message).unwrap();
    }

    async fn hear(&mut self) -> Value {
        let heard = tokio::time::timeout(ANYTHING_MAX, self.heard.next()).await;
        let message = heard.expect("nothing more is said").expect("the session has ended");
        serde_json::to_value(message).unwrap()
    }
}

pub(super) fn call(tool: &str, arguments: &Value) -> Value {
    let params = json!({ "name": tool, "arguments": arguments });
    json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params })
}

pub(super) fn serve(world: &World) -> DispatchServer {
    DispatchServer::new(world.handle.clone(), CancellationToken::new(), 1_000_000, seal())
}

pub(super) fn seal() -> Seal {
    Seal::new(&[7; Seal::SECRET_BYTES])
}
