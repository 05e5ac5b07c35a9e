//! A store in memory for tests, which fails, hangs and falls silent when it is told to.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::watch;

use super::fault_tests::Faults;
use crate::{
    ports::{Answer, Changes, Committed, Journal, Query, StoreError, Write},
    stores::MemoryStore,
};

/// A store in memory that refuses commits while it is told to.
#[derive(Debug, Default)]
pub(super) struct Flaky {
    pub(super) inner: MemoryStore,
    pub(super) is_broken: AtomicBool,
    /// Whether nothing can be read.
    pub(super) is_blind: AtomicBool,
    /// Which of the commits and reads fail.
    pub(super) faults: Faults,
    /// Whether commits wait until this is false again: the process seems to hang.
    pub(super) is_stuck: watch::Sender<bool>,
    /// Whether the answers to commits wait until this is false again.
    pub(super) is_mute: watch::Sender<bool>,
}

impl Flaky {
    /// The same store, as another process reaches it.
    pub(super) fn elsewhere(&self) -> Arc<Self> {
        Arc::new(Self { inner: self.inner.clone(), ..Self::default() })
    }
}

impl Journal for Flaky {
    fn commit(&self, writes: Arc<[Write]>) -> Answer<Committed> {
        if self.is_broken.load(Ordering::SeqCst) {
            let reason = "no space left on device".into();
            let error = StoreError::Unavailable { action: "write", reason };
            return Box::pin(async { Err(error) });
        }
        if let Err(error) = self.faults.next("write") {
            return Box::pin(async { Err(error) });
        }
        let (mut is_stuck, inner) = (self.is_stuck.subscribe(), self.inner.clone());
        let mut is_mute = self.is_mute.subscribe();
        Box::pin(async move {
            is_stuck.wait_for(|it| !it).await.ok();
            let committed = inner.commit(writes).await;
            is_mute.wait_for(|it| !it).await.ok();
            committed
        })
    }

    fn read(&self, query: Query) {
        if self.is_blind.load(Ordering::SeqCst) {
            let reason = "input/output error".into();
            return query(Err(StoreError::Unavailable { action: "read", reason }));
        }
        match self.faults.next("read") {
            Ok(()) => self.inner.read(query),
            Err(error) => query(Err(error)),
        }
    }

    fn changes(&self) -> Changes {
        self.inner.changes()
    }
}
