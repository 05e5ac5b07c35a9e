//! A dispatch whose tasks do nothing, for benches of what is around them.

use serde_json::{Value, json};

/// `n_tasks` tasks without dependencies, all of which may run at once.
pub(crate) fn noop_tasks(n_tasks: usize) -> Value {
    let task = |at| {
        json!({
            "task_id": format!("task-{at}"),
            "agent": "noop",
            "description": "do nothing",
            "input_data": {},
        })
    };
    let tasks: Vec<Value> = (0..n_tasks).map(task).collect();
    json!({ "tasks": tasks, "config": { "max_workers": n_tasks } })
}
