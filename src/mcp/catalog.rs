//! What clients read before they call: instructions, tools, their schemas and annotations.

use std::sync::{Arc, LazyLock};

use rmcp::model::{JsonObject, MetaObject, Tool, ToolAnnotations};
use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Value, json};

use super::tools;

/// What the server tells a model about itself; clients cut it at 4,096 characters.
pub(super) const INSTRUCTIONS: &str = include_str!("instructions.md");

/// A tool as it is declared.
#[derive(Debug)]
pub(super) struct Entry {
    name: &'static str,
    title: &'static str,
    effect: Effect,
    description: &'static str,
    input: JsonObject,
    output: JsonObject,
}

/// What a call changes, for the annotations that clients decide by.
#[derive(Clone, Copy, Debug)]
pub(super) enum Effect {
    /// Nothing that anybody would miss; clients may call it in parallel.
    ReadOnly,
    /// Starts agents, which write files and call upstreams.
    Changes,
    /// Lets what runs go on otherwise, and takes nothing away; calling it twice is calling it
    /// once.
    Steers,
    /// Stops agents; calling it twice is calling it once.
    Stops,
    /// Moves a task between the server and a worker.
    Works,
}

/// The schemas of one tool.
#[derive(Debug)]
pub struct ToolSchemas {
    /// The tool's name.
    pub name: String,
    /// The JSON Schema (2020-12) of its arguments.
    pub input: Value,
    /// The JSON Schema (2020-12) of its structured content.
    pub output: Value,
}

impl Entry {
    pub(super) fn new<Input: JsonSchema, Output: JsonSchema>(
        name: &'static str,
        title: &'static str,
        effect: Effect,
        description: &'static str,
    ) -> Self {
        let (input, output) = (schema_of::<Input>(), schema_of::<Output>());
        Self { name, title, effect, description, input, output }
    }

    fn into_tool(self) -> Tool {
        let annotations = match self.effect {
            Effect::ReadOnly => ToolAnnotations::with_title(self.title)
                .read_only(true)
                .idempotent(true)
                .open_world(false),
            Effect::Changes => ToolAnnotations::with_title(self.title)
                .read_only(false)
                .destructive(true)
                .idempotent(false)
                .open_world(true),
            Effect::Steers => ToolAnnotations::with_title(self.title)
                .read_only(false)
                .destructive(false)
                .idempotent(true)
                .open_world(true),
            Effect::Stops => ToolAnnotations::with_title(self.title)
                .read_only(false)
                .destructive(true)
                .idempotent(true)
                .open_world(false),
            Effect::Works => ToolAnnotations::with_title(self.title)
                .read_only(false)
                .destructive(false)
                .idempotent(false)
                .open_world(false),
        };
        let mut tool = Tool::new(self.name, self.description, Arc::new(self.input))
            .with_title(self.title)
            .with_raw_output_schema(Arc::new(self.output))
            .with_annotations(annotations);
        tool.meta = Some(search_hints());
        tool
    }
}

/// The tools in a fixed order, made once; those for workers only where the caller may be one.
pub(super) fn tools(may_pull: bool) -> impl Iterator<Item = &'static Tool> {
    static TOOLS: LazyLock<Vec<Tool>> =
        LazyLock::new(|| tools::all().into_iter().map(Entry::into_tool).collect());
    TOOLS.iter().filter(move |it| may_pull || !tools::is_for_workers(&it.name))
}

/// The schemas of every tool, in the order in which clients see them.
pub fn schemas() -> Vec<ToolSchemas> {
    let to_schemas = |it: Entry| ToolSchemas {
        name: it.name.to_owned(),
        input: Value::Object(it.input),
        output: Value::Object(it.output),
    };
    tools::all().into_iter().map(to_schemas).collect()
}

/// Claude Code keeps tools behind a search unless they ask to be in the first prompt.
fn search_hints() -> MetaObject {
    let hints = json!({
        "anthropic/alwaysLoad": true,
        "anthropic/searchHint": "run several agent tasks in parallel, with dependencies",
    });
    serde_json::from_value(hints).unwrap_or_default()
}

fn schema_of<T: JsonSchema>() -> JsonObject {
    let schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>();
    let Value::Object(mut map) = schema.to_value() else { return JsonObject::new() };
    // Clients want an object at the root, and need no Rust name for it.
    map.shift_remove("title");
    map
}
