//! A client over standard streams that is written by hand: it sees each message, and answers what
//! it likes.

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{ChildStdin, ChildStdout},
};

use crate::space::{Program, TestSpace, within};

/// The first revision without sessions.
pub(crate) const NEW: &str = "2026-07-28";

/// An open session.
pub(crate) struct Raw {
    program: Program,
    says: Lines<BufReader<ChildStdout>>,
    to: ChildStdin,
    revision: &'static str,
    capabilities: Value,
    n_sent: u64,
    /// What goes into each `_meta` besides what must stand there.
    pub(crate) meta: Value,
    /// What the server says that it can do.
    pub(crate) server: Value,
    /// Messages that came while something else was waited for.
    pub(crate) aside: Vec<Value>,
}

impl Raw {
    /// Starts the program and greets it in the way of the revision.
    pub(crate) async fn open(
        space: &TestSpace,
        revision: &'static str,
        capabilities: Value,
    ) -> Self {
        Self::over(space.start(&["serve"]), revision, capabilities).await
    }

    /// Greets a program that runs.
    pub(crate) async fn over(
        mut program: Program,
        revision: &'static str,
        capabilities: Value,
    ) -> Self {
        let (out, to) = program.streams();
        let says = BufReader::new(out).lines();
        let (meta, server, aside) = (json!({}), Value::Null, Vec::new());
        let mut raw =
            Self { program, says, to, revision, capabilities, n_sent: 0, meta, server, aside };
        let greeting = if revision == NEW {
            raw.ask("server/discover", json!({})).await
        } else {
            let hello = json!({
                "protocolVersion": revision,
                "capabilities": raw.capabilities,
                "clientInfo": { "name": "raw", "version": "1" },
            });
            let greeting = raw.ask("initialize", hello).await;
            raw.say(json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).await;
            greeting
        };
        raw.server = greeting["result"]["capabilities"].clone();
        raw
    }

    pub(crate) async fn kill(self) {
        self.program.kill().await;
    }

    pub(crate) async fn say(&mut self, message: Value) {
        let line = format!("{message}\n");
        within(self.to.write_all(line.as_bytes())).await.unwrap();
    }

    /// Sends a request and answers its id.
    pub(crate) async fn begin(&mut self, method: &str, mut params: Value) -> u64 {
        self.n_sent += 1;
        let mut meta = self.meta.clone();
        if self.revision == NEW {
            meta["io.modelcontextprotocol/protocolVersion"] = json!(NEW);
            meta["io.modelcontextprotocol/clientCapabilities"] = self.capabilities.clone();
        }
        params["_meta"] = meta;
        let id = self.n_sent;
        self.say(json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })).await;
        id
    }

    /// The next message, whatever it is.
    pub(crate) async fn hear(&mut self) -> Value {
        let line = within(self.says.next_line()).await.unwrap().expect("the program has ended");
        serde_json::from_str(&line).unwrap()
    }

    /// Waits for a request or a notification of the server.
    pub(crate) async fn hear_of(&mut self, method: &str) -> Value {
        self.find(|it| it["method"] == method).await
    }

    /// Waits for the answer to a request.
    pub(crate) async fn answer_to(&mut self, id: u64) -> Value {
        self.find(|it| it["id"] == id && it["method"].is_null()).await
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

    pub(crate) async fn ask(&mut self, method: &str, params: Value) -> Value {
        let id = self.begin(method, params).await;
        self.answer_to(id).await
    }

    /// Calls a tool and answers its result, of whatever kind.
    pub(crate) async fn call(&mut self, tool: &str, arguments: Value) -> Value {
        let params = json!({ "name": tool, "arguments": arguments });
        self.ask("tools/call", params).await["result"].take()
    }

    /// Answers a request of the server.
    pub(crate) async fn reply(&mut self, request: &Value, result: Value) {
        let id = &request["id"];
        self.say(json!({ "jsonrpc": "2.0", "id": id, "result": result })).await;
    }

    /// The messages of a method that came so far while others were waited for.
    pub(crate) fn heard(&self, method: &str) -> Vec<&Value> {
        self.aside.iter().filter(|it| it["method"] == method).collect()
    }
}
