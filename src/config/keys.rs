//! The table of keys: what each takes, and who may set it.

use super::supply::check_variable;
use crate::model::{ARCHON, AgentName, CacheMode, RetrySpec, text};

/// One key, or with a `*` one key of each agent or upstream.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) path: &'static str,
    pub(super) kind: Kind,
    pub(super) reach: Reach,
}

/// What a key takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    /// A whole number, both ends included.
    Whole(u64, u64),
    /// Seconds above zero, at most a day.
    Seconds,
    Bool,
    Word(&'static [&'static str]),
    /// The name of a tool or an upstream.
    Name,
    Path,
    /// `stderr` or a path.
    Destination,
    Url,
    /// An address as it is.
    Endpoint,
    /// A list of `name=value`.
    Attributes,
    /// A share: 0 to 1.
    Ratio,
    Origins,
    /// A list of names and addresses of this machine.
    Hosts,
    /// An https address, or one of this machine.
    Address,
    /// A list of these.
    Addresses,
    /// One of these, or a path.
    AddressOrFile,
    /// What a token may allow.
    Scope,
    /// A list of these.
    Scopes,
    /// A list of failures after which a task may be tried again.
    Failures,
    /// An amount of money, in US dollars.
    Usd,
    /// A word or a name that a program takes as the value of an option.
    Argument,
    /// A list of these.
    Arguments,
    /// An expression, which another room reads.
    Expression,
    /// A program and its arguments.
    Argv,
    /// Names of environment variables that may be passed on.
    Variables,
    /// A text that may refer to secrets.
    Secret,
    /// A list of paths.
    Paths,
    /// A program: a name on PATH, or a path.
    Program,
    /// The arguments of a program.
    Texts,
    /// A list of tools, by name or pattern.
    Tools,
    /// Whatever it says, as JSON; another room reads it.
    Tree,
}

/// Who may set a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Every layer, a workspace's file too.
    Anyone,
    /// Every layer, but a workspace's file may only lower it.
    Lower,
    /// Every layer but a workspace's file.
    Owner,
}

/// What a path of names leads to.
#[derive(Clone, Debug)]
pub(super) enum Found {
    /// A key.
    Key(&'static Key),
    /// A section; deeper names follow.
    Section,
    /// Nothing, with the nearest name of that section.
    Unknown(Option<&'static str>),
}

const LEVELS: Kind = Kind::Word(&["off", "error", "warn", "info", "debug", "trace"]);
const ON_FAILURE: Kind = Kind::Word(&["skip_dependents", "fail_fast", "continue"]);
const CACHE: Kind = Kind::Word(&CacheMode::WORDS);
const VALIDATION: Kind = Kind::Word(&["strict", "moderate", "lenient"]);
const DEPTH: Kind = Kind::Word(&["quick", "standard", "deep"]);
const BACKOFF: Kind = Kind::Whole(0, RetrySpec::BACKOFF_MS_MAX);
const PROGRAM: Kind = Kind::Word(&["claude", "codex", "gemini", "custom"]);
const GREETING: Kind = Kind::Word(&["legacy", "auto"]);
const SEES: Kind = Kind::Word(&["own", "all"]);
const OTLP: Kind = Kind::Word(&["http/protobuf", "http/json"]);
const TRANSPORT: Kind = Kind::Word(&["http", "sse", "stdio"]);

/// Every key there is.
#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    key("agents.*.allow", Kind::Tools, Reach::Owner),
    key("agents.*.analysis_depth", DEPTH, Reach::Anyone),
    key("agents.*.command.allowed_tools", Kind::Arguments, Reach::Owner),
    key("agents.*.command.argv", Kind::Argv, Reach::Owner),
    key("agents.*.command.confine", Kind::Bool, Reach::Owner),
    key("agents.*.command.env", Kind::Variables, Reach::Owner),
    key("agents.*.command.max_budget_usd", Kind::Usd, Reach::Owner),
    key("agents.*.command.max_turns", Kind::Whole(1, 100_000), Reach::Owner),
    key("agents.*.command.memory_mb", Kind::Whole(1, 1 << 20), Reach::Owner),
    key("agents.*.command.model", Kind::Argument, Reach::Owner),
    key("agents.*.command.output", Kind::Word(&["json", "text", "stream_json"]), Reach::Owner),
    key("agents.*.command.output_schema", Kind::Path, Reach::Owner),
    key("agents.*.command.permission_mode", Kind::Argument, Reach::Owner),
    key("agents.*.command.program", PROGRAM, Reach::Owner),
    key("agents.*.command.prompt", Kind::Word(&["stdin", "argument"]), Reach::Owner),
    key("agents.*.command.working_directory", Kind::Path, Reach::Owner),
    key("agents.*.command.worktree", Kind::Bool, Reach::Owner),
    key("agents.*.command.writable", Kind::Paths, Reach::Owner),
    key("agents.*.expect.checks", Kind::Arguments, Reach::Owner),
    key("agents.*.expect.condition", Kind::Expression, Reach::Owner),
    key("agents.*.expect.output_path", Kind::Bool, Reach::Owner),
    key("agents.*.heartbeat_seconds", Kind::Seconds, Reach::Owner),
    key("agents.*.recipe", Kind::Name, Reach::Owner),
    key("agents.*.retry.backoff_ms", BACKOFF, Reach::Anyone),
    key("agents.*.retry.max_attempts", Kind::Whole(1, 20), Reach::Anyone),
    key("agents.*.retry.max_backoff_ms", BACKOFF, Reach::Anyone),
    key("agents.*.retry.on", Kind::Failures, Reach::Anyone),
    key("agents.*.timeout_seconds", Kind::Seconds, Reach::Anyone),
    key("agents.*.tool", Kind::Name, Reach::Owner),
    key("agents.*.upstream", Kind::Name, Reach::Owner),
    key("agents.*.validation_level", VALIDATION, Reach::Anyone),
    key("agents.*.worker", Kind::Word(&["pull"]), Reach::Owner),
    key("checks.*.argv", Kind::Argv, Reach::Owner),
    key("checks.*.env", Kind::Variables, Reach::Owner),
    key("checks.*.timeout_seconds", Kind::Seconds, Reach::Owner),
    key("checks.*.working_directory", Kind::Path, Reach::Owner),
    key("dispatcher.cache", CACHE, Reach::Anyone),
    key("dispatcher.enable_context", Kind::Bool, Reach::Anyone),
    key("dispatcher.max_workers", Kind::Whole(1, 1024), Reach::Anyone),
    key("dispatcher.on_failure", ON_FAILURE, Reach::Anyone),
    key("dispatcher.timeout_seconds", Kind::Seconds, Reach::Anyone),
    key("dispatcher.trace_dir", Kind::Path, Reach::Anyone),
    key("limits.dispatches_open_max", Kind::Whole(1, 100_000), Reach::Lower),
    key("limits.document_bytes_max", Kind::Whole(1 << 10, 64 << 20), Reach::Lower),
    key("limits.edges_max", Kind::Whole(1, 10_000_000), Reach::Lower),
    key("limits.max_workers", Kind::Whole(1, 1024), Reach::Lower),
    key("limits.nesting_max", Kind::Whole(0, 16), Reach::Lower),
    key("limits.retention_days", Kind::Whole(0, 36_500), Reach::Owner),
    key("limits.run_document_bytes_max", Kind::Whole(1 << 10, 4 << 30), Reach::Lower),
    key("limits.run_tasks_max", Kind::Whole(1, 1_000_000), Reach::Lower),
    key("limits.store_bytes_max", Kind::Whole(1 << 20, 1 << 50), Reach::Owner),
    key("limits.tasks_max", Kind::Whole(1, 1_000_000), Reach::Lower),
    key("limits.workers_total_max", Kind::Whole(1, 65_536), Reach::Lower),
    key("logging.destination", Kind::Destination, Reach::Owner),
    key("logging.format", Kind::Word(&["text", "json"]), Reach::Anyone),
    key("logging.level", LEVELS, Reach::Anyone),
    key("mcp.retry_attempts", Kind::Whole(0, 10), Reach::Anyone),
    key("mcp.timeout_seconds", Kind::Seconds, Reach::Anyone),
    key("mcp.url", Kind::Url, Reach::Owner),
    key("recipes.*", Kind::Tree, Reach::Owner),
    key("server.allowed_hosts", Kind::Hosts, Reach::Owner),
    key("server.allowed_origins", Kind::Origins, Reach::Owner),
    key("server.connections_max", Kind::Whole(1, 65_536), Reach::Owner),
    key("server.oauth.all_scope", Kind::Scope, Reach::Owner),
    key("server.oauth.audience", Kind::Argument, Reach::Owner),
    key("server.oauth.authorization_servers", Kind::Addresses, Reach::Owner),
    key("server.oauth.issuer", Kind::Address, Reach::Owner),
    key("server.oauth.jwks", Kind::AddressOrFile, Reach::Owner),
    key("server.oauth.resource", Kind::Address, Reach::Owner),
    key("server.oauth.scopes", Kind::Scopes, Reach::Owner),
    key("server.oauth.sees", SEES, Reach::Owner),
    key("server.sessions_max", Kind::Whole(1, 1_000_000), Reach::Owner),
    key("server.tls.certificate", Kind::Path, Reach::Owner),
    key("server.tls.key", Kind::Path, Reach::Owner),
    key("server.tokens.*.bearer", Kind::Secret, Reach::Owner),
    key("server.tokens.*.sees", SEES, Reach::Owner),
    key("state_dir", Kind::Path, Reach::Owner),
    key("telemetry.otlp.enabled", Kind::Bool, Reach::Owner),
    key("telemetry.otlp.endpoint", Kind::Endpoint, Reach::Owner),
    key("telemetry.otlp.headers.*", Kind::Secret, Reach::Owner),
    key("telemetry.otlp.protocol", OTLP, Reach::Owner),
    key("telemetry.otlp.resource_attributes", Kind::Attributes, Reach::Owner),
    key("telemetry.otlp.sample_ratio", Kind::Ratio, Reach::Owner),
    key("telemetry.otlp.service_name", Kind::Argument, Reach::Owner),
    key("telemetry.otlp.traces_endpoint", Kind::Endpoint, Reach::Owner),
    key("upstreams.*.args", Kind::Texts, Reach::Owner),
    key("upstreams.*.bearer", Kind::Secret, Reach::Owner),
    key("upstreams.*.breaker_failures", Kind::Whole(1, 1_000), Reach::Owner),
    key("upstreams.*.breaker_open_seconds", Kind::Seconds, Reach::Owner),
    key("upstreams.*.command", Kind::Program, Reach::Owner),
    key("upstreams.*.env.*", Kind::Secret, Reach::Owner),
    key("upstreams.*.env_pass", Kind::Variables, Reach::Owner),
    key("upstreams.*.headers.*", Kind::Secret, Reach::Owner),
    key("upstreams.*.max_concurrent", Kind::Whole(1, 1024), Reach::Owner),
    key("upstreams.*.protocol", GREETING, Reach::Owner),
    key("upstreams.*.response_bytes_max", Kind::Whole(1 << 10, 256 << 20), Reach::Owner),
    key("upstreams.*.retry_attempts", Kind::Whole(0, 10), Reach::Owner),
    key("upstreams.*.retry_backoff_ms", Kind::Whole(0, 5_000), Reach::Owner),
    key("upstreams.*.timeout_seconds", Kind::Seconds, Reach::Owner),
    key("upstreams.*.tools_allow", Kind::Tools, Reach::Owner),
    key("upstreams.*.transport", TRANSPORT, Reach::Owner),
    key("upstreams.*.url", Kind::Url, Reach::Owner),
];

const fn key(path: &'static str, kind: Kind, reach: Reach) -> Key {
    Key { path, kind, reach }
}

/// What the names of `path` lead to, from the top.
pub(super) fn find(path: &[&str]) -> Found {
    let mut is_section = false;
    for key in KEYS {
        match matched(key, path) {
            Some(Match::Whole) => return Found::Key(key),
            Some(Match::Start) => is_section = true,
            None => {}
        }
    }
    if is_section { Found::Section } else { Found::Unknown(nearest(path)) }
}

/// The one name of a value that can be said by two: Archon's address, an agent's alias.
pub(super) fn canonical(path: &[&str]) -> String {
    match path {
        ["mcp", "url"] => format!("upstreams.{ARCHON}.url"),
        ["agents", name] => format!("agents.{}", AgentName::new(name)),
        ["agents", name, field @ ..] => {
            format!("agents.{}.{}", AgentName::new(name), field.join("."))
        }
        // Headers are the same however their names are written.
        ["telemetry", "otlp", "headers", name] => {
            format!("telemetry.otlp.headers.{}", name.to_ascii_lowercase())
        }
        _ => path.join("."),
    }
}

/// Whether `name` may name an agent or an upstream: `[A-Za-z0-9][A-Za-z0-9_-]{0,63}`.
pub(super) fn is_name(name: &str) -> bool {
    let is_inner = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'_' | b'-');
    name.len() <= 64
        && name.bytes().next().is_some_and(|it| it.is_ascii_alphanumeric())
        && name.bytes().all(is_inner)
}

/// Why `name` may name no header or variable, where `key` leads to one.
pub(super) fn check_inner_name(key: &Key, name: &str) -> Result<(), String> {
    let is_inner = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'_' | b'-');
    let is_header = || (1..=64).contains(&name.len()) && name.bytes().all(is_inner);
    match key.path {
        "upstreams.*.env.*" => check_variable(name),
        "upstreams.*.headers.*" | "telemetry.otlp.headers.*" if !is_header() => {
            Err("a header's name is 1 to 64 letters, digits, `_` and `-`".to_owned())
        }
        _ => Ok(()),
    }
}

enum Match {
    Whole,
    Start,
}

fn matched(key: &Key, path: &[&str]) -> Option<Match> {
    let mut segments = key.path.split('.');
    for name in path {
        let segment = segments.next()?;
        if segment != "*" && segment != *name {
            return None;
        }
    }
    Some(if segments.next().is_none() { Match::Whole } else { Match::Start })
}

/// The name that the last one of `path` was probably meant to be.
fn nearest(path: &[&str]) -> Option<&'static str> {
    let (last, section) = path.split_last()?;
    let siblings = KEYS.iter().filter(|it| matched(it, section).is_some());
    text::nearest(last, siblings.filter_map(|it| it.path.split('.').nth(section.len())))
}
