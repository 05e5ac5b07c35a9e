//! The tools of an upstream: which may be used, and whether they are the ones seen first.

use std::sync::Arc;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use rmcp::model::Tool;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

/// A tool that an upstream offers.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolInfo {
    /// Its name.
    pub name: String,
    /// What it does, as the upstream says.
    pub description: String,
    /// The JSON Schema of its arguments.
    pub input_schema: Arc<Map<String, Value>>,
}

/// Which tools of an upstream may be used; by default all.
#[derive(Clone, Debug, Default)]
pub struct ToolFilter(Option<GlobSet>);

/// The tools on offer, with what tells them from others.
#[derive(Clone, Debug)]
pub(super) struct ToolList {
    /// The tools that may be used.
    pub(super) tools: Arc<[ToolInfo]>,
    /// The SHA-256 of their names, descriptions and schemas, in any order.
    pub(super) digest: [u8; 32],
}

impl ToolFilter {
    /// Allows the tools of these names; in each `*` and `?` stand for any characters.
    pub fn new(patterns: &[String]) -> Result<Self, globset::Error> {
        let mut set = GlobSetBuilder::new();
        for it in patterns {
            set.add(GlobBuilder::new(it).literal_separator(false).build()?);
        }
        Ok(Self(Some(set.build()?)))
    }

    /// Whether a tool may be used.
    pub(super) fn allows(&self, tool: &str) -> bool {
        self.0.as_ref().is_none_or(|it| it.is_match(tool))
    }
}

impl ToolList {
    pub(super) fn new(tools: Vec<ToolInfo>) -> Self {
        let mut lines: Vec<String> = tools.iter().map(identity).collect();
        lines.sort_unstable();
        let mut hash = Sha256::new();
        for line in lines {
            hash.update(line.as_bytes());
            hash.update(b"\n");
        }
        Self { tools: tools.into(), digest: hash.finalize().into() }
    }
}

impl From<Tool> for ToolInfo {
    fn from(tool: Tool) -> Self {
        Self {
            name: tool.name.into_owned(),
            description: tool.description.unwrap_or_default().into_owned(),
            input_schema: tool.input_schema,
        }
    }
}

/// All that a caller relies on, in one line, fields of objects sorted: their order says nothing.
fn identity(tool: &ToolInfo) -> String {
    let schema = sorted(&Value::Object(Map::clone(&tool.input_schema)));
    Value::from(vec![Value::from(tool.name.as_str()), tool.description.as_str().into(), schema])
        .to_string()
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_unstable_by_key(|it| it.0);
            let fields = fields.into_iter().map(|it| (it.0.clone(), sorted(it.1)));
            Value::Object(fields.collect())
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tool(name: &str, description: &str, schema: &Value) -> ToolInfo {
        let input_schema = Arc::new(schema.as_object().unwrap().clone());
        ToolInfo { name: name.to_owned(), description: description.to_owned(), input_schema }
    }

    #[test]
    fn names_and_patterns_allow_tools() {
        let patterns = ["rag_*", "coder", "v?"].map(str::to_owned);
        let filter = ToolFilter::new(&patterns).unwrap();
        for allowed in ["rag_search", "rag_", "coder", "v2", "rag_a/b"] {
            assert!(filter.allows(allowed), "{allowed}");
        }
        for refused in ["", "Coder", "coder2", "v", "v10", "delete_rag_x"] {
            assert!(!filter.allows(refused), "{refused}");
        }
        assert!(ToolFilter::default().allows("anything"));
        assert!(!ToolFilter::new(&[]).unwrap().allows("anything"));
    }

    #[test]
    fn the_digest_is_of_what_callers_rely_on_and_not_of_its_order() {
        let digest = |tools: Vec<ToolInfo>| ToolList::new(tools).digest;
        let schema = json!({ "type": "object", "properties": { "a": {}, "b": [1, { "x": 1 }] } });
        let turned = json!({ "properties": { "b": [1, { "x": 1 }], "a": {} }, "type": "object" });
        let (a, b) = (tool("a", "does a", &schema), tool("b", "does b", &schema));
        let first = digest(vec![a.clone(), b.clone()]);
        assert_eq!(first, digest(vec![b, tool("a", "does a", &turned)]));
        for other in [
            vec![a.clone()],
            vec![a.clone(), tool("b", "does more", &schema)],
            vec![a.clone(), tool("c", "does b", &schema)],
            vec![a, tool("b", "does b", &json!({ "type": "object" }))],
        ] {
            assert_ne!(first, digest(other));
        }
    }
}
