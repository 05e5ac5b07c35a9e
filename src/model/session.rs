//! What a transport tells a handler about the session that a request is of, in its extensions.

use std::{any::Any, fmt, sync::Arc};

/// Keeps the session of a request awake, which ends the handlers of sessions that do nothing.
///
/// There is one with each request, until that was answered; who works for a session longer keeps a
/// clone as long.
#[derive(Clone)]
pub struct KeepAwake {
    _held: Arc<dyn Any + Send + Sync>,
}

/// Marks a request that a session's client made once, and that is made again because the session
/// has a new handler. What the client would have been told meanwhile, it was not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MadeAgain;

impl KeepAwake {
    /// Keeps awake until `held` is dropped with the last clone.
    pub fn new(held: impl Any + Send + Sync) -> Self {
        Self { _held: Arc::new(held) }
    }
}

impl fmt::Debug for KeepAwake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeepAwake").finish_non_exhaustive()
    }
}
