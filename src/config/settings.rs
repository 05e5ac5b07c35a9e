//! The settings as types; what each means, its unit, default and range.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    command::CommandSettings, error::Source, server::Server, telemetry::Telemetry,
    upstream::Upstream, worker::Worker,
};
use crate::model::{
    AnalysisDepth, CacheMode, OnFailure, ParentTask, RetrySpec, TraceContext, ValidationLevel,
};

/// Where Archon is looked for unless a layer says otherwise.
pub(super) const ARCHON_URL: &str = "http://localhost:8051/mcp";

/// The settings in force. Every path is absolute. All keys exist since version 0.1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where dispatches are kept; `$XDG_STATE_HOME/parallel-dispatch` unless set, else
    /// `~/.local/state/parallel-dispatch`.
    pub state_dir: PathBuf,
    /// What agents may read and write, the first being where relative paths begin: the flags
    /// `--workspace`, else `$CLAUDE_PROJECT_DIR`, else the working directory. Never empty.
    #[serde(skip)]
    pub workspaces: Vec<PathBuf>,
    /// How dispatches run that do not say it themselves.
    pub dispatcher: Dispatcher,
    /// What is different for single agents, by canonical name.
    #[serde(default)]
    pub agents: BTreeMap<String, AgentSettings>,
    /// Commands that say whether work is good, by name.
    #[serde(default)]
    pub checks: BTreeMap<String, CheckSettings>,
    /// What holds for every upstream that does not say it itself.
    pub mcp: Mcp,
    /// Whether somebody said where Archon is.
    #[serde(skip)]
    pub archon: ArchonSetting,
    /// The task on whose behalf this process dispatches: `PARALLEL_DISPATCH_PARENT`, which agents
    /// are started with.
    #[serde(skip)]
    pub parent: Option<ParentTask>,
    /// What is logged, and where.
    pub logging: Logging,
    /// The MCP servers that do the agents' work, by name; `archon` is always among them.
    pub upstreams: BTreeMap<String, Upstream>,
    /// Agents written down as steps, by name; the agents' room reads them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub recipes: BTreeMap<String, Value>,
    /// Where each recipe was said, where each agent's recipe was named, and where its condition
    /// was, by key.
    #[serde(skip)]
    pub sources: BTreeMap<String, Source>,
    /// What no dispatch may exceed.
    pub limits: Limits,
    /// Who may connect over HTTP, and how many.
    pub server: Server,
    /// What is told to tracing systems.
    pub telemetry: Telemetry,
    /// The trace that this process was started in: `TRACEPARENT`, and `TRACESTATE` with it.
    #[serde(skip)]
    pub trace: Option<TraceContext>,
}

/// How dispatches run that do not say it themselves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dispatcher {
    /// How many tasks of a dispatch run at once: 1 to 1024, default 5; never more than
    /// `limits.max_workers`.
    pub max_workers: u32,
    /// How long one attempt at a task may take, in seconds: above 0, at most 86,400, default 300.
    pub timeout_seconds: f64,
    /// The root of all trace files: `<state_dir>/traces` for `serve`, `./traces` for `run`. In a
    /// file, a relative path begins at the first workspace.
    pub trace_dir: PathBuf,
    /// What a failed task means for the others: `skip_dependents` (default), `fail_fast` or
    /// `continue`.
    pub on_failure: OnFailure,
    /// Whether context is gathered once and handed out filtered; default false.
    pub enable_context: bool,
    /// What tasks do with results of the same work done before: `off` (default), `reuse` or
    /// `refresh`.
    pub cache: CacheMode,
}

/// What is different for one agent; what is absent is as for all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentSettings {
    /// How long one attempt may take, in seconds: above 0, at most 86,400.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<f64>,
    /// How tasks are tried again that do not say it themselves; not at all unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetrySpec>,
    /// The `validation_level` of tasks that do not name one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_level: Option<ValidationLevel>,
    /// The `analysis_depth` of tasks that do not name one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub analysis_depth: Option<AnalysisDepth>,
    /// For the agent `tool`: the tools that it may call, as `UPSTREAM/TOOL` with `*` and `?`; none
    /// unless set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
    /// What is expected of everything that it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<ExpectSettings>,
    /// The upstream's tool that does this agent's work; looked for by name unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// The recipe that does this agent's work, instead of a tool: a name of `recipes`, or of one
    /// that is shipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipe: Option<String>,
    /// The upstream that has the tool: a name of `upstreams`; `archon` unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    /// The program that does its work, instead of a tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandSettings>,
    /// `pull` if workers claim its tasks and do them, instead of a tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<Worker>,
    /// How often a worker that has a task is to show up, in seconds: above 0, at most 86,400,
    /// default 300. After two missed heartbeats its task goes to another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat_seconds: Option<f64>,
}

/// What is expected of everything that an agent does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectSettings {
    /// Names of `checks` that must end well; at most 256.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<String>,
    /// An expression (CEL) over `output`, `input` and `config` that is true; a task's own goes
    /// before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// Whether the file of the input's `output_path` must be new or changed; default false.
    #[serde(default)]
    pub output_path: bool,
}

/// A command that says by its exit code whether work is good.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckSettings {
    /// The program, and its arguments. No shell reads them.
    pub argv: Vec<String>,
    /// Names of variables that it gets besides a few that are always passed on; at most 256.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// How long it may take, in seconds: above 0, at most 86,400; as long as the task unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<f64>,
    /// Where it runs; the first workspace unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_directory: Option<PathBuf>,
}

/// What holds for every upstream that does not say it itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mcp {
    /// How long an upstream may take to connect, to list its tools, or to answer a question of
    /// the agents' own (a search, a check), in seconds: above 0, at most 86,400, default 30. A call
    /// that does a task's whole work has the task's time.
    pub timeout_seconds: f64,
    /// How often a call that certainly did not reach its upstream is sent again, within the
    /// attempt's time: 0 to 10, default 3.
    pub retry_attempts: u32,
}

/// Whether somebody said where Archon is. Only an address that nobody chose may be replaced by
/// the embedded Archon; one that was chosen and does not answer is a failure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ArchonSetting {
    /// Nobody did; its usual address is tried.
    #[default]
    Default,
    /// `ARCHON_MCP_URL`, `mcp.url`, `upstreams.archon.url` or `upstreams.archon.command` did.
    Configured,
}

/// What is logged, and where. Never to standard output, which carries the protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Logging {
    /// The least grave entry that is written: `off`, `error`, `warn`, `info`, `debug` or `trace`,
    /// in any case. `info` for `serve`, `warn` for the other commands; `DISPATCH_DEBUG=1` makes it
    /// `debug`.
    pub level: Level,
    /// `text` (default) or `json`: one entry a line either way.
    pub format: LogFormat,
    /// `stderr` (default), or the file to append to. In a file of settings, a relative path begins
    /// at the first workspace.
    pub destination: PathBuf,
}

/// How grave an entry must be to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Nothing is.
    Off,
    /// Somebody must act.
    Error,
    /// Something works less well than it should.
    Warn,
    /// Once a dispatch.
    Info,
    /// Once a task.
    Debug,
    /// Sizes of payloads and the like.
    Trace,
}

/// How an entry is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// What no dispatch may exceed. A workspace's file may only lower these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Tasks of a document that comes over MCP: 1 to 1,000,000, default 10,000.
    pub tasks_max: u32,
    /// Tasks of a document that `run` reads: 1 to 1,000,000, default 1,000,000.
    pub run_tasks_max: u32,
    /// Dependencies of a document, all tasks together: 1 to 10,000,000, default 1,000,000.
    pub edges_max: u32,
    /// Bytes of a document that comes over MCP: 1 KiB to 64 MiB, default 4 MiB.
    pub document_bytes_max: u64,
    /// Bytes of a document that `run` reads: 1 KiB to 4 GiB, default 1 GiB.
    pub run_document_bytes_max: u64,
    /// The highest `max_workers` of a dispatch: 1 to 1024, default 1024.
    pub max_workers: u32,
    /// Dispatches that have not ended: 1 to 100,000, default 1,000; more are `busy`.
    pub dispatches_open_max: u32,
    /// Tasks that run at once, of all dispatches of the process together: 1 to 65,536, default
    /// 1,024. Dispatches that want more share them evenly.
    pub workers_total_max: u32,
    /// How deep agents may dispatch below each other: 0 to 16, default 3; at 0 they may not at all.
    pub nesting_max: u32,
    /// How long a dispatch is kept after its end, in days: 0 to 36,500, default 30; 0 is for ever.
    /// A workspace's file may not set it.
    pub retention_days: u32,
    /// Bytes that the store may hold: 1 MiB to 1 PiB, default 2 GiB; beyond, the dispatches that
    /// ended first are removed. A workspace's file may not set it.
    pub store_bytes_max: u64,
}

impl Settings {
    /// The first workspace, where relative paths begin.
    pub fn workspace(&self) -> &PathBuf {
        self.workspaces.first().unwrap_or(&self.state_dir)
    }
}

impl Default for Dispatcher {
    fn default() -> Self {
        Self {
            max_workers: 5,
            timeout_seconds: 300.0,
            trace_dir: "traces".into(),
            on_failure: OnFailure::SkipDependents,
            enable_context: false,
            cache: CacheMode::Off,
        }
    }
}

impl Default for Mcp {
    fn default() -> Self {
        Self { timeout_seconds: 30.0, retry_attempts: 3 }
    }
}

impl Default for Logging {
    fn default() -> Self {
        Self { level: Level::Info, format: LogFormat::Text, destination: "stderr".into() }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            tasks_max: 10_000,
            run_tasks_max: 1_000_000,
            edges_max: 1_000_000,
            document_bytes_max: 4 << 20,
            run_document_bytes_max: 1 << 30,
            max_workers: 1024,
            dispatches_open_max: 1_000,
            workers_total_max: 1_024,
            nesting_max: 3,
            retention_days: 30,
            store_bytes_max: 2 << 30,
        }
    }
}
