//! What the settings say of an agent that is a program, and what of it goes together.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{
    error::{ConfigError, Source},
    layer::Merged,
};

/// The variables that a program always gets, where they are set.
pub(super) const PASSED_ON: [&str; 12] = [
    "HOME",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "LOGNAME",
    "PATH",
    "SHELL",
    "TERM",
    "TMPDIR",
    "TZ",
    "USER",
    "XDG_CONFIG_HOME",
];
/// The variables that a program never gets from this process: those of the editor's session, one
/// of which is a secret, and those that the attempt sets.
const KEPT_BACK: [&str; 4] =
    ["CLAUDECODE", "CLAUDE_CODE_", "PARALLEL_DISPATCH_PARENT", "PARALLEL_DISPATCH_STATE_DIR"];

/// A program that does an agent's work; its command line comes from here alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandSettings {
    /// Whose conventions it keeps: `claude`, `codex`, `gemini`, or `custom`, the default where
    /// `argv` is set.
    #[serde(default)]
    pub program: CommandProgram,
    /// What is run, with arguments that go before those of the conventions; the program's own name
    /// unless set. `custom` needs it. No shell reads it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub argv: Vec<String>,
    /// What standard output is: `json`, `text` or `stream_json`. `text` for `custom`; `claude` and
    /// `gemini` take `stream_json` (default) and `json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<CommandOutput>,
    /// How a `custom` program gets the prompt: on `stdin` (default), or as its last `argument`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<CommandPrompt>,
    /// A file with the JSON schema that the output has to have, for `claude` and `codex`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<PathBuf>,
    /// The model, by the program's name for it; the program's default unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// What it may do without asking: the permission mode of `claude`, the sandbox of `codex`, the
    /// approval mode of `gemini`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permission_mode: Option<String>,
    /// Tools that `claude` and `gemini` may use without asking; at most 256.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_tools: Vec<String>,
    /// The most that one attempt of `claude` may cost, in US dollars: above 0, at most 1,000,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_budget_usd: Option<f64>,
    /// The most turns of one attempt of `claude`: 1 to 100,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_turns: Option<u64>,
    /// Names of variables that it gets besides a few that are always passed on; at most 256.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// Where it runs; the first workspace unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_directory: Option<PathBuf>,
    /// How much memory one process of it is expected to need, in mebibytes: 1 to 1,048,576, default
    /// 250. No more run at once than fit.
    #[serde(default = "default_memory_mb")]
    pub memory_mb: u64,
    /// Whether the kernel lets it write only where it runs, in temporary files, on devices, where
    /// git must for a worktree, and where `writable` says (Linux); default false.
    #[serde(default)]
    pub confine: bool,
    /// Where else a confined one may write; at most 256.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub writable: Vec<PathBuf>,
    /// Whether each task gets a git worktree of its own; default false.
    #[serde(default)]
    pub worktree: bool,
}

/// Whose conventions a program keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CommandProgram {
    /// Claude Code.
    Claude,
    /// Codex.
    Codex,
    /// Gemini CLI.
    Gemini,
    /// None of these.
    #[default]
    Custom,
}

/// What standard output is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandOutput {
    /// One JSON value.
    Json,
    /// Text.
    Text,
    /// A JSON object a line; other lines are passed over.
    StreamJson,
}

/// How a program gets the prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CommandPrompt {
    /// On standard input.
    Stdin,
    /// As its last argument.
    Argument,
}

fn default_memory_mb() -> u64 {
    250
}

/// Whether a variable of this name may be passed on to programs.
pub(super) fn may_be_passed_on(name: &str) -> bool {
    !KEPT_BACK.iter().any(|it| name == *it || (it.ends_with('_') && name.starts_with(it)))
}

/// Which fields only some programs take, and which do.
const TAKEN_BY: [(&str, &[&str]); 8] = [
    ("output", &["claude", "gemini", "custom"]),
    ("prompt", &["custom"]),
    ("output_schema", &["claude", "codex"]),
    ("model", &["claude", "codex", "gemini"]),
    ("permission_mode", &["claude", "codex", "gemini"]),
    ("allowed_tools", &["claude", "gemini"]),
    ("max_budget_usd", &["claude"]),
    ("max_turns", &["claude"]),
];

/// Looks at what the sections `agents.NAME.command` say together.
pub(super) fn check(merged: &Merged, faults: &mut Vec<ConfigError>) {
    for agent in merged.names("agents") {
        let section = format!("agents.{agent}.command");
        let said = |field: &str| merged.get(&format!("{section}.{field}"));
        let inner = format!("{section}.");
        let first = merged.iter().find(|it| it.0 == section || it.0.starts_with(&inner));
        let Some((_, _, source)) = first else { continue };
        let mut fault = |source: &Source, key: &str, message: String| {
            faults.push(ConfigError::new(source.clone(), key, message));
        };
        let program = said("program").and_then(|it| it.0.as_str()).unwrap_or("custom");
        if program == "custom" && said("argv").is_none() {
            let message = "needs `program`, or `argv` where it is another one".to_owned();
            fault(source, &section, message);
        }
        for (field, other) in
            [("recipe", "recipe"), ("tool", "tool"), ("upstream", "tool"), ("allow", "tool")]
        {
            if let Some((_, source)) = merged.get(&format!("agents.{agent}.{field}")) {
                let message = format!("an agent is a command or a {other}, not both");
                fault(source, &format!("agents.{agent}.{field}"), message);
            }
        }
        for (field, takers) in TAKEN_BY {
            if let Some((_, source)) = said(field).filter(|_| !takers.contains(&program)) {
                let message = format!("{program} does not take it, only {}", takers.join(", "));
                fault(source, &format!("{section}.{field}"), message);
            }
        }
        if let Some((value, source)) = said("output")
            && program != "custom"
            && value == "text"
        {
            let message = format!("{program} writes json or stream_json");
            fault(source, &format!("{section}.output"), message);
        }
    }
}
