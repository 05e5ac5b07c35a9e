//! What may be asked of a dispatch that runs, by whatever process.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::model::{DispatchId, TaskIdx};

/// The name of a request, made by whoever asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub Uuid);

/// What is asked of a dispatch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// No more of it.
    Cancel {
        /// The tasks; all if empty.
        tasks: Vec<TaskIdx>,
        /// Why.
        reason: String,
    },
    /// What was decided on a task's approval.
    Decide {
        /// The task.
        task: TaskIdx,
        /// One of its decisions.
        decision: String,
        /// What is said about it; may be empty.
        note: String,
    },
}

/// A request by another process than the owner.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// Its name.
    pub id: RequestId,
    /// The dispatch.
    pub dispatch: DispatchId,
    /// What is asked of it.
    pub request: Request,
}

/// Where a request stands in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestState {
    /// The owner has not seen it.
    Waits,
    /// The owner did not do it; JSON text that the runtime wrote and will read.
    Refused(String),
}

impl Request {
    /// The tasks that it names.
    pub fn tasks(&self) -> &[TaskIdx] {
        match self {
            Self::Cancel { tasks, .. } => tasks,
            Self::Decide { task, .. } => std::slice::from_ref(task),
        }
    }
}
