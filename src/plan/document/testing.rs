//! Rules and documents for the tests of this room.

use serde_json::{Value, json};

use super::{super::rules::*, Checked, check_document};
use crate::model::{Refusal, TaskId, json as strict};

/// Allows what is below `/w`; a `trace_dir` may also be relative.
#[derive(Debug)]
pub(crate) struct Workspace;

impl PathPolicy for Workspace {
    fn check(&self, path: &str) -> Result<(), PathFault> {
        match path {
            _ if !path.starts_with('/') => Err(PathFault::NotAbsolute),
            _ if path.starts_with("/w/") && !path.contains("..") => Ok(()),
            _ => Err(PathFault::NotAllowed),
        }
    }

    fn roots(&self) -> Vec<String> {
        vec!["/w".to_owned()]
    }

    fn check_trace_dir(&self, dir: &str) -> Result<(), PathFault> {
        match dir.starts_with('/') {
            true => self.check(dir),
            false if dir.contains("..") => Err(PathFault::NotAllowed),
            false => Ok(()),
        }
    }
}

/// Hands the rules of a server to a test; `free` is an agent of the settings.
pub(crate) fn with_rules<T>(limits: Limits, test: impl FnOnce(&Rules<'_>) -> T) -> T {
    let [coder, debug] = AgentRule::built_in();
    let free = AgentRule { name: crate::model::AgentName::new("free"), input: InputKind::Free };
    let agents = [coder, debug, free];
    let checks = ["lint".to_owned(), "tests".to_owned()];
    test(&Rules { limits, agents: &agents, checks: &checks, paths: &Workspace })
}

/// Reads and checks a document.
pub(crate) fn check_text(text: &[u8]) -> Result<Checked, Refusal> {
    let json = strict::read(text)?;
    with_rules(Limits::SERVER, |rules| check_document(&json, rules))
}

/// Checks a document.
pub(crate) fn check_value(document: &Value) -> Result<Checked, Refusal> {
    check_text(document.to_string().as_bytes())
}

/// A task that is as it should be.
pub(crate) fn coder(task_id: &str) -> Value {
    json!({
        "task_id": task_id, "agent": "coder", "description": format!("Generate {task_id}"),
        "input_data": {
            "contract_description": "writes users", "node_type": "Effect",
            "output_path": format!("/w/{task_id}.py"),
        },
    })
}

/// The faults of a refusal, one a line with its hint below.
pub(crate) fn show_faults(refusal: &Refusal) -> String {
    let body = refusal.to_body();
    let faults = body.errors.iter().map(|it| {
        format!("{} at {}: {}\n  hint: {}", it.code.as_str(), it.path, it.message, it.hint)
    });
    let mut lines: Vec<_> = faults.collect();
    if body.error_count > body.errors.len() {
        lines.push(format!("{} in all", body.error_count));
    }
    lines.join("\n")
}

/// What a plan was made into: tasks with their inputs, and warnings.
pub(crate) fn show_plan(plan: Result<Checked, Refusal>) -> String {
    let checked = match plan {
        Err(refusal) => return show_faults(&refusal),
        Ok(checked) => checked,
    };
    let mut lines = Vec::new();
    for it in &checked.tasks {
        let waits: Vec<_> = it.dependencies.iter().map(TaskId::as_str).collect();
        let estimate = it.estimate_seconds.map_or_else(String::new, |it| format!(" {it} s"));
        lines.push(format!(
            "{} {} <- {waits:?}{estimate}: {:?}",
            it.task_id, it.agent, it.description
        ));
        let input = json!(it.input_data).to_string();
        lines.push(format!("  {}", crate::model::text::escape(&input)));
    }
    lines.extend(checked.warnings.iter().map(|it| format!("warning: {it}")));
    lines.join("\n")
}
