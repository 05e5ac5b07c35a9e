//! The agent `tool`: calls the tool that its input names, if the settings allow that one.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use serde_json::{Map, Value};

use super::call::{call_tool, cancelled};
use crate::{
    model::{ARCHON, AgentName, Failure, FailureCode, text},
    ports::{AgentBackend, AttemptCall},
    upstream::{ToolFilter, Upstream},
};

/// Calls whatever tool its input names: `upstream`, `tool`, `arguments`.
#[derive(Debug)]
pub(super) struct AnyToolAgent {
    /// Those that it may call, by name: the same for all attempts.
    upstreams: Upstreams,
    /// Over `UPSTREAM/TOOL`.
    allowed: ToolFilter,
    binding: String,
}

/// Upstreams by the names that inputs have for them.
pub(super) type Upstreams = BTreeMap<String, Arc<Upstream>>;

/// A call that an input asks for.
struct Asked {
    upstream: String,
    tool: String,
    arguments: Map<String, Value>,
}

impl AnyToolAgent {
    /// An agent that may call the tools of these patterns on these upstreams.
    pub(super) fn new(upstreams: Upstreams, patterns: &[String]) -> Result<Self, String> {
        let allowed = ToolFilter::new(patterns).map_err(|it| it.to_string())?;
        let places = upstreams.iter().map(|(name, it)| format!("{name} {}", it.identity()));
        let places = places.collect::<Vec<_>>().join("\n");
        let binding = format!("tool\n{places}\n{}", env!("CARGO_PKG_VERSION"));
        Ok(Self { upstreams, allowed, binding })
    }

    async fn attempt(&self, call: AttemptCall) -> Result<Value, Failure> {
        let Asked { upstream: name, tool, arguments } = Asked::read(&call.input)?;
        if !self.allowed.allows(&format!("{name}/{tool}")) {
            return Err(refuse(format!("the settings do not allow {}", shown(&name, &tool))));
        }
        let upstream = self.upstreams.get(&name).ok_or_else(|| {
            refuse(format!("there is no upstream \"{}\"", text::escape(&text::cut(&name, 100))))
        })?;
        let listed = is_listed(upstream, &tool, call.timeout);
        let listed = call.cancelled.run_until_cancelled(listed).await;
        if !listed.ok_or_else(cancelled)?? {
            return Err(refuse(format!("there is no {}", shown(&name, &tool))));
        }
        Ok(call_tool(upstream, &tool, arguments, &call, call.timeout).await?)
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
        let upstream = text("upstream")?.unwrap_or_else(|| ARCHON.to_owned());
        Ok(Self { upstream, tool, arguments })
    }
}

/// Whether a tool of this upstream may be meant by one of the patterns.
pub(super) fn may_reach(patterns: &[String], upstream: &str) -> bool {
    let prefix = format!("{upstream}/");
    patterns.iter().any(|it| {
        let literal = it.split(['*', '?', '[', '{', '\\']).next().unwrap_or_default();
        literal.starts_with(&prefix) || prefix.starts_with(literal)
    })
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

    async fn run(input: Value) -> Result<Value, String> {
        let upstream = memory_upstream(TestServer::echo(&["rag_search", "drop_all"]), Era::Legacy);
        let upstreams = BTreeMap::from([("archon".to_owned(), upstream)]);
        let patterns = ["archon/rag_*".to_owned(), "*/gone".to_owned()];
        let agent = AnyToolAgent::new(upstreams, &patterns).unwrap();
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

    #[test]
    fn patterns_tell_which_upstreams_they_are_about() {
        for (pattern, may) in [
            ("archon/rag_*", true),
            ("arch*", true),
            ("*", true),
            ("{archon,other}/x", true),
            ("other/*", false),
            ("archons/*", false),
        ] {
            assert_eq!(may_reach(&[pattern.to_owned()], "archon"), may, "{pattern}");
        }
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
