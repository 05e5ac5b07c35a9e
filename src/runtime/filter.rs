//! Hands each task its own part of the gathered context.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::{
    model::{Failure, FailureCode, TaskSpec},
    ports::{ContextError, ContextItem, ContextKey},
};

/// The context of a dispatch, by key: each piece gathered once.
#[derive(Debug, Default)]
pub(super) struct ContextPool {
    pub(super) items: BTreeMap<ContextKey, Result<ContextItem, ContextError>>,
}

impl ContextPool {
    /// Adds the pieces that `task` asks for to its input, as `pre_gathered_context`. What the
    /// caller put there goes before.
    ///
    /// A missing file or structure fails the task, because the caller named a place; missing search
    /// results do not, because a search may well find nothing.
    pub(super) fn fill(
        &self,
        task: &TaskSpec,
        input: &mut Map<String, Value>,
    ) -> Result<(), Failure> {
        if task.context_requirements.is_empty() {
            return Ok(());
        }
        let mut filtered = Map::new();
        for requirement in &task.context_requirements {
            match self.items.get(&ContextKey::new(requirement)) {
                Some(Ok(item)) => {
                    filtered.insert(requirement.clone(), to_json(item));
                }
                Some(Err(error)) if is_place(requirement) => {
                    return Err(Failure::new(FailureCode::ContextUnavailable, error.to_string()));
                }
                Some(Err(_)) | None => (),
            }
        }
        if let Some(Value::Object(given)) = input.remove("pre_gathered_context") {
            filtered.extend(given);
        }
        input.insert("pre_gathered_context".into(), Value::Object(filtered));
        Ok(())
    }
}

fn is_place(requirement: &str) -> bool {
    requirement.starts_with("file:") || requirement.starts_with("structure:")
}

fn to_json(item: &ContextItem) -> Value {
    json!({ "type": item.kind, "content": item.content, "metadata": item.metadata })
}
