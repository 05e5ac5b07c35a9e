//! Who does the work: agents behind one trait, found by name.

use std::{fmt::Debug, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use serde_json::{Map, Value};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::model::{
    AgentEvent, AgentName, Attempt, DispatchId, Failure, Lineage, TaskId, UpstreamCall,
};

/// Where an attempt notes the upstream calls it makes, as they end.
pub type CallLog = mpsc::UnboundedSender<UpstreamCall>;

/// Where an attempt notes what its agent shows; clones are the same one. By default nobody listens.
#[derive(Clone, Debug, Default)]
pub struct EventLog(Option<mpsc::Sender<AgentEvent>>);

impl EventLog {
    /// How many events of an attempt are kept; agents may show more.
    pub const EVENTS_MAX: usize = 200;

    /// One whose events are kept.
    pub fn kept() -> (Self, mpsc::Receiver<AgentEvent>) {
        let (sender, receiver) = mpsc::channel(Self::EVENTS_MAX);
        (Self(Some(sender)), receiver)
    }

    /// Notes an event; what is too many is dropped.
    pub fn note(&self, event: AgentEvent) {
        if let Some(sender) = &self.0 {
            let _full = sender.try_send(event);
        }
    }
}

/// Where an agent shows that it goes on working; clones are the same one.
///
/// By default nobody listens, and a beat costs nothing.
#[derive(Clone, Debug, Default)]
pub struct Heartbeat(Option<Arc<Notify>>);

impl Heartbeat {
    /// One that somebody listens to.
    pub fn heard() -> Self {
        Self(Some(Arc::default()))
    }

    /// Shows progress; cheap, and any number of times: those between two looks count once.
    pub fn beat(&self) {
        if let Some(notify) = &self.0 {
            notify.notify_one();
        }
    }

    /// Waits for a beat since the last look; for ever where nobody listens.
    pub async fn beaten(&self) {
        match &self.0 {
            Some(notify) => notify.notified().await,
            None => std::future::pending().await,
        }
    }
}

/// What a task answered that an attempt's task depends on.
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamOutput {
    /// The task.
    pub task_id: TaskId,
    /// What it answered.
    pub output: Value,
    /// Whether the attempt's task names it as a dependency.
    pub is_direct: bool,
}

/// Which outputs of earlier tasks an agent builds on, besides those that its input refers to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UpstreamWish {
    /// None.
    #[default]
    None,
    /// Those of the tasks that a task names as dependencies, as far as there is room for them.
    Direct,
    /// Those of all tasks that it depends on, each behind those that it depends on itself.
    All,
}

/// One attempt at one task, as an agent gets it.
#[derive(Clone, Debug)]
pub struct AttemptCall {
    /// The dispatch.
    pub dispatch_id: DispatchId,
    /// The task.
    pub task_id: TaskId,
    /// Which try.
    pub attempt: Attempt,
    /// Who shall do it.
    pub agent: AgentName,
    /// What it is about.
    pub description: Arc<str>,
    /// What the agent is told, references resolved, context filled in.
    pub input: Map<String, Value>,
    /// What the tasks answered that this one depends on, as far as the agent
    /// [wants it](AgentBackend::upstream_wish).
    pub upstream: Vec<UpstreamOutput>,
    /// How long it may take from now; the caller stops listening after that.
    pub timeout: Duration,
    /// Fires when the result no longer counts; the agent must stop what it started.
    pub cancelled: CancellationToken,
    /// Where upstream calls are noted.
    pub calls: CallLog,
    /// Where progress is shown.
    pub heartbeat: Heartbeat,
    /// Where it is noted what the agent shows.
    pub events: EventLog,
    /// The trace that it belongs to, if it does.
    pub trace: Option<Lineage>,
}

/// One kind of agent.
pub trait AgentBackend: Debug + Send + Sync {
    /// Does the work of one attempt; dropping the future stops it.
    fn run(&self, call: AttemptCall) -> BoxFuture<'_, Result<Value, Failure>>;

    /// What the limiter of its attempts is called: backends of one lane are as busy as each other,
    /// and what one is turned away for holds for all.
    fn lane(&self) -> &str;

    /// Which outputs of earlier tasks it gets beside its input.
    fn upstream_wish(&self) -> UpstreamWish {
        UpstreamWish::None
    }

    /// What serves it: the same text where the same input gives a result that is as good.
    fn binding(&self) -> String {
        self.lane().to_owned()
    }
}

/// The agents that there are.
pub trait AgentDirectory: Debug + Send + Sync {
    /// Finds who serves `agent`. An upstream that cannot be reached is no error here: its attempts
    /// fail with `upstream_unavailable` then.
    fn bind<'a>(&'a self, agent: &'a AgentName) -> BoxFuture<'a, Result<Binding, BindError>>;
}

/// An agent and what to tell the user about it.
#[derive(Clone, Debug)]
pub struct Binding {
    /// Who does the work.
    pub backend: Arc<dyn AgentBackend>,
    /// What the user should know, such as that the embedded Archon serves.
    pub warnings: Vec<String>,
}

/// Why nobody serves an agent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BindError {
    /// The upstream has nothing that the agent could be.
    #[error(
        "agent \"{agent}\" needs one of the tools {}, and upstream \"{upstream}\" has none of them",
        .looked_for.join(", ")
    )]
    NoTool {
        /// The agent.
        agent: AgentName,
        /// The upstream that was asked.
        upstream: String,
        /// The tools that were looked for, in order.
        looked_for: Vec<String>,
    },
    /// The program that does its work is not there.
    #[error("agent \"{agent}\" runs the program \"{program}\", which is not installed: {place}")]
    NotInstalled {
        /// The agent.
        agent: AgentName,
        /// The program.
        program: String,
        /// Where it was looked for.
        place: String,
    },
    /// What the settings say of it cannot be carried out.
    #[error("agent \"{agent}\" cannot work: {problem}")]
    Unusable {
        /// The agent.
        agent: AgentName,
        /// What is wrong.
        problem: String,
    },
    /// The agent's recipe calls what its upstreams do not have.
    #[error("agent \"{agent}\" cannot run its recipe {recipe}: {}", .faults.join("; "))]
    Unfit {
        /// The agent.
        agent: AgentName,
        /// The recipe.
        recipe: String,
        /// A sentence for each call that cannot succeed.
        faults: Vec<String>,
    },
}

impl BindError {
    /// What the user can do about it; one sentence.
    pub fn hint(&self) -> String {
        match self {
            Self::NoTool { .. } => {
                "bind the agent to a tool in the settings, or start an upstream that has it"
                    .to_owned()
            }
            Self::NotInstalled { agent, .. } => format!(
                "install it, put it on the PATH of this server, or set agents.{agent}.command.argv \
                 to its absolute path"
            ),
            Self::Unusable { agent, .. } => format!("correct agents.{agent} in the settings"),
            Self::Unfit { recipe, .. } => {
                format!("correct recipes.{recipe}, or start an upstream that has these tools")
            }
        }
    }
}
