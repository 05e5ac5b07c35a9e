//! What may be asked of a dispatch that runs, by whatever process.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::TaskRow;
use crate::model::{BudgetSpec, DispatchId, InputData, TaskIdx, TaskSpec};

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
    /// Start nothing new of it.
    Pause {
        /// The tasks; all if empty.
        tasks: Vec<TaskIdx>,
        /// Why.
        reason: String,
    },
    /// Go on with what was paused.
    Resume {
        /// The tasks; all if empty.
        tasks: Vec<TaskIdx>,
        /// Why.
        reason: String,
    },
    /// Another number of tasks may run at once.
    SetWorkers {
        /// How many.
        max_workers: u32,
        /// Why.
        reason: String,
    },
    /// Tell a task that has not started something else; what is absent stays. It was checked by
    /// whoever asks.
    Replace {
        /// The task.
        task: TaskIdx,
        /// Its input.
        input_data: Option<InputData>,
        /// What it is about.
        description: Option<String>,
        /// Why.
        reason: String,
    },
    /// Other limits of its budget; those that are not named stay.
    SetBudget {
        /// What changes.
        budget: BudgetSpec,
        /// Why.
        reason: String,
    },
    /// A dispatch that the agent of one of its tasks asks for, to run beside it. It was checked by
    /// whoever asks.
    Nest(Box<Nest>),
    /// More tasks. They were checked by whoever asks.
    Grow {
        /// The tasks.
        tasks: Vec<TaskSpec>,
    },
}

/// A dispatch that another process hands over to the owner of the one above.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Nest {
    /// Its id.
    pub dispatch: DispatchId,
    /// The checked document, as JSON text that the runtime wrote and will read.
    pub document: String,
    /// What reports need of the document, as JSON text that the runtime wrote and will read.
    pub meta: String,
    /// The caller's key, if there is one, with a digest of what it stands for.
    pub idempotency: Option<(String, [u8; 32])>,
    /// Tasks whose results are taken over from an earlier dispatch, with what their agents
    /// answered as JSON text.
    pub kept: Vec<(TaskIdx, TaskRow, Option<String>)>,
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
            Self::Cancel { tasks, .. } | Self::Pause { tasks, .. } | Self::Resume { tasks, .. } => {
                tasks
            }
            Self::Decide { task, .. } | Self::Replace { task, .. } => std::slice::from_ref(task),
            Self::SetWorkers { .. }
            | Self::SetBudget { .. }
            | Self::Grow { .. }
            | Self::Nest(_) => &[],
        }
    }
}
