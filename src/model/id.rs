//! Identifiers. A [`TaskId`] is what the caller wrote; a [`TaskIdx`] is its place in one graph.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The caller's name for a task, unique within one dispatch.
///
/// Invariant, once a document was checked: `[A-Za-z0-9][A-Za-z0-9._-]{0,127}`.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct TaskId(Box<str>);

/// The dense index of a task in its graph: its position in the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskIdx(u32);

/// The number of a try at one task, counted from 1; 0 stands for "not tried yet".
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(transparent)]
pub struct Attempt(pub u32);

/// The name of a dispatch: a UUID of version 7, so that names sort by time.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct DispatchId(Uuid);

/// The name of a stored plan: a UUID of version 7.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct PlanId(Uuid);

/// The name of a worker's claim on one attempt: a random UUID, so that nobody else can name it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct LeaseId(Uuid);

impl TaskId {
    /// The longest name allowed, in bytes.
    pub const LEN_MAX: usize = 128;

    /// Wraps a name as given.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The name as the caller wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `name` may name a task: `[A-Za-z0-9][A-Za-z0-9._-]{0,127}`.
    pub fn is_valid(name: &str) -> bool {
        let bytes = name.as_bytes();
        let is_inner = |it: &u8| it.is_ascii_alphanumeric() || matches!(it, b'.' | b'_' | b'-');
        bytes.first().is_some_and(u8::is_ascii_alphanumeric)
            && bytes.len() <= Self::LEN_MAX
            && bytes.iter().all(is_inner)
    }
}

impl TaskIdx {
    /// Makes an index from a position; graphs hold fewer than `u32::MAX` tasks, checked when built.
    #[expect(clippy::cast_possible_truncation, reason = "limits.tasks_max is far below u32::MAX")]
    pub fn from_usize(position: usize) -> Self {
        Self(position as u32)
    }

    /// The position in the document and in the graph's arrays.
    pub fn as_usize(self) -> usize {
        self.0 as usize
    }

    /// The position, as it is stored.
    pub fn as_u32(self) -> u32 {
        self.0
    }
}

impl DispatchId {
    /// Wraps a UUID that the clock's owner made.
    pub fn new(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// The UUID's 16 bytes, as they are stored.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// The UUID's high and low half.
    pub fn as_u64_pair(&self) -> (u64, u64) {
        self.0.as_u64_pair()
    }

    /// Reads what [`Self::as_bytes`] gave.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// The first eight hexadecimal digits.
    pub fn short(&self) -> String {
        let mut digits = self.0.simple().to_string();
        digits.truncate(8);
        digits
    }
}

impl PlanId {
    /// Wraps a UUID that the clock's owner made.
    pub fn new(uuid: Uuid) -> Self {
        Self(uuid)
    }
}

impl LeaseId {
    /// Wraps a UUID that was drawn at random.
    pub fn new(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// The bytes of the UUID.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl FromStr for LeaseId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::from_str(text).map(Self)
    }
}

impl FromStr for DispatchId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::from_str(text).map(Self)
    }
}

impl FromStr for PlanId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::from_str(text).map(Self)
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for DispatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for PlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
