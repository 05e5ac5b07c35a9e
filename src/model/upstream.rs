//! How the servers stand that do the agents' work, as far as calls have shown.

use serde::Serialize;

use super::Timestamp;

/// The name of the upstream that is meant where none is named.
pub const ARCHON: &str = "archon";
/// The name of the Archon in this process.
pub const EMBEDDED: &str = "embedded";

/// How one upstream stands. Nothing is asked to find out: it is what calls have met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UpstreamStatus {
    /// Its name in the settings.
    pub name: String,
    /// How it is reached: `http`, `sse`, `stdio` or `embedded`.
    pub transport: &'static str,
    /// Where it is, without secrets.
    pub address: String,
    /// Whether it can be called.
    pub state: UpstreamState,
    /// When it failed first since it last answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub down_since: Option<Timestamp>,
    /// How many tools it offers, once they were listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n_tools: Option<usize>,
    /// Whether its tools are those that were seen first.
    pub tools: ToolsState,
}

/// Whether an upstream can be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UpstreamState {
    /// Nobody has needed it, or not for long.
    Idle,
    /// A session is open.
    Connected,
    /// It did not answer last time.
    Down,
    /// It failed again and again, and is left alone for a while.
    BreakerOpen,
}

/// Whether an upstream's tools are those that were seen first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolsState {
    /// They were not listed yet.
    Unknown,
    /// They are.
    Pinned,
    /// Names, descriptions or schemas became others while this program ran.
    Changed,
}
