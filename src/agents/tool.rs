//! An agent that is a tool of an upstream: one call an attempt.

use std::{mem, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use serde_json::{Map, Value};

use super::call::{call_tool, cancelled};
use crate::{
    model::{AgentName, Failure, FailureCode},
    ports::{AgentBackend, AttemptCall},
    upstream::{ToolInfo, Upstream},
};

/// Calls the first of its tools that the upstream has.
#[derive(Debug)]
pub(super) struct ToolAgent {
    upstream: Arc<Upstream>,
    /// In the order of preference.
    candidates: Vec<String>,
    lane: String,
}

impl ToolAgent {
    pub(super) fn new(agent: &AgentName, upstream: Arc<Upstream>, candidates: Vec<String>) -> Self {
        let lane = format!("{}/{agent}", upstream.name());
        Self { upstream, candidates, lane }
    }

    /// The tools that it may be, in the order of preference.
    pub(super) fn candidates(&self) -> &[String] {
        &self.candidates
    }

    async fn attempt(&self, mut call: AttemptCall) -> Result<Value, Failure> {
        let tool = call.cancelled.run_until_cancelled(self.find_tool(call.timeout)).await;
        let tool = tool.ok_or_else(cancelled)??;
        let arguments = arguments(&mut call);
        Ok(call_tool(&self.upstream, &tool, arguments, &call, call.timeout).await?)
    }

    /// Looks again at each attempt, for the upstream may be another one since; the list is asked
    /// for once a session only.
    async fn find_tool(&self, limit: Duration) -> Result<String, Failure> {
        let tools = self.upstream.tools_for_call(limit).await?;
        let tool = pick(&self.candidates, &tools).map(str::to_owned);
        tool.ok_or_else(|| {
            let message = format!(
                "upstream \"{}\" has none of the tools {} any more",
                self.upstream.name(),
                self.candidates.join(", ")
            );
            Failure::new(FailureCode::UpstreamProtocol, message)
        })
    }
}

impl AgentBackend for ToolAgent {
    fn run(&self, call: AttemptCall) -> BoxFuture<'_, Result<Value, Failure>> {
        Box::pin(self.attempt(call))
    }

    fn lane(&self) -> &str {
        &self.lane
    }

    /// Its tool may be another one at the next attempt, so all that it may be count. What is in
    /// this process changes with the program.
    fn binding(&self) -> String {
        let (place, version) = (self.upstream.identity(), env!("CARGO_PKG_VERSION"));
        format!("{}\n{place}\n{}\n{version}", self.lane, self.candidates.join(" "))
    }
}

/// The first of `candidates` that is on offer.
pub(super) fn pick<'a>(candidates: &'a [String], tools: &[ToolInfo]) -> Option<&'a str> {
    let is_offered = |name: &&String| tools.iter().any(|it| it.name == **name);
    candidates.iter().find(is_offered).map(String::as_str)
}

/// What the agent is told, and which task it is for; a field of the input, which is taken out of
/// the call, goes first.
fn arguments(call: &mut AttemptCall) -> Map<String, Value> {
    let mut arguments = mem::take(&mut call.input);
    arguments.entry("task_id").or_insert_with(|| call.task_id.as_str().into());
    arguments.entry("description").or_insert_with(|| (*call.description).into());
    arguments
}

#[cfg(test)]
pub(super) mod testing {
    use serde_json::json;
    use tokio::sync::mpsc;
    use tokio_util::sync::CancellationToken;
    use uuid::Uuid;

    use super::*;
    use crate::{
        model::{Attempt, DispatchId, TaskId},
        ports::{CallLog, EventLog, Heartbeat},
    };

    pub(crate) fn attempt_call(calls: CallLog) -> AttemptCall {
        AttemptCall {
            dispatch_id: DispatchId::new(Uuid::nil()),
            task_id: TaskId::new("t-1"),
            attempt: Attempt(3),
            agent: AgentName::new("coder"),
            description: "write it".into(),
            input: json!({ "node_type": "Effect", "n": [1] }).as_object().unwrap().clone(),
            upstream: Vec::new(),
            timeout: Duration::from_secs(20),
            cancelled: CancellationToken::new(),
            calls,
            heartbeat: Heartbeat::default(),
            events: EventLog::default(),
            trace: None,
        }
    }

    pub(crate) async fn run(backend: &dyn AgentBackend) -> Result<Value, Failure> {
        backend.run(attempt_call(mpsc::unbounded_channel().0)).await
    }
}

#[cfg(test)]
mod tests {
    use rmcp::model::CallToolResult;
    use serde_json::json;
    use tokio::sync::{Notify, mpsc};

    use super::{testing::attempt_call, *};
    use crate::upstream::{
        Era,
        testing::{TestServer, http_upstream, memory_upstream},
    };

    fn agent(server: TestServer) -> ToolAgent {
        let upstream = memory_upstream(server, Era::Legacy);
        let coder = AgentName::new("coder");
        ToolAgent::new(&coder, upstream, vec!["agent_coder".to_owned(), "coder".to_owned()])
    }

    #[tokio::test]
    async fn an_attempt_is_one_call_that_says_what_it_is_for() {
        let (calls, mut log) = mpsc::unbounded_channel();
        let agent = agent(TestServer::echo(&["coder"]));
        let output = agent.run(attempt_call(calls)).await.unwrap();
        assert_eq!(output["tool"], "coder");
        let expected = json!({
            "node_type": "Effect", "n": [1], "task_id": "t-1", "description": "write it"
        });
        assert_eq!(output["arguments"], expected);
        let key = "00000000-0000-0000-0000-000000000000/t-1";
        assert_eq!(output["meta"]["parallel-dispatch/key"], key);
        assert_eq!(output["meta"]["parallel-dispatch/attempt"], 3);
        assert_eq!(output["meta"].get("traceparent"), None);
        let record = log.recv().await.unwrap();
        assert_eq!((record.tool.as_str(), record.ok), ("coder", true));
        assert!(log.recv().await.is_none());
    }

    #[tokio::test]
    async fn a_failure_of_the_agent_is_the_attempts_and_is_noted() {
        let (calls, mut log) = mpsc::unbounded_channel();
        let server = TestServer::new(&["coder"], |_| async {
            Ok(CallToolResult::structured(json!({ "success": false, "error": "no tests" })))
        });
        let failure = agent(server).run(attempt_call(calls)).await.unwrap_err();
        assert_eq!(failure, Failure::new(FailureCode::AgentError, "no tests"));
        assert_eq!(log.recv().await.unwrap().error.as_deref(), Some("no tests"));
    }

    #[tokio::test]
    async fn cancelling_an_attempt_stops_the_tool() {
        let call = attempt_call(mpsc::unbounded_channel().0);
        let (cancelled, stopped) = (call.cancelled.clone(), Arc::new(Notify::new()));
        let at_stop = Arc::clone(&stopped);
        let server = TestServer::new(&["coder"], move |at_tool| {
            let (cancelled, at_stop) = (cancelled.clone(), Arc::clone(&at_stop));
            async move {
                cancelled.cancel();
                at_tool.cancelled.cancelled().await;
                at_stop.notify_one();
                Ok(CallToolResult::success(vec![]))
            }
        });
        let agent = agent(server);
        assert_eq!(agent.run(call).await.unwrap_err().code, FailureCode::Cancelled);
        stopped.notified().await;
    }

    #[tokio::test]
    async fn the_binding_is_another_one_with_another_agent_upstream_or_tool() {
        let urls = ["http://one/mcp", "http://two/mcp", "http://one/mcp?project=2"];
        let upstreams = urls.map(http_upstream);
        let binding = |agent: &str, at: usize, tools: &[&str]| {
            let tools = tools.iter().map(|it| (*it).to_owned()).collect();
            let upstream = Arc::clone(&upstreams[at]);
            ToolAgent::new(&AgentName::new(agent), upstream, tools).binding()
        };
        let first = binding("coder", 0, &["a", "b"]);
        assert_eq!(first, binding("coder", 0, &["a", "b"]));
        for other in [
            binding("debug", 0, &["a", "b"]),
            binding("coder", 1, &["a", "b"]),
            binding("coder", 2, &["a", "b"]),
            binding("coder", 0, &["b", "a"]),
            binding("coder", 0, &["a"]),
        ] {
            assert_ne!(first, other);
        }
    }

    #[tokio::test]
    async fn a_vanished_tool_is_named() {
        let agent = agent(TestServer::echo(&["other"]));
        let failure = testing::run(&agent).await.unwrap_err();
        assert_eq!(failure.code, FailureCode::UpstreamProtocol);
        assert!(failure.message.contains("agent_coder, coder"));
    }

    #[tokio::test]
    async fn what_the_input_says_itself_stays() {
        let mut call = attempt_call(mpsc::unbounded_channel().0);
        call.input.insert("description".to_owned(), json!("of the contract"));
        assert_eq!(arguments(&mut call)["description"], "of the contract");
    }
}
