//! What goes into the scheduler and what comes out.

use serde::{Deserialize, Serialize};

use crate::model::{Attempt, AttemptResult, DispatchStatus, Millis, TaskIdx};

/// What the shell tells the scheduler.
#[derive(Clone, Debug)]
pub enum Input {
    /// These tasks succeeded in an earlier dispatch and need not run; said before `Start`.
    Keep {
        /// The tasks whose results are taken over.
        tasks: Vec<TaskIdx>,
    },
    /// Begin, or go on after a replay: attempts of a former process are started anew.
    Start,
    /// An attempt ended. A report about an attempt no longer running is ignored.
    AttemptEnded {
        /// The task tried.
        task: TaskIdx,
        /// Which try.
        attempt: Attempt,
        /// Its verdict.
        result: AttemptResult,
    },
    /// The caller wants no more of the whole dispatch.
    Cancel,
    /// The caller wants no more of these tasks, and so of what depends on them.
    CancelTasks {
        /// The tasks given up; those that have ended already are left alone.
        tasks: Vec<TaskIdx>,
    },
}

/// A fact. Facts are journaled in order and never change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A task counts as succeeded because of an earlier dispatch.
    TaskKept {
        /// The task taken over.
        task: TaskIdx,
    },
    /// An attempt holds a worker from now on.
    AttemptStarted {
        /// The task tried.
        task: TaskIdx,
        /// Which try.
        attempt: Attempt,
        /// When it must have ended.
        deadline: Millis,
    },
    /// An attempt gave its worker back.
    AttemptEnded {
        /// The task tried.
        task: TaskIdx,
        /// Which try.
        attempt: Attempt,
        /// Its verdict.
        result: AttemptResult,
    },
    /// The process that ran an attempt is gone, and the attempt with it.
    AttemptInterrupted {
        /// The task tried.
        task: TaskIdx,
        /// Which try.
        attempt: Attempt,
    },
    /// A task will never start.
    TaskSkipped {
        /// The task given up.
        task: TaskIdx,
        /// The task whose end is the reason: the first that failed or was cancelled.
        because: TaskIdx,
    },
    /// The caller gave a task up before it ended.
    TaskCancelled {
        /// The task given up.
        task: TaskIdx,
    },
    /// The caller gave the whole dispatch up while tasks were open.
    DispatchCancelled,
    /// Nothing is left to do.
    DispatchEnded {
        /// The verdict.
        status: DispatchStatus,
    },
}

/// What the shell is asked to do, once the events before it are durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Hand the task to an agent.
    StartAttempt {
        /// The task to try.
        task: TaskIdx,
        /// Which try.
        attempt: Attempt,
        /// When it must have ended.
        deadline: Millis,
    },
    /// Stop an attempt whose result no longer counts.
    StopAttempt {
        /// The task tried.
        task: TaskIdx,
        /// Which try.
        attempt: Attempt,
    },
    /// Answer whoever waits for the dispatch.
    Finish {
        /// The verdict.
        status: DispatchStatus,
    },
}

/// Filled by the scheduler, emptied by the shell; reused to spare allocations.
#[derive(Debug, Default)]
pub struct Outbox {
    /// To be journaled, in order.
    pub events: Vec<Event>,
    /// To be done afterwards, in order.
    pub actions: Vec<Action>,
}
