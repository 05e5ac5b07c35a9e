//! The grammar of the command line.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::model::{DispatchId, TaskId};

/// Run many agent tasks in parallel, with dependencies, durable results and traces.
#[derive(Debug, Parser)]
#[command(name = "parallel-dispatch", version, propagate_version = true)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Where the settings come from.
    #[command(flatten)]
    pub settings: SettingsArguments,
}

/// Flags that every command takes.
#[derive(Clone, Debug, Default, Args)]
pub struct SettingsArguments {
    /// Where dispatches are kept.
    #[arg(long, global = true, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Where trace files go.
    #[arg(long, global = true, value_name = "DIR")]
    pub trace_dir: Option<PathBuf>,
    /// A directory that documents may name files in; may be given several times.
    #[arg(long, global = true, value_name = "DIR")]
    pub workspace: Vec<PathBuf>,
    /// A settings file, stronger than all others.
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve MCP: over stdio, or over HTTP with --http
    Serve(ServeArguments),
    /// Run one dispatch from a file or standard input; the result goes to standard output
    Run(RunArguments),
    /// Check a document and say what running it means
    Plan {
        /// The document; `-` is standard input
        #[arg(default_value = "-", value_name = "FILE")]
        document: DocumentSource,
        /// How to say it
        #[arg(long, value_enum, default_value_t)]
        format: PlanFormat,
    },
    /// List the recent dispatches, newest first
    List {
        /// How many at most
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=50))]
        limit: u32,
        /// As JSON instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Print the result of a dispatch as JSON
    Result {
        /// The dispatch
        id: DispatchId,
        /// Wait for its end, so many seconds at most
        #[arg(long, default_value_t = 0, value_name = "SECONDS")]
        wait: u64,
        /// Leave the outputs out
        #[arg(long)]
        summary: bool,
        /// As Markdown instead of JSON
        #[arg(long, conflicts_with = "summary")]
        markdown: bool,
    },
    /// Print what happened in a dispatch, one JSON object a line
    Trace {
        /// The dispatch
        id: DispatchId,
        /// Only this task's events
        task: Option<String>,
    },
    /// Stop a dispatch, or some of its tasks
    Cancel {
        /// What to stop.
        #[command(flatten)]
        ids: IdArguments,
        /// Why, for the trace
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Run again what did not succeed, and keep the rest
    Retry(IdArguments),
    /// Print the JSON Schemas of every tool's input and output
    Schema {
        /// Write them to a directory instead, two files a tool
        #[arg(long, value_name = "DIR")]
        write: Option<PathBuf>,
    },
    /// Print the settings in force
    Config {
        /// Each with the layer it came from
        #[arg(long)]
        explain: bool,
    },
    /// Check settings, state directory, upstreams, agents and client registrations
    Doctor,
}

/// The flags of `serve`.
#[derive(Clone, Debug, Args)]
pub struct ServeArguments {
    /// Serve over standard input and output (the default)
    #[arg(long, conflicts_with = "http")]
    pub stdio: bool,
    /// Serve /mcp (streamable HTTP), /sse and /messages (legacy), and /health on this address
    #[arg(long, value_name = "ADDR", value_parser = parse_address)]
    pub http: Option<SocketAddr>,
}

/// The flags of `run`.
#[derive(Clone, Debug, Args)]
pub struct RunArguments {
    /// The document; `-` is standard input
    #[arg(default_value = "-", value_name = "FILE")]
    pub document: DocumentSource,
    /// Gather the tasks' `context_requirements` once and hand each task its own part
    #[arg(long)]
    pub enable_context: bool,
    /// How many tasks may run at once, where the document does not say
    #[arg(long, value_name = "N")]
    pub max_workers: Option<u32>,
    /// How long one attempt may take, where the document does not say
    #[arg(long, value_name = "SECONDS")]
    pub timeout_seconds: Option<f64>,
}

/// A dispatch and perhaps some of its tasks.
#[derive(Clone, Debug, Args)]
pub struct IdArguments {
    /// The dispatch
    pub id: DispatchId,
    /// Only these tasks (and what depends on them)
    #[arg(value_name = "TASK", value_parser = parse_task_id)]
    pub tasks: Vec<TaskId>,
}

/// A file, or standard input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DocumentSource {
    /// `-`.
    Stdin,
    /// A path.
    File(PathBuf),
}

/// How `plan` says what it says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum PlanFormat {
    /// The plan as JSON.
    #[default]
    Json,
    /// A text for people.
    Markdown,
    /// The graph.
    Mermaid,
}

impl From<&str> for DocumentSource {
    fn from(text: &str) -> Self {
        if text == "-" { Self::Stdin } else { Self::File(PathBuf::from(text)) }
    }
}

impl From<std::ffi::OsString> for DocumentSource {
    fn from(text: std::ffi::OsString) -> Self {
        if text == "-" { Self::Stdin } else { Self::File(PathBuf::from(text)) }
    }
}

/// Reads `IP:PORT`, and `localhost:PORT` as people write it.
fn parse_address(text: &str) -> Result<SocketAddr, String> {
    let address = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    };
    address.parse().map_err(|_| "give an address and a port, as in 127.0.0.1:8080".to_owned())
}

fn parse_task_id(text: &str) -> Result<TaskId, String> {
    if TaskId::is_valid(text) {
        return Ok(TaskId::new(text));
    }
    Err("a task id is letters, digits, dots, underscores and dashes, at most 128".to_owned())
}
