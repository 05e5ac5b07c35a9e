//! What the dispatcher is told, and what it tells those who follow a dispatch.

use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot};

use super::{
    course::{Follower, Heed},
    gatekeeper::Found,
    gather::Gathered,
    reuse::Findable,
    submission::{Backends, Submission},
};
use crate::{
    model::{
        AgentEvent, Attempt, BudgetLimit, DispatchId, DispatchStatus, Evidence, Failure,
        FailureCode, Millis, Refusal, TaskId, TaskIdx, TaskSpec, UpstreamCall, Usage, text,
    },
    ports::{Request, RequestId, Tenure},
};

/// How much of a task's name is told.
const NAME_CHARS_MAX: usize = 60;
/// What is expected to end sooner than this is not spoken of.
const LEFT_MIN: Millis = Millis(1_000);

/// What the dispatcher is told by handles.
#[derive(Debug)]
pub(super) enum Message {
    /// A new dispatch.
    Submit { submission: Box<Submission>, reply: oneshot::Sender<Submitted> },
    /// An unfinished dispatch of a process that is gone, and what was found of it. Answers whether
    /// it is this process's now.
    Adopt { live: Box<super::live::Live>, found: Tenure, reply: oneshot::Sender<Heard> },
    /// A wish about a dispatch that runs.
    Ask { dispatch: DispatchId, request: Request, reply: oneshot::Sender<Heard> },
    /// Tell me when these tasks, or all if empty, have ended. Dropped if it is not live here, or no
    /// longer.
    Wait { dispatch: DispatchId, tasks: Vec<TaskIdx>, reply: oneshot::Sender<Ended> },
    /// Tell me how a dispatch goes. `None` if it is not live here.
    Follow { dispatch: DispatchId, heed: Heed, reply: oneshot::Sender<Option<Follower>> },
    /// The agent of an attempt shows progress.
    Heartbeat { dispatch: DispatchId, task: TaskIdx, attempt: Attempt },
    /// What holds a task was found out.
    Answer { dispatch: DispatchId, found: Found },
    /// A task becomes many.
    Expand { dispatch: DispatchId, task: TaskIdx, parts: Vec<TaskSpec> },
    /// A caller adds tasks, of agents that are served so.
    Add {
        dispatch: DispatchId,
        tasks: Vec<TaskSpec>,
        backends: Backends,
        reply: oneshot::Sender<Heard>,
    },
    /// What became of a dispatch that another process handed over to run below `parent`.
    Nested { parent: DispatchId, request: RequestId, refusal: Option<Refusal> },
    /// The context of a dispatch was gathered.
    Gathered { dispatch: DispatchId, gathered: Gathered },
}

/// What became of something that was asked.
#[derive(Debug)]
pub(super) enum Heard {
    /// It was done, and that is durable.
    Done,
    /// It cannot be done.
    Refused(Refusal),
    /// The dispatch is not live here.
    NotHere,
}

/// What was waited for has ended and is durable; its trace files may still be on their way.
#[derive(Debug, Default)]
pub(super) struct Ended {
    /// Answers, or is dropped, when the files of the whole dispatch stand.
    pub(super) files: Option<oneshot::Receiver<()>>,
}

impl Ended {
    /// Waits for the trace files.
    pub(super) async fn files_written(self) {
        if let Some(files) = self.files {
            // Files that could not be written are in the log.
            let _written = files.await;
        }
    }
}

/// Where the dispatcher hears from others.
#[derive(Debug)]
pub(super) struct Inboxes {
    /// Cancels, waits, ends of gathering.
    pub(super) control: mpsc::UnboundedReceiver<Message>,
    /// For jobs that report back.
    pub(super) to_control: mpsc::WeakUnboundedSender<Message>,
    /// New dispatches.
    pub(super) submissions: mpsc::Receiver<Message>,
}

/// What became of a submission.
#[derive(Debug)]
pub(super) enum Submitted {
    /// It is durable.
    Accepted,
    /// Its idempotency key was taken in the meantime.
    KeyTaken,
    /// Another process runs the dispatch above.
    Elsewhere { above: DispatchId, submission: Box<Submission> },
    /// It was refused; nothing has run.
    Refused(Refusal),
}

/// How an attempt ended, and what it leaves behind.
#[derive(Debug)]
pub(super) struct AttemptEnd {
    pub(super) task: TaskIdx,
    pub(super) attempt: Attempt,
    /// The agent's output as JSON text, or why there is none.
    pub(super) result: Result<String, Failure>,
    pub(super) calls: Vec<UpstreamCall>,
    pub(super) events: Vec<AgentEvent>,
    /// The input with its references resolved, where it had any.
    pub(super) resolved: Option<Map<String, Value>>,
    /// By what others may find the result, if they may.
    pub(super) findable: Option<Findable>,
    /// What was found of what is expected of the task.
    pub(super) evidence: Vec<Evidence>,
    /// What the agent says that it used.
    pub(super) usage: Option<Usage>,
}

impl AttemptEnd {
    /// The end of an attempt whose agent's code is at fault.
    pub(super) fn panicked(task: TaskIdx, attempt: Attempt) -> Self {
        let failure = Failure::new(FailureCode::AgentError, "the agent's code panicked");
        let (calls, events, result) = (Vec::new(), Vec::new(), Err(failure));
        Self {
            task,
            attempt,
            result,
            calls,
            events,
            resolved: None,
            findable: None,
            evidence: Vec::new(),
            usage: None,
        }
    }
}

/// How a dispatch goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The verdict so far.
    pub status: DispatchStatus,
    /// How many tasks there are.
    pub n_tasks: usize,
    /// How many have ended.
    pub n_ended: usize,
    /// How many did not succeed among those.
    pub n_unsuccessful: usize,
    /// Some of the tasks that run, at most three.
    pub running: Vec<TaskId>,
    /// How many run.
    pub n_running: usize,
    /// Some of the tasks that wait for an approval, at most three.
    pub waiting: Vec<TaskId>,
    /// How many wait for one.
    pub n_waiting: usize,
    /// What of it is paused.
    pub paused: Paused,
    /// How often those that wait for one were others than before.
    pub n_waits: u64,
    /// The limit of the budget that is exceeded.
    pub exceeded: Option<BudgetLimit>,
    /// When it is expected to end, where there is reason to expect anything.
    pub ends_at: Option<Millis>,
}

/// What of a dispatch is paused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Paused {
    /// Nothing.
    #[default]
    Nothing,
    /// Some tasks, and what depends on them.
    Tasks,
    /// All of it.
    Whole,
}

impl Progress {
    /// Nothing has happened yet.
    pub(crate) fn new(n_tasks: usize) -> Self {
        Self {
            status: DispatchStatus::Running,
            n_tasks,
            n_ended: 0,
            n_unsuccessful: 0,
            running: Vec::new(),
            n_running: 0,
            waiting: Vec::new(),
            n_waiting: 0,
            paused: Paused::Nothing,
            n_waits: 0,
            exceeded: None,
            ends_at: None,
        }
    }

    /// How long it is still expected to take; `None` where nothing sensible can be said.
    pub fn left(&self, now: Millis) -> Option<Millis> {
        let left = self.ends_at?.since(now);
        (left >= LEFT_MIN && self.status == DispatchStatus::Running).then_some(left)
    }

    /// One line for people: `7 of 12 done, running gen-user-writer, ~40 s left`.
    pub fn tell(&self, now: Millis) -> String {
        let left = self.left(now).map_or_else(String::new, |it| format!(", {} left", roughly(it)));
        format!("{}{left}", self.describe())
    }

    /// One line for people: `7 of 12 done, running gen-user-writer and 2 more`.
    pub fn describe(&self) -> String {
        let failed = match self.n_unsuccessful {
            0 => String::new(),
            n => format!(" ({n} without success)"),
        };
        let running = some(", running ", &self.running, self.n_running);
        let waiting = some(", waiting for approval: ", &self.waiting, self.n_waiting);
        let paused = match self.paused {
            Paused::Nothing => "",
            Paused::Tasks => ", partly paused",
            Paused::Whole => ", paused",
        };
        let exceeded = self
            .exceeded
            .map_or_else(String::new, |it| format!(", its budget of {} is used up", it.as_str()));
        format!(
            "{} of {} done{failed}{running}{waiting}{paused}{exceeded}",
            self.n_ended, self.n_tasks
        )
    }
}

/// Names some of `n_tasks` tasks; nothing if there are none.
fn some(before: &str, names: &[TaskId], n_tasks: usize) -> String {
    if names.is_empty() {
        return String::new();
    }
    let more = match n_tasks.saturating_sub(names.len()) {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    let name = |it: &TaskId| text::escape(&text::cut(it.as_str(), NAME_CHARS_MAX));
    let names: Vec<_> = names.iter().map(name).collect();
    format!("{before}{}{more}", names.join(", "))
}

/// A span as people say it: `~40 s`, `~3 min`, `~2 h`.
fn roughly(span: Millis) -> String {
    let seconds = span.0.div_ceil(1_000);
    match seconds {
        0..10 => format!("~{seconds} s"),
        10..=90 => format!("~{} s", seconds.div_ceil(5) * 5),
        91..=5_400 => format!("~{} min", seconds.div_ceil(60)),
        _ => format!("~{} h", seconds.div_ceil(3_600)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_said_roughly() {
        let said = [1_000, 9_001, 38_000, 89_000, 90_001, 3_600_000, 5_400_001].map(Millis);
        let said = said.map(roughly);
        assert_eq!(said, ["~1 s", "~10 s", "~40 s", "~90 s", "~2 min", "~60 min", "~2 h"]);
    }

    #[test]
    fn a_line_says_what_runs_and_how_long_it_takes() {
        let mut progress = Progress::new(12);
        progress.n_ended = 7;
        progress.n_running = 3;
        progress.running = [TaskId::new("gen-user-writer"), TaskId::new(&"x".repeat(100))].into();
        let names = format!("gen-user-writer, {}…", "x".repeat(60));
        let before = format!("7 of 12 done, running {names} and 1 more");
        assert_eq!(progress.tell(Millis(0)), before);
        progress.ends_at = Some(Millis(50_000));
        assert_eq!(progress.tell(Millis(10_500)), format!("{before}, ~40 s left"));
        assert_eq!(progress.tell(Millis(49_500)), before, "less than a second is not said");
        progress.status = DispatchStatus::Success;
        assert_eq!(progress.left(Millis(0)), None);
    }
}
