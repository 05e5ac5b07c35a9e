//! Places in a document of `run`: `${WORKSPACE}`, `${PROJECT_DIR}` and `${OUTPUT_DIR}`.
//!
//! A document must name absolute paths, but a file that is shared cannot know where it lies. So
//! the command that reads documents from files puts in the places. It does so only at the start of
//! values that are paths: all other text belongs to the agents, and `${tasks…}` to the dispatcher.

use std::path::Path;

use serde_json::Value;

/// What the names stand for.
#[derive(Clone, Debug)]
pub struct Places {
    workspace: String,
    output_dir: String,
}

impl Places {
    /// Takes the first workspace; generated files go to `generated` in it. None if the path is not
    /// UTF-8, which no document can name.
    pub fn of(workspace: &Path) -> Option<Self> {
        let output_dir = workspace.join("generated").to_str()?.to_owned();
        let workspace = workspace.to_str()?.trim_end_matches('/').to_owned();
        Some(Self { workspace, output_dir })
    }

    fn expand(&self, text: &mut String) {
        let names = [
            ("${WORKSPACE}", &self.workspace),
            ("${PROJECT_DIR}", &self.workspace),
            ("${OUTPUT_DIR}", &self.output_dir),
        ];
        for (name, place) in names {
            if let Some(rest) = text.strip_prefix(name)
                && (rest.is_empty() || rest.starts_with('/'))
            {
                *text = if place.is_empty() && rest.is_empty() {
                    "/".to_owned()
                } else {
                    format!("{place}{rest}")
                };
                return;
            }
        }
    }
}

/// Puts the places into the paths of a dispatch document: `output_path`, `context_files` and
/// `affected_files` of each task's `input_data`, its `writes`, the files that it is expected to
/// leave, the texts in the items of its `for_each`, and `trace_dir` of its `config`.
///
/// What is not of that form is left as it is; the document's own check speaks about it.
pub fn expand(document: &mut Value, places: &Places) {
    if let Some(trace_dir) = document.pointer_mut("/config/trace_dir") {
        expand_path(trace_dir, places);
    }
    let Some(Value::Array(tasks)) = document.get_mut("tasks") else {
        return;
    };
    for task in tasks {
        for name in ["output_path", "context_files", "affected_files"] {
            if let Some(value) = task.get_mut("input_data").and_then(|it| it.get_mut(name)) {
                expand_path(value, places);
            }
        }
        for name in ["files", "changed"] {
            if let Some(files) = task.get_mut("expect").and_then(|it| it.get_mut(name)) {
                expand_path(files, places);
            }
        }
        if let Some(globs) = task.get_mut("writes") {
            expand_path(globs, places);
        }
        if let Some(items) = task.get_mut("for_each").and_then(|it| it.get_mut("items")) {
            expand_items(items, places);
        }
    }
}

/// Items are paths, or say somewhere which path they are about.
fn expand_items(value: &mut Value, places: &Places) {
    match value {
        Value::String(text) => places.expand(text),
        Value::Array(items) => items.iter_mut().for_each(|it| expand_items(it, places)),
        Value::Object(fields) => fields.values_mut().for_each(|it| expand_items(it, places)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn expand_path(value: &mut Value, places: &Places) {
    match value {
        Value::String(text) => places.expand(text),
        Value::Array(items) => {
            for item in items {
                if let Value::String(text) = item {
                    places.expand(text);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(workspace: &str, mut document: Value, expected: &Value) {
        expand(&mut document, &Places::of(Path::new(workspace)).unwrap());
        assert_eq!(&document, expected);
    }

    fn task(input_data: &Value) -> Value {
        json!({ "tasks": [{ "task_id": "a", "input_data": input_data }] })
    }

    #[test]
    fn expected_files_may_begin_with_a_place() {
        let expecting = |path: &str| json!({ "tasks": [{ "expect": { "files": [path], "changed": [path], "checks": [path] } }] });
        let mut expected = expecting("/w/a.py");
        expected["tasks"][0]["expect"]["checks"] = json!(["${WORKSPACE}/a.py"]);
        check("/w", expecting("${WORKSPACE}/a.py"), &expected);
    }

    #[test]
    fn places_are_put_in_where_paths_stand() {
        check(
            "/home/me/project",
            task(&json!({
                "output_path": "${OUTPUT_DIR}/node_a_effect.py",
                "context_files": ["${PROJECT_DIR}/a.py", "${WORKSPACE}", "/b.py", 7],
                "affected_files": ["${WORKSPACE}/c.py"],
            })),
            &task(&json!({
                "output_path": "/home/me/project/generated/node_a_effect.py",
                "context_files": ["/home/me/project/a.py", "/home/me/project", "/b.py", 7],
                "affected_files": ["/home/me/project/c.py"],
            })),
        );
        check(
            "/w",
            json!({ "config": { "trace_dir": "${OUTPUT_DIR}/traces" } }),
            &json!({ "config": { "trace_dir": "/w/generated/traces" } }),
        );
        let task = |glob, item| {
            let items = json!([{ "path": [item] }, 7, item]);
            json!({ "tasks": [{ "writes": [glob], "for_each": { "items": items } }] })
        };
        let expected = task("/w/generated/*", "/w/a");
        check("/w", task("${OUTPUT_DIR}/*", "${WORKSPACE}/a"), &expected);
    }

    #[test]
    fn other_text_is_left_alone() {
        let text = json!({
            "contract_description": "${WORKSPACE}/a",
            "output_path": "x${WORKSPACE}/a",
            "context_files": ["${tasks.a.output.output_path}", "${WORKSPACE}a", "${HOME}/a", "$"],
            "pre_gathered_context": { "output_path": "${WORKSPACE}/a" },
        });
        check("/w", task(&text), &task(&text));
        for odd in [json!(null), json!([]), json!({ "tasks": {} }), json!({ "tasks": [1, {}] })] {
            check("/w", odd.clone(), &odd);
        }
    }

    #[test]
    fn a_place_is_put_in_once_and_the_root_stays_a_path() {
        let named = task(&json!({ "output_path": "${WORKSPACE}" }));
        check("/", named.clone(), &task(&json!({ "output_path": "/" })));
        check("/${OUTPUT_DIR}", named, &task(&json!({ "output_path": "/${OUTPUT_DIR}" })));
    }
}
