//! The grammar of the command line.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::model::{ApprovalSpec, DispatchId, Millis, OnExceeded, TaskId, TraceKind};

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
        /// Only events of this kind, such as `attempt_ended`, or `decision`, which no other way
        /// shows; may be repeated
        #[arg(long = "kind", value_name = "KIND", value_parser = trace_kind)]
        kinds: Vec<TraceKind>,
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
    /// Decide on a task that waits for an approval
    Approve(ApproveArguments),
    /// Start nothing new of a dispatch, or of some of its tasks; what runs goes on
    Pause(PauseArguments),
    /// Go on with what was paused: with everything, or with these tasks
    Resume(PauseArguments),
    /// Change how many tasks of a dispatch run at once
    Workers(WorkersArguments),
    /// Change limits of a dispatch's budget, or give it one
    Budget(BudgetArguments),
    /// Give a task that has not started another input or description
    Steer(SteerArguments),
    /// Run again what did not succeed, and keep the rest
    Retry(IdArguments),
    /// Remove dispatches that ended long ago, with their traces, and print what went as JSON
    Prune(PruneArguments),
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
    /// Stand around one program of an agent; only this program starts it
    #[command(hide = true)]
    AgentGuard,
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

/// What `approve` takes.
#[derive(Clone, Debug, Args)]
pub struct ApproveArguments {
    /// The dispatch
    pub id: DispatchId,
    /// The task that waits
    #[arg(value_parser = parse_task_id)]
    pub task: TaskId,
    /// One of the task's decisions; `reject` fails it, every other lets it run
    #[arg(long, default_value = ApprovalSpec::APPROVE)]
    pub decision: String,
    /// What to say about it, for the result and the trace
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
}

/// What `pause` and `resume` take.
#[derive(Clone, Debug, Args)]
pub struct PauseArguments {
    /// What to pause or resume.
    #[command(flatten)]
    pub ids: IdArguments,
    /// Why, for the trace
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

/// What `workers` takes.
#[derive(Clone, Debug, Args)]
pub struct WorkersArguments {
    /// The dispatch
    pub id: DispatchId,
    /// How many tasks may run at once from now on
    #[arg(value_name = "N")]
    pub max_workers: u32,
    /// Why, for the trace
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

/// What `budget` takes; limits that are not given stay as they are.
#[derive(Clone, Debug, Args)]
#[group(id = "limits", required = true, multiple = true,
    args = ["tokens", "cost_usd", "wall_seconds", "tasks"])]
pub struct BudgetArguments {
    /// The dispatch
    pub id: DispatchId,
    /// How many tokens it may use in all
    #[arg(long, value_name = "N")]
    pub tokens: Option<u64>,
    /// How much it may cost in all, in US dollars
    #[arg(long, value_name = "X")]
    pub cost_usd: Option<f64>,
    /// How long it may take in all, from its beginning
    #[arg(long, value_name = "SECONDS")]
    pub wall_seconds: Option<f64>,
    /// How many of its tasks may be started in all
    #[arg(long, value_name = "N")]
    pub tasks: Option<u32>,
    /// What happens when a limit is reached and more is to be done
    #[arg(long, value_enum, value_name = "MODE")]
    pub on_exceeded: Option<ExceededMode>,
    /// Why, for the trace
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

/// What `steer` takes.
#[derive(Clone, Debug, Args)]
#[group(id = "news", required = true, multiple = true, args = ["input", "description"])]
pub struct SteerArguments {
    /// The dispatch
    pub id: DispatchId,
    /// The task, which must not have started
    #[arg(value_parser = parse_task_id)]
    pub task: TaskId,
    /// The whole of its new `input_data`, as a JSON file; `-` is standard input
    #[arg(long, value_name = "FILE")]
    pub input: Option<DocumentSource>,
    /// Its new description
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
    /// Why, for the trace
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

/// The flags of `prune`; what is not given is as in the settings.
#[derive(Clone, Debug, Args)]
pub struct PruneArguments {
    /// Those that ended longer ago than this: a number with s, m, h, d or w, as in 30d
    #[arg(long, value_name = "AGE", value_parser = parse_age)]
    pub older_than: Option<Millis>,
    /// Keep at least so many of those that ended last
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub keep: usize,
    /// Remove those that ended first until the store holds no more: bytes, or with K, M or G
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub max_bytes: Option<u64>,
    /// Only say what would go
    #[arg(long)]
    pub dry_run: bool,
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

/// What an exceeded budget does, as the command line says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum ExceededMode {
    /// Nothing new starts until the budget is raised.
    Pause,
    /// What runs ends, and the rest is skipped.
    HandBack,
    /// What runs is stopped, and the rest is skipped.
    Fail,
}

impl From<ExceededMode> for OnExceeded {
    fn from(mode: ExceededMode) -> Self {
        match mode {
            ExceededMode::Pause => Self::Pause,
            ExceededMode::HandBack => Self::HandBack,
            ExceededMode::Fail => Self::Fail,
        }
    }
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

/// Reads `90s`, `15m`, `12h`, `30d` or `2w`.
fn parse_age(text: &str) -> Result<Millis, String> {
    let units = [("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", DAY_MS), ("w", 7 * DAY_MS)];
    let read = |(unit, ms)| Some(text.strip_suffix(unit)?.parse::<u64>().ok()?.saturating_mul(ms));
    let age = units.into_iter().find_map(read);
    age.map(Millis).ok_or_else(|| "give a whole number and s, m, h, d or w, as in 30d".to_owned())
}

/// Reads a number of bytes: `1000000`, `500M`, `500MB`, `2G`, `2GiB`; a K is 1,024.
fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        _ => return Err("give bytes, or a number with K, M or G, as in 500M".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "give a whole number of bytes".to_owned())?;
    Ok(number.saturating_mul(1 << shift))
}

/// A day in milliseconds.
const DAY_MS: u64 = 86_400_000;

fn trace_kind(text: &str) -> Result<TraceKind, String> {
    serde_json::from_value(serde_json::Value::String(text.to_owned())).map_err(|it| it.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_sizes_are_read_as_people_write_them() {
        let ages = ["0s", "90s", "15m", "12h", "30d", "2w"].map(|it| parse_age(it).unwrap().0);
        assert_eq!(ages, [0, 90_000, 900_000, 43_200_000, 30 * DAY_MS, 14 * DAY_MS]);
        let sizes = ["7", "1k", "5MB", "2GiB"].map(|it| parse_size(it).unwrap());
        assert_eq!(sizes, [7, 1_024, 5 << 20, 2 << 30]);
        for it in ["", "30", "d", "-1d", "1.5d", "1y", "99999999999999999999d"] {
            assert!(parse_age(it).is_err(), "{it}");
        }
        for it in ["", "M", "-1", "1.5G", "1T", "99999999999999999999"] {
            assert!(parse_size(it).is_err(), "{it}");
        }
        assert_eq!(parse_size("99999999999999999G"), Ok(u64::MAX));
    }
}
