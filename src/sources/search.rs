//! `rag:QUERY` and `pattern:NAME`: what the upstream finds, by the first of its search tools.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::{PIECE_BYTES_MAX, error, text_item};
use crate::{
    model::Attempt,
    ports::{ContextError, ContextItem, ContextSource, Gathering},
    upstream::{Archon, CallMeta, ToolInfo},
};

/// Asks the upstream named `archon`.
#[derive(Debug)]
pub struct SearchSource {
    prefix: &'static str,
    tools: &'static [Tool],
    archon: Arc<Archon>,
}

/// A search tool that upstreams are known to have.
#[derive(Debug)]
struct Tool {
    name: &'static str,
    /// The argument that takes what is looked for.
    query: &'static str,
    /// An argument that must be set for text to come back.
    fixed: Option<(&'static str, &'static str)>,
}

const RAG_TOOLS: [Tool; 2] = [
    Tool { name: "perform_rag_query", query: "query", fixed: None },
    // The default mode answers a list of pages without their text.
    Tool {
        name: "rag_search_knowledge_base",
        query: "query",
        fixed: Some(("return_mode", "chunks")),
    },
];
const PATTERN_TOOLS: [Tool; 3] = [
    Tool { name: "search_code_examples", query: "query", fixed: None },
    Tool { name: "rag_search_code_examples", query: "query", fixed: None },
    Tool {
        name: "get_quality_patterns",
        query: "content",
        fixed: Some(("pattern_type", "best_practices")),
    },
];
/// The arguments that bound how much comes back, as upstreams call them.
const COUNT_ARGUMENTS: [&str; 2] = ["match_count", "max_results_per_source"];
const N_MATCHES: u32 = 5;
const SEARCH_TIMEOUT: Duration = Duration::from_secs(30);

impl SearchSource {
    /// `rag:QUERY`: passages of the knowledge base.
    pub fn rag(archon: Arc<Archon>) -> Self {
        Self { prefix: "rag", tools: &RAG_TOOLS, archon }
    }

    /// `pattern:NAME`: code examples and patterns.
    pub fn pattern(archon: Arc<Archon>) -> Self {
        Self { prefix: "pattern", tools: &PATTERN_TOOLS, archon }
    }

    async fn search(&self, key: &str, on_behalf: &Gathering) -> Result<ContextItem, ContextError> {
        let fail = |reason: &str| error(self.prefix, key, reason);
        let (upstream, _) = self.archon.choose().await;
        let offered = upstream.tools().await.map_err(|it| fail(&it.message))?;
        let find = |tool: &'static Tool| {
            offered.iter().find(|it| it.name == tool.name).map(|it| (tool, it))
        };
        let Some((tool, offer)) = self.tools.iter().find_map(find) else {
            let names: Vec<_> = self.tools.iter().map(|it| it.name).collect();
            let message =
                format!("upstream \"{}\" has none of {}", upstream.name(), names.join(", "));
            return Err(fail(&message));
        };
        let meta = CallMeta::new("context".to_owned(), Attempt(1), on_behalf.trace.as_ref());
        let (arguments, never) = (tool.arguments(key, offer), CancellationToken::new());
        let outcome = upstream.call(tool.name, arguments, meta, SEARCH_TIMEOUT, &never).await;
        if let Some(calls) = &on_behalf.calls {
            // Whoever has stopped listening has stopped gathering.
            let _gone = calls.send(outcome.record);
        }
        let found = outcome.result.map_err(|it| fail(&it.message))?;
        let mut metadata = Map::new();
        metadata.insert("upstream".to_owned(), upstream.name().into());
        metadata.insert("tool".to_owned(), tool.name.into());
        Ok(self.item(found, metadata))
    }

    /// Keeps JSON as JSON where it fits, and as the start of its text where it does not.
    fn item(&self, found: Value, mut metadata: Map<String, Value>) -> ContextItem {
        let text = found.as_str().map_or_else(|| found.to_string(), str::to_owned);
        if found.is_string() || text.len() > PIECE_BYTES_MAX {
            return text_item(self.prefix, &text, metadata);
        }
        metadata.insert("bytes".to_owned(), text.len().into());
        ContextItem { kind: self.prefix.to_owned(), content: found, metadata }
    }
}

impl ContextSource for SearchSource {
    fn prefix(&self) -> &'static str {
        self.prefix
    }

    fn gather<'a>(
        &'a self,
        key: &'a str,
        on_behalf: &'a Gathering,
    ) -> BoxFuture<'a, Result<ContextItem, ContextError>> {
        Box::pin(self.search(key, on_behalf))
    }
}

impl Tool {
    fn arguments(&self, key: &str, offer: &ToolInfo) -> Map<String, Value> {
        let mut arguments = Map::new();
        arguments.insert(self.query.to_owned(), key.into());
        if let Some((name, value)) = self.fixed {
            arguments.insert(name.to_owned(), value.into());
        }
        let known = offer.input_schema.get("properties").and_then(Value::as_object);
        let is_known = |name: &&str| known.is_some_and(|it| it.contains_key(*name));
        if let Some(count) = COUNT_ARGUMENTS.into_iter().find(is_known) {
            arguments.insert(count.to_owned(), json!(N_MATCHES));
        }
        arguments
    }
}

#[cfg(test)]
mod tests {
    use rmcp::model::CallToolResult;

    use super::*;
    use crate::upstream::{
        ArchonChoice, Era,
        testing::{StillClock, TestServer, memory_upstream},
    };

    fn archon(server: TestServer) -> Arc<Archon> {
        let upstream = memory_upstream(server, Era::Legacy);
        Archon::new(ArchonChoice::Configured(upstream), Arc::new(StillClock::default()))
    }

    #[tokio::test]
    async fn the_first_search_tool_on_offer_is_asked() {
        let tools = ["rag_search_code_examples", "rag_search_knowledge_base"];
        let archon = archon(TestServer::echo(&tools));
        let item = SearchSource::rag(Arc::clone(&archon))
            .gather("how to retry", &Gathering::default())
            .await
            .unwrap();
        assert_eq!(item.kind, "rag");
        assert_eq!(item.content["tool"], "rag_search_knowledge_base");
        let expected =
            json!({ "query": "how to retry", "return_mode": "chunks", "match_count": 5 });
        assert_eq!(item.content["arguments"], expected);
        assert_eq!(item.metadata["tool"], "rag_search_knowledge_base");
        let item =
            SearchSource::pattern(archon).gather("retry", &Gathering::default()).await.unwrap();
        assert_eq!(item.content["arguments"], json!({ "query": "retry", "match_count": 5 }));
    }

    #[tokio::test]
    async fn an_upstream_without_search_says_so() {
        let source = SearchSource::pattern(archon(TestServer::echo(&["coder"])));
        let expected = "failed to gather context \"pattern:x\": upstream \"embedded\" has none of \
                        search_code_examples, rag_search_code_examples, get_quality_patterns";
        assert_eq!(
            source.gather("x", &Gathering::default()).await.unwrap_err().to_string(),
            expected
        );
    }

    #[tokio::test]
    async fn a_large_answer_is_cut_and_a_failed_one_is_an_error() {
        let server = TestServer::new(&["perform_rag_query"], |call| async move {
            Ok(match call.arguments["query"].as_str() {
                Some("large") => CallToolResult::structured(json!({ "text": "x".repeat(70_000) })),
                _ => CallToolResult::structured(json!({ "success": false, "error": "no index" })),
            })
        });
        let source = SearchSource::rag(archon(server));
        let item = source.gather("large", &Gathering::default()).await.unwrap();
        assert_eq!(item.content.as_str().unwrap().len(), PIECE_BYTES_MAX);
        assert_eq!(item.metadata["note"], "cut after 65536 of 70011 bytes");
        assert!(
            source
                .gather("else", &Gathering::default())
                .await
                .unwrap_err()
                .reason
                .contains("no index")
        );
    }
}
