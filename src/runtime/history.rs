//! What happened to each task of a live dispatch, kept until its trace file is written.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::{model::TaskIdx, ports::Record};

/// The records of tasks that have not ended yet.
#[derive(Debug, Default)]
pub(super) struct History {
    tasks: BTreeMap<TaskIdx, TaskHistory>,
}

/// What happened to one task.
#[derive(Debug, Default)]
pub(super) struct TaskHistory {
    pub(super) records: Vec<Record>,
    /// The input of the last attempt, where it had references.
    pub(super) resolved: Option<Map<String, Value>>,
}

impl History {
    /// Keeps a record that is about a task.
    pub(super) fn note(&mut self, record: &Record) {
        if let (Some(task), _) = record.body.subject() {
            self.tasks.entry(task).or_default().records.push(record.clone());
        }
    }

    /// Keeps the input that an attempt got.
    pub(super) fn note_input(&mut self, task: TaskIdx, resolved: Map<String, Value>) {
        self.tasks.entry(task).or_default().resolved = Some(resolved);
    }

    /// Hands over what is known of a task that has ended.
    pub(super) fn take(&mut self, task: TaskIdx) -> TaskHistory {
        self.tasks.remove(&task).unwrap_or_default()
    }
}
