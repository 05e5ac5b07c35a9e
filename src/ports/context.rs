//! Where context comes from: one source per prefix.

use std::fmt::Debug;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::CallLog;
use crate::model::Lineage;

/// What a task asks for, such as `file:auth.py`.
///
/// Invariant, once a document was checked: a known prefix, a colon, and a key that is not empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ContextKey(String);

/// One gathered piece of context, as agents get it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContextItem {
    /// The prefix it came by: `file`, `structure`, `rag`, `pattern`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The context itself: text or JSON.
    pub content: Value,
    /// Where it comes from, how large it is, what was cut.
    pub metadata: Map<String, Value>,
}

/// Why a piece of context is missing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to gather context {key:?}: {reason}")]
pub struct ContextError {
    /// The key as it was asked for.
    pub key: String,
    /// Why, in one sentence.
    pub reason: String,
}

/// On whose behalf context is gathered.
#[derive(Clone, Debug, Default)]
pub struct Gathering {
    /// The trace that calls belong to.
    pub trace: Option<Lineage>,
    /// Where calls of upstreams are noted.
    pub calls: Option<CallLog>,
}

/// One kind of context.
pub trait ContextSource: Debug + Send + Sync {
    /// The prefix that it serves, without the colon.
    fn prefix(&self) -> &'static str;

    /// Gathers what `key`, the part after the colon, stands for; bounded in size and time.
    fn gather<'a>(
        &'a self,
        key: &'a str,
        on_behalf: &'a Gathering,
    ) -> BoxFuture<'a, Result<ContextItem, ContextError>>;
}

impl ContextKey {
    /// Wraps a requirement as written.
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The requirement as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The prefix and the key; `None` without a colon.
    pub fn split(&self) -> Option<(&str, &str)> {
        self.0.split_once(':')
    }
}
