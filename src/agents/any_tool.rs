//! The agent `tool`: calls the tool that its input names, if the settings allow that one.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use serde_json::{Map, Value};

use super::{
    call::{call_tool, cancelled},
    recipe::FindUpstream,
};
use crate::{
    model::{AgentName, Failure, FailureCode, text},
    ports::{AgentBackend, AttemptCall},
    upstream::{ToolFilter, Upstream},
};

/// The upstream that is meant where the input names none.
const UPSTREAM: &str = "archon";

/// Calls whatever tool its input names: `upstream`, `tool`, `arguments`.
#[derive(Debug)]
pub(super) struct AnyToolAgent {
    upstreams: Arc<dyn FindUpstream>,
    /// Over `UPSTREAM/TOOL`.
    allowed: ToolFilter,
    binding: String,
}

/// A call that an input asks for.
struct Asked {
    upstream: String,
    tool: String,
    arguments: Map<String, Value>,
}

impl AnyToolAgent {
    /// An agent that may call the tools of these patterns; `places` stands for all upstreams that
    /// it may find them on.
    pub(super) fn new(
        upstreams: Arc<dyn FindUpstream>,
        patterns: &[String],
        places: &str,
    ) -> Result<Self, String> {
        let allowed = ToolFilter::new(patterns).map_err(|it| it.to_string())?;
        let binding = format!("tool\n{places}\n{}", env!("CARGO_PKG_VERSION"));
        Ok(Self { upstreams, allowed, binding })
    }

    async fn attempt(&self, call: AttemptCall) -> Result<Value, Failure> {
        let Asked { upstream: name, tool, arguments } = Asked::read(&call.input)?;
        if !self.allowed.allows(&format!("{name}/{tool}")) {
            return Err(refuse(format!("the settings do not allow {}", shown(&name, &tool))));
        }
        let upstream = self.upstreams.find(Some(&name)).await;
        let upstream = upstream.ok_or_else(|| {
            refuse(format!("there is no upstream \"{}\"", text::escape(&text::cut(&name, 100))))
        })?;
        let listed = is_listed(&upstream, &tool, call.timeout);
        let listed = call.cancelled.run_until_cancelled(listed).await;
        if !listed.ok_or_else(cancelled)?? {
            return Err(refuse(format!("there is no {}", shown(&name, &tool))));
        }
        Ok(call_tool(&upstream, &tool, arguments, &call, call.timeout).await?)
    }
}

impl AgentBackend for AnyToolAgent {
    fn run(&self, call: AttemptCall) -> BoxFuture<'_, Result<Value, Failure>> {
        Box::pin(self.attempt(call))
    }

    fn lane(&self) -> &str {
        AgentName::TOOL
    }

    fn binding(&self) -> String {
        self.binding.clone()
    }
}

impl Asked {
    /// The document was checked; a reference may have brought something else.
    fn read(input: &Map<String, Value>) -> Result<Self, Failure> {
        let text = |name: &str| match input.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(refuse(format!("\"{name}\" is no string"))),
        };
        let arguments = match input.get("arguments") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(arguments)) => arguments.clone(),
            Some(_) => return Err(refuse("\"arguments\" is no object".to_owned())),
        };
        let tool = text("tool")?.ok_or_else(|| refuse("\"tool\" is missing".to_owned()))?;
        let upstream = text("upstream")?.unwrap_or_else(|| UPSTREAM.to_owned());
        Ok(Self { upstream, tool, arguments })
    }
}

async fn is_listed(upstream: &Upstream, tool: &str, limit: Duration) -> Result<bool, Failure> {
    let tools = upstream.tools_for_call(limit).await?;
    Ok(tools.iter().any(|it| it.name == tool))
}

fn shown(upstream: &str, tool: &str) -> String {
    let name = |it: &str| text::escape(&text::cut(it, 100));
    format!("tool \"{}\" of upstream \"{}\"", name(tool), name(upstream))
}

fn refuse(message: String) -> Failure {
    Failure::new(FailureCode::AgentError, message)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::sync::mpsc;

    use super::*;
    use crate::{
        agents::tool::testing::attempt_call,
        upstream::{
            Era,
            testing::{TestServer, memory_upstream},
        },
    };

    #[derive(Debug)]
    struct One(Arc<Upstream>);

    impl FindUpstream for One {
        fn find<'a>(&'a self, name: Option<&'a str>) -> BoxFuture<'a, Option<Arc<Upstream>>> {
            let found = (name == Some("archon")).then(|| Arc::clone(&self.0));
            Box::pin(async move { found })
        }
    }

    async fn run(input: Value) -> Result<Value, String> {
        let upstream = memory_upstream(TestServer::echo(&["rag_search", "drop_all"]), Era::Legacy);
        let patterns = ["archon/rag_*".to_owned(), "*/gone".to_owned()];
        let agent = AnyToolAgent::new(Arc::new(One(upstream)), &patterns, "").unwrap();
        let mut call = attempt_call(mpsc::unbounded_channel().0);
        call.input = input.as_object().unwrap().clone();
        agent.run(call).await.map_err(|it| it.message.into())
    }

    #[tokio::test]
    async fn a_tool_gets_its_arguments_and_nothing_else() {
        let output = run(json!({ "tool": "rag_search", "arguments": { "query": "x" } })).await;
        let output = output.unwrap();
        assert_eq!(output["arguments"], json!({ "query": "x" }));
        assert_eq!(output["meta"]["parallel-dispatch/attempt"], 3);
        assert_eq!(run(json!({ "tool": "rag_search" })).await.unwrap()["arguments"], json!({}));
    }

    #[tokio::test]
    async fn only_what_is_allowed_and_listed_is_called() {
        for (input, said) in [
            (json!({ "tool": "drop_all" }), "do not allow tool \"drop_all\""),
            (json!({ "tool": "gone" }), "there is no tool \"gone\""),
            (json!({ "tool": "gone", "upstream": "other" }), "there is no upstream \"other\""),
            (json!({ "tool": "rag_search", "upstream": "other" }), "do not allow"),
            (json!({ "arguments": {} }), "\"tool\" is missing"),
            (json!({ "tool": 7 }), "\"tool\" is no string"),
            (json!({ "tool": "rag_search", "arguments": [] }), "is no object"),
        ] {
            let failure = run(input.clone()).await.unwrap_err();
            assert!(failure.contains(said), "{input}: {failure}");
        }
    }
}
