//! Stand-ins for the forms of Archon, with their real schemas, over real HTTP.

mod answers;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use rmcp::model::{CallToolResult, ContentBlock, Tool};
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc;

use crate::{
    agents::{
        command::{CommandHost, CommandRunner, GuardProgram},
        tool::testing::attempt_call,
    },
    confine::Workspaces,
    model::Failure,
    ports::{AgentBackend, AttemptCall},
    upstream::{
        Retry, Upstream, UpstreamSettings,
        testing::{
            Call, HttpHost, Reply, Rogue, StillClock, TestServer, http_settings, http_upstream,
            upstream,
        },
    },
};

/// A form in which Archon is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::agents) enum Form {
    /// RAG and a board.
    ArchonV1,
    /// Flat tools.
    OmniNode,
    /// One tool for all of them.
    Gateway,
}

/// A running stand-in.
pub(in crate::agents) struct StandIn {
    pub(in crate::agents) upstream: Arc<Upstream>,
    pub(in crate::agents) url: String,
    heard: Arc<Heard>,
    _host: HttpHost,
}

/// What a stand-in was asked, and what it answers next instead of the usual.
#[derive(Debug, Default)]
struct Heard {
    calls: Mutex<Vec<(String, Map<String, Value>)>>,
    next: Mutex<BTreeMap<String, VecDeque<Value>>>,
}

impl StandIn {
    pub(in crate::agents) async fn start(form: Form) -> Self {
        Self::without(form, &[]).await
    }

    /// One that lacks some tools.
    pub(in crate::agents) async fn without(form: Form, lacking: &[&str]) -> Self {
        Self::start_at(form, lacking, "127.0.0.1:0").await
    }

    /// One at a place of one's choice.
    pub(in crate::agents) async fn start_at(form: Form, lacking: &[&str], address: &str) -> Self {
        let heard = Arc::<Heard>::default();
        let at_call = Arc::clone(&heard);
        let mut tools = tools_of(form);
        tools.retain(|it| !lacking.contains(&&*it.name));
        let server = TestServer::with_tools(tools, move |call| {
            let result = at_call.answer(form, call);
            async move { Ok(result) }
        });
        let host = HttpHost::start_at(server, address).await;
        Self { upstream: http_upstream(&host.url), url: host.url.clone(), heard, _host: host }
    }

    /// What `tool` answers next, once.
    pub(in crate::agents) fn answer_next(&self, tool: &str, answer: Value) {
        self.heard.next.lock().entry(tool.to_owned()).or_default().push_back(answer);
    }

    /// The tools that were called so far, in order.
    pub(in crate::agents) fn called(&self) -> Vec<String> {
        self.heard.calls.lock().iter().map(|it| it.0.clone()).collect()
    }

    /// What `tool` was told each time.
    pub(in crate::agents) fn told(&self, tool: &str) -> Vec<Value> {
        let calls = self.heard.calls.lock();
        calls.iter().filter(|it| it.0 == tool).map(|it| Value::Object(it.1.clone())).collect()
    }
}

impl Heard {
    fn answer(&self, form: Form, call: Call) -> CallToolResult {
        let (tool, args) = match form {
            Form::Gateway => {
                let params = call.arguments["params"].as_object().cloned().unwrap_or_default();
                (call.arguments["operation"].as_str().unwrap().to_owned(), params)
            }
            Form::ArchonV1 | Form::OmniNode => (call.tool, call.arguments),
        };
        self.calls.lock().push((tool.clone(), args.clone()));
        let next = self.next.lock().get_mut(&tool).and_then(VecDeque::pop_front);
        let answer = next.unwrap_or_else(|| answers::usual(&tool, &args));
        let answer = match form {
            Form::Gateway => json!({ "success": true, "operation": tool, "result": answer }),
            Form::ArchonV1 | Form::OmniNode => answer,
        };
        // As FastMCP does it: the same JSON as text, and as a text inside of an object.
        let text = answer.to_string();
        let mut result = CallToolResult::structured(json!({ "result": text }));
        result.content = vec![ContentBlock::text(text)];
        result
    }
}

/// A server with the tool `coder` that does not list it the first `n_busy` times, and a client that
/// calls once more.
pub(in crate::agents) async fn busy_at_first(n_busy: usize) -> (Rogue, Arc<Upstream>) {
    let n_asked = AtomicUsize::new(0);
    let tools = json!({ "tools": [{ "name": "coder", "inputSchema": { "type": "object" } }] });
    let rogue = Rogue::start(move |request| {
        let is_list = request.method() == "tools/list";
        let is_busy = is_list && n_asked.fetch_add(1, Ordering::Relaxed) < n_busy;
        let busy = || {
            let kind = "text/plain\r\nretry-after: 0";
            Reply::http("503 Service Unavailable", kind, "busy")
        };
        is_list.then(|| if is_busy { busy() } else { request.answer(&tools) })
    })
    .await;
    let retry = Retry { attempts_max: 1, backoff: Duration::from_millis(1) };
    let upstream = upstream(UpstreamSettings { retry, ..http_settings(&rogue.url) });
    (rogue, upstream)
}

/// A workspace, and attempts that may write to it.
pub(in crate::agents) struct Ground {
    pub(in crate::agents) dir: TempDir,
    pub(in crate::agents) workspaces: Workspaces,
}

impl Ground {
    pub(in crate::agents) fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let workspaces = Workspaces::new([dir.path().to_owned()]).unwrap();
        Self { dir, workspaces }
    }

    pub(in crate::agents) fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_string_lossy().into_owned()
    }

    pub(in crate::agents) fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    pub(in crate::agents) fn read(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.path(name)).ok()
    }
}

/// A runner without a guard that could be started.
pub(in crate::agents) fn runner() -> CommandRunner {
    let guard =
        GuardProgram { program: "/nowhere".into(), arguments: Vec::new(), open_files: None };
    let host =
        CommandHost { guard, state_dir: "/state".into(), clock: Arc::new(StillClock::default()) };
    let passed_on = |_: &[String]| vec![("PATH".to_owned(), "/bin".into())];
    CommandRunner { host, dir: "/".into(), passed_on }
}

/// An attempt with this input.
pub(in crate::agents) fn attempt(input: &Value) -> AttemptCall {
    let call = attempt_call(mpsc::unbounded_channel().0);
    AttemptCall { input: input.as_object().unwrap().clone(), ..call }
}

/// Runs one attempt with this input.
pub(in crate::agents) async fn run(
    backend: &dyn AgentBackend,
    input: &Value,
) -> Result<Value, Failure> {
    backend.run(attempt(input)).await
}

fn tools_of(form: Form) -> Vec<Tool> {
    let json = match form {
        Form::ArchonV1 => include_str!("archon_v1.json"),
        Form::OmniNode | Form::Gateway => include_str!("omninode.json"),
    };
    let tools: Vec<Value> = serde_json::from_str(json).unwrap();
    let tool = |it: &Value| {
        let schema = it["inputSchema"].as_object().unwrap().clone();
        Tool::new(it["name"].as_str().unwrap().to_owned(), "a tool", Arc::new(schema))
    };
    let is_offered = |it: &Tool| match (form, &*it.name) {
        (_, "health_check" | "session_info") | (Form::ArchonV1, _) => true,
        (Form::OmniNode, name) => name != "archon_menu",
        (Form::Gateway, name) => name == "archon_menu",
    };
    tools.iter().map(tool).filter(is_offered).collect()
}
