//! The task on whose behalf an agent dispatches tasks itself.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DispatchId, TaskId};

/// A task whose agent dispatched something; as text `DISPATCH_ID/TASK_ID`, as every call of an
/// agent says it in `_meta` under [`ParentTask::KEY`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ParentTask {
    /// Its dispatch.
    pub dispatch_id: DispatchId,
    /// Its name there.
    pub task_id: TaskId,
}

impl ParentTask {
    /// Where calls of agents say which task they are for.
    pub const KEY: &'static str = "parallel-dispatch/key";
    /// Where an agent that dispatches says which task it works at.
    pub const PARENT: &'static str = "parallel-dispatch/parent";
    /// The same for an agent that is a process of its own, and for all that it starts.
    pub const VARIABLE: &'static str = "PARALLEL_DISPATCH_PARENT";
}

/// A text is no name of a task in a dispatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not DISPATCH_ID/TASK_ID")]
pub struct NotAParent;

impl FromStr for ParentTask {
    type Err = NotAParent;

    fn from_str(text: &str) -> Result<Self, NotAParent> {
        let (dispatch, task) = text.split_once('/').ok_or(NotAParent)?;
        let dispatch_id = dispatch.parse().map_err(|_| NotAParent)?;
        if !TaskId::is_valid(task) {
            return Err(NotAParent);
        }
        Ok(Self { dispatch_id, task_id: TaskId::new(task) })
    }
}

impl fmt::Display for ParentTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.dispatch_id, self.task_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_read_as_it_is_written() {
        let text = "01890a5d-ac96-774b-bcce-b302099a8057/gen-user.writer";
        assert_eq!(text.parse::<ParentTask>().unwrap().to_string(), text);
        for wrong in ["", "a", "/a", "01890a5d-ac96-774b-bcce-b302099a8057/", "x/a", "x/../b"] {
            assert_eq!(wrong.parse::<ParentTask>(), Err(NotAParent), "{wrong}");
        }
    }
}
