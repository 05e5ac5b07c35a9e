//! What clients read before they call: instructions, tools, their schemas and annotations.

use std::sync::{Arc, LazyLock};

use rmcp::model::{JsonObject, MetaObject, Tool, ToolAnnotations};
use schemars::{JsonSchema, Schema, generate::SchemaSettings, transform::RecursiveTransform};
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
        let (input, output) = (schema_of::<Input>(), or_refusal(schema_of::<Output>()));
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
    let settings = SchemaSettings::draft2020_12();
    let settings = settings.with_transform(RecursiveTransform(remove_rust_format));
    let schema = settings.into_generator().into_root_schema_for::<T>();
    let Value::Object(mut map) = schema.to_value() else { return JsonObject::new() };
    // Clients want an object at the root, and need no Rust name for it.
    map.shift_remove("title");
    map
}

/// Clients warn of formats that JSON Schema does not know, as those of Rust's numbers.
fn remove_rust_format(schema: &mut Schema) {
    let format = schema.get("format").and_then(Value::as_str).unwrap_or_default();
    let is_int = format.trim_start_matches('u').starts_with("int");
    let is_of_rust = is_int || matches!(format, "float" | "double");
    if is_of_rust && let Some(fields) = schema.as_object_mut() {
        fields.shift_remove("format");
    }
}

/// Refusals are structured content as well, and some clients check whatever is.
fn or_refusal(mut output: JsonObject) -> JsonObject {
    if let Some(required) = output.shift_remove("required") {
        let refusal = json!({ "required": ["error", "errors", "error_count"] });
        output.insert("anyOf".to_owned(), json!([{ "required": required }, refusal]));
    }
    output
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ErrorCode, Refusal};

    /// Whether the value fits the schema.
    fn fits(schema: &Value, value: &Value) -> bool {
        let mut compiler = boon::Compiler::new();
        compiler.add_resource("memory:schema", schema.clone()).unwrap();
        let mut schemas = boon::Schemas::new();
        let index = compiler.compile("memory:schema", &mut schemas).unwrap();
        schemas.validate(value, index).is_ok()
    }

    #[test]
    fn a_refusal_fits_the_schema_of_every_tool_and_nonsense_does_not() {
        let refusal = Refusal::of(ErrorCode::Busy, "/tasks", "too much", "later").retry_after(5);
        let refusal = json!(refusal.to_body());
        for tool in schemas() {
            assert!(fits(&tool.output, &refusal), "{}", tool.name);
            let is_all_optional = tool.output.get("anyOf").is_none();
            assert!(is_all_optional || !fits(&tool.output, &json!({ "a": 1 })), "{}", tool.name);
        }
    }

    #[test]
    fn no_schema_has_a_format_of_rust_alone() {
        for tool in schemas() {
            let text = json!([tool.input, tool.output]).to_string();
            for format in ["int8", "int16", "int32", "int64", "uint", "float", "double"] {
                assert!(!text.contains(&format!(r#""format":"{format}"#)), "{}", tool.name);
                assert!(!text.contains(&format!(r#""format":"u{format}"#)), "{}", tool.name);
            }
        }
    }
}
