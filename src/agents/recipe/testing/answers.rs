//! What the tools of the stand-ins answer, in the shapes of the real ones.

use serde_json::{Map, Value, json};

/// The answer of `tool`. Code that holds the word `bad` is bad.
pub(super) fn usual(tool: &str, args: &Map<String, Value>) -> Value {
    let text = |name: &str| args.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let is_bad = text("content").contains("bad");
    match tool {
        "perform_rag_query" => json!({
            "success": true, "query": text("query"),
            "results": { "rag_search": { "results": [{ "content": "use contracts" }] } },
            "synthesis": { "key_findings": ["contracts first"], "patterns_identified": [] },
        }),
        "assess_code_quality" => {
            let score = if is_bad { 0.4 } else { 0.9 };
            let violations: &[&str] = if is_bad { &["no contract"] } else { &[] };
            json!({
                "success": true, "quality_score": score,
                "architectural_compliance": { "score": score, "reasoning": "by the words in it" },
                "onex_compliance": { "score": score, "violations": violations, "recommendations": [] },
            })
        }
        "check_architectural_compliance" => {
            let violations: &[&str] = if is_bad { &["no contract"] } else { &[] };
            json!({ "success": true, "compliance_score": 0.8, "violations": violations,
                    "recommendations": ["add a contract"] })
        }
        "get_quality_patterns" => {
            let patterns: &[&str] = if is_bad { &["god object"] } else { &[] };
            json!({ "success": true, "patterns": patterns })
        }
        "identify_optimization_opportunities" => {
            json!({ "success": true, "opportunities": [{ "title": "cache it" }] })
        }
        "rag_search_knowledge_base" => knowledge(&text("query"), &text("return_mode")),
        "rag_search_code_examples" => json!({
            "success": true, "results": [{ "content": "def f(): ...", "summary": "an example" }],
            "reranked": false, "error": null,
        }),
        "rag_read_full_page" => json!({
            "success": true, "error": null,
            "page": { "page_id": text("page_id"), "full_content": "the whole page" },
        }),
        "manage_task" => json!({ "success": true, "task": { "id": "b-1" }, "task_id": "b-1",
                                 "message": "done" }),
        _ => json!({ "success": false, "error": format!("no operation {tool}") }),
    }
}

/// The default mode carries no text, as with the real one.
fn knowledge(query: &str, return_mode: &str) -> Value {
    let hit = match return_mode {
        "chunks" => json!({ "content": format!("about {query}"), "similarity": 0.8,
                            "metadata": { "page_id": "p-1", "url": "https://docs/p-1" } }),
        _ => json!({ "page_id": "p-1", "url": "https://docs/p-1", "word_count": 9 }),
    };
    json!({ "success": true, "results": [hit], "return_mode": return_mode, "error": null })
}
