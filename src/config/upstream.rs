//! The settings of one upstream.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::supply::SecretText;

/// One MCP server that does agents' work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// How it is reached: `http` (streamable HTTP), `sse` (the older HTTP+SSE) or `stdio` (a child
    /// process); `stdio` if there is a `command`, else `http`.
    pub transport: Transport,
    /// Its address, http or https, without a password in it; for `http` and `sse`. A bare host gets
    /// `/mcp` or `/sse`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The program of a child process: a name on PATH or a path; for `stdio`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The program's arguments, at most 256, each as it stands; no shell reads them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Variables that the program gets; values may refer to secrets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, SecretText>,
    /// Variables of this program's environment that are passed on, besides those that every program
    /// needs (PATH, HOME and the like).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env_pass: Vec<String>,
    /// Headers of every request; values may refer to secrets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, SecretText>,
    /// The bearer token of every request; may refer to a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bearer: Option<SecretText>,
    /// As `mcp.timeout_seconds`, which is the default.
    pub timeout_seconds: f64,
    /// How many calls it gets at once: 1 to 1024, `limits.max_workers` unless set.
    pub max_concurrent: u32,
    /// How it is greeted: `legacy` opens with `initialize` (the default for `archon` and for
    /// `sse`), `auto` tries the newest handshake first (the default for others).
    pub protocol: Protocol,
    /// The largest answer that is let in, in bytes: 1 KiB to 256 MiB, default 16 MiB.
    pub response_bytes_max: u64,
    /// As `mcp.retry_attempts`, which is the default.
    pub retry_attempts: u32,
    /// The wait before the first time that a call is tried again, in milliseconds: 0 to 5,000,
    /// default 100; doubled each time.
    pub retry_backoff_ms: u64,
    /// How many failures in a row keep all calls away for a while: 1 to 1,000, default 5.
    pub breaker_failures: u32,
    /// How long calls are kept away the first time, in seconds: above 0, at most 86,400, default 1.
    /// It doubles with each probe that fails, up to 30 s.
    pub breaker_open_seconds: f64,
    /// The tools that may be used, by name or by pattern with `*` and `?`, at most 256; all unless
    /// set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools_allow: Option<Vec<String>>,
}

/// How an upstream is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Streamable HTTP.
    Http,
    /// The older HTTP+SSE.
    Sse,
    /// A child process.
    Stdio,
}

/// How an upstream is greeted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// With `initialize` only. A probe can hang an old server for good.
    Legacy,
    /// With the newest handshake, then the older ones.
    Auto,
}
