//! Reads task graphs of real executions: `WfCommons` instances of any version, or a plain list.

use std::{collections::BTreeMap, error::Error, fs};

use parallel_dispatch::model::Millis;
use serde_json::Value;

use super::Graph;

/// Reads one file; what it leaves out counts as nothing, and what makes no sense is an error.
pub(crate) fn read(path: &str) -> Result<Graph, Box<dyn Error>> {
    let text = fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
    let json: Value = serde_json::from_str(&text).map_err(|error| format!("{path}: {error}"))?;
    parse(&json).map_err(|error| format!("{path}: {error}").into())
}

fn parse(json: &Value) -> Result<Graph, String> {
    let workflow = json.get("workflow").unwrap_or(json);
    let specified = workflow.get("specification").unwrap_or(workflow);
    let tasks = ["tasks", "jobs"].iter().find_map(|it| specified.get(it)?.as_array());
    let tasks = tasks.ok_or("it has no list of tasks")?;
    let id = |it: &Value| text(it, &["task_id", "id", "name"]).ok_or("a task has no id");
    let ids = tasks.iter().map(id).collect::<Result<Vec<_>, _>>()?;
    let index: BTreeMap<&str, usize> =
        ids.iter().enumerate().map(|(at, it)| (it.as_str(), at)).collect();
    if index.len() < ids.len() {
        return Err("two tasks have the same id".to_owned());
    }
    let executed = executed(workflow);
    let runtime = |(task, id): (&Value, &String)| {
        seconds(task).or_else(|| executed.get(id).copied()).map_or(Millis(0), millis)
    };
    let kind = |(task, id): (&Value, &String)| {
        text(task, &["category", "type"]).filter(|it| it != "compute").unwrap_or_else(|| kind(id))
    };
    Ok(Graph {
        name: text(json, &["name"]).unwrap_or_else(|| "graph".to_owned()),
        kinds: tasks.iter().zip(&ids).map(kind).collect(),
        runtimes: tasks.iter().zip(&ids).map(runtime).collect(),
        edges: edges(tasks, &index)?,
    })
}

fn edges(tasks: &[Value], index: &BTreeMap<&str, usize>) -> Result<Vec<(usize, usize)>, String> {
    let mut edges = Vec::new();
    for (dependent, task) in tasks.iter().enumerate() {
        let names = ["dependencies", "parents"].iter().find_map(|it| task.get(it)?.as_array());
        for name in names.into_iter().flatten() {
            let name = name.as_str().ok_or("a dependency is no text")?;
            let found = index.get(name).ok_or_else(|| format!("there is no task {name:?}"))?;
            edges.push((*found, dependent));
        }
    }
    edges.sort_unstable();
    edges.dedup();
    Ok(edges)
}

/// The runtimes of newer instances, which keep them apart from the tasks.
fn executed(workflow: &Value) -> BTreeMap<String, f64> {
    let tasks = workflow.get("execution").and_then(|it| it.get("tasks")?.as_array());
    let entry = |it: &Value| Some((text(it, &["id", "name"])?, seconds(it)?));
    tasks.into_iter().flatten().filter_map(entry).collect()
}

fn seconds(task: &Value) -> Option<f64> {
    ["runtime_s", "runtimeInSeconds", "runtime"].iter().find_map(|it| task.get(it)?.as_f64())
}

/// Runtimes of zero stay zero.
fn millis(seconds: f64) -> Millis {
    if seconds > 0.0 { Millis::from_seconds(seconds) } else { Millis(0) }
}

fn text(of: &Value, names: &[&str]) -> Option<String> {
    names.iter().find_map(|it| of.get(it)?.as_str()).map(str::to_owned)
}

/// The words of an id before its first number: `align_s_1_ID0000012` is of the kind `align_s`.
fn kind(id: &str) -> String {
    let is_number = |it: &str| {
        let digits = it.trim_start_matches("ID");
        digits.starts_with(|it: char| it.is_ascii_digit())
    };
    let words: Vec<_> = id.split('_').enumerate().collect();
    let kept = words.iter().take_while(|(at, it)| *at == 0 || !is_number(it));
    kept.map(|it| it.1).collect::<Vec<_>>().join("_")
}
