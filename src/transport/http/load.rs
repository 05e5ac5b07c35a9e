//! How many there are of what a server has limits for.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// What a server keeps count of for whoever wants to know; a clone shows the same numbers.
#[derive(Clone, Debug, Default)]
pub struct Load(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    connections: AtomicUsize,
    awake: AtomicUsize,
    asleep: AtomicUsize,
}

impl Load {
    /// Open connections.
    pub fn connections(&self) -> usize {
        self.0.connections.load(Relaxed)
    }

    /// Sessions on `/mcp` that have a handler.
    pub fn sessions_awake(&self) -> usize {
        self.0.awake.load(Relaxed)
    }

    /// Sessions on `/mcp` that get one when their client comes back.
    pub fn sessions_asleep(&self) -> usize {
        self.0.asleep.load(Relaxed)
    }

    pub(super) fn set_connections(&self, n: usize) {
        self.0.connections.store(n, Relaxed);
    }

    pub(super) fn set_sessions(&self, awake: usize, asleep: usize) {
        self.0.awake.store(awake, Relaxed);
        self.0.asleep.store(asleep, Relaxed);
    }
}
