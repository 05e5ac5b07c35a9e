//! The tools: their names, their schemas, and how their arguments are read.

use std::sync::Arc;

use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use schemars::{JsonSchema, generate::SchemaSettings};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{coder::AssessInput, error::ArchonError};
use crate::model::{CoderInput, DebugInput, TaskId, text};

/// The longest description of a task that is let in, in characters.
const DESCRIPTION_CHARS_MAX: usize = 100_000;

/// The tool of the coder.
pub(super) const CODER: &str = "agent_coder";
/// The tool of the debugger.
pub(super) const DEBUG: &str = "agent_debug_intelligence";
/// The tool that writes a node and leaves the file to the caller.
pub(super) const GENERATE: &str = "generate_code";
/// The tool that says how good a file is.
pub(super) const ASSESS: &str = "assess_code_quality";
/// The tool that says whether anyone is there.
pub(super) const HEALTH: &str = "health_check";

/// Lists the tools.
pub(super) fn list() -> Vec<Tool> {
    let writes = ToolAnnotations::new()
        .read_only(false)
        .destructive(true)
        .idempotent(true)
        .open_world(false);
    let reads = ToolAnnotations::new().read_only(true).open_world(false);
    vec![
        Tool::new(
            CODER,
            "Writes a scaffold of an ONEX node in Python to output_path, checked before it is \
             written. The part that does the work is injected.",
            schema_of::<CoderInput>(),
        )
        .with_annotations(writes),
        Tool::new(
            DEBUG,
            "Investigates a problem from files and stack traces without running anything: \
             baseline, focus, root cause, optimisation, synthesis.",
            schema_of::<DebugInput>(),
        )
        .with_annotations(reads.clone()),
        Tool::new(
            GENERATE,
            "Answers a scaffold of an ONEX node in Python as agent_coder does; writes no file.",
            schema_of::<CoderInput>(),
        )
        .with_annotations(reads.clone()),
        Tool::new(
            ASSESS,
            "Says how good a Python file is: one score, and what an ONEX node of its kind lacks.",
            schema_of::<AssessInput>(),
        )
        .with_annotations(reads.clone()),
        Tool::new(
            HEALTH,
            "Says that the server is ready.",
            Arc::new(object(json!({ "type": "object", "properties": {} }))),
        )
        .with_annotations(reads),
    ]
}

/// Reads the arguments of an agent: the fields of its input, `task_id` and `description`.
///
/// The latter two are for people and logs; they are checked and change nothing else.
pub(super) fn read<T: DeserializeOwned>(mut arguments: JsonObject) -> Result<T, ArchonError> {
    if let Some(task_id) = arguments.remove("task_id")
        && !task_id.as_str().is_some_and(TaskId::is_valid)
    {
        return Err(ArchonError::Arguments("task_id is not a task id".to_owned()));
    }
    if let Some(description) = arguments.remove("description") {
        let n_chars = description.as_str().map(|it| it.chars().count());
        if n_chars.is_none_or(|it| it > DESCRIPTION_CHARS_MAX) {
            let message =
                format!("description is not a text of at most {DESCRIPTION_CHARS_MAX} characters");
            return Err(ArchonError::Arguments(message));
        }
    }
    serde_json::from_value(Value::Object(arguments))
        .map_err(|error| ArchonError::Arguments(text::cut(&error.to_string(), 300)))
}

/// The schema of an agent's arguments: that of its input, with the task's own fields.
fn schema_of<T: JsonSchema>() -> Arc<JsonObject> {
    let settings = SchemaSettings::draft2020_12().with(|it| it.inline_subschemas = true);
    let mut schema = object(settings.into_generator().into_root_schema_for::<T>().to_value());
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        let task_id = "The name of the task that this is for.";
        properties.insert("task_id".into(), json!({ "type": "string", "description": task_id }));
        let about = "What the task is about, for people.";
        properties.insert("description".into(), json!({ "type": "string", "description": about }));
    }
    Arc::new(schema)
}

fn object(value: Value) -> JsonObject {
    match value {
        Value::Object(it) => it,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            JsonObject::new()
        }
    }
}
