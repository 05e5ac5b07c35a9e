//! Lets no more programs run at once than there is memory for.
//!
//! A program takes its memory bit by bit, so one that has just started counts with what it is
//! expected to need still. Who finds no room waits; one program may always run.

use std::{fmt, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::proc;

/// How often somebody who waits looks again; others on the machine may have freed memory.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// What is known of memory; made up in tests.
pub(super) trait Memory: Send + Sync {
    /// What could be given out now, in bytes; `None` where the system does not say.
    fn available(&self) -> Option<u64>;

    /// What each of these processes has with its descendants, in bytes.
    fn used_by(&self, processes: &[u32]) -> Vec<u64>;
}

/// What the system says.
#[derive(Debug)]
pub(super) struct SystemMemory;

/// The programs that run, and whether another one may; shared by all agents of this process.
pub(super) struct MemoryGate {
    memory: Box<dyn Memory>,
    /// What runs or is about to. Held for one look only.
    places: Mutex<Vec<Place>>,
    freed: Notify,
}

/// The right to run one program; given back when dropped.
#[derive(Debug)]
pub(super) struct Room {
    gate: Arc<MemoryGate>,
    number: u64,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    number: u64,
    /// What it is expected to need, in bytes.
    needed: u64,
    /// Its process, once it has one.
    process: Option<u32>,
}

impl Memory for SystemMemory {
    fn available(&self) -> Option<u64> {
        proc::memory_available()
    }

    fn used_by(&self, processes: &[u32]) -> Vec<u64> {
        proc::memory_of_trees(processes)
    }
}

impl MemoryGate {
    pub(super) fn new(memory: Box<dyn Memory>) -> Arc<Self> {
        Arc::new(Self { memory, places: Mutex::default(), freed: Notify::new() })
    }

    /// Waits for room for a program that needs `needed` bytes; calls `on_wait` at each look that
    /// finds none.
    pub(super) async fn enter(self: &Arc<Self>, needed: u64, on_wait: impl Fn()) -> Room {
        loop {
            let freed = self.freed.notified();
            if let Some(room) = self.try_enter(needed) {
                return room;
            }
            on_wait();
            let _looked_again = tokio::time::timeout(LOOK_INTERVAL, freed).await;
        }
    }

    fn try_enter(self: &Arc<Self>, needed: u64) -> Option<Room> {
        let mut places = self.places.lock();
        if !places.is_empty() && !self.has_room(&places, needed) {
            return None;
        }
        let number = places.last().map_or(0, |it| it.number + 1);
        places.push(Place { number, needed, process: None });
        Some(Room { gate: Arc::clone(self), number })
    }

    fn has_room(&self, places: &[Place], needed: u64) -> bool {
        let Some(available) = self.memory.available() else { return true };
        let processes: Vec<u32> = places.iter().filter_map(|it| it.process).collect();
        let mut used = self.memory.used_by(&processes).into_iter();
        let still_needed = |it: &Place| {
            let used = it.process.and_then(|_| used.next()).unwrap_or(0);
            it.needed.saturating_sub(used)
        };
        let promised: u64 = places.iter().map(still_needed).sum();
        available.saturating_sub(promised) >= needed
    }
}

impl Room {
    /// Says which process runs in it.
    pub(super) fn occupy(&self, process: u32) {
        let mut places = self.gate.places.lock();
        if let Some(it) = places.iter_mut().find(|it| it.number == self.number) {
            it.process = Some(process);
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.gate.places.lock().retain(|it| it.number != self.number);
        self.gate.freed.notify_waiters();
    }
}

impl fmt::Debug for MemoryGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryGate").field("places", &self.places).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use futures::FutureExt as _;

    use super::*;

    /// So much is free; each process has taken a tenth of its number.
    #[derive(Clone, Default)]
    struct MadeUp(Arc<AtomicU64>);

    impl Memory for MadeUp {
        fn available(&self) -> Option<u64> {
            Some(self.0.load(Ordering::Relaxed))
        }

        fn used_by(&self, processes: &[u32]) -> Vec<u64> {
            processes.iter().map(|it| u64::from(*it) / 10).collect()
        }
    }

    fn gate(available: u64) -> (Arc<MemoryGate>, MadeUp) {
        let memory = MadeUp(Arc::new(available.into()));
        (MemoryGate::new(Box::new(memory.clone())), memory)
    }

    fn enter(gate: &Arc<MemoryGate>, needed: u64) -> Option<Room> {
        gate.enter(needed, || ()).now_or_never()
    }

    #[tokio::test]
    async fn what_programs_will_still_take_is_not_free() {
        let (gate, memory) = gate(250);
        let first = enter(&gate, 100).unwrap();
        let _second = enter(&gate, 100).unwrap();
        assert!(enter(&gate, 100).is_none(), "both may take all that is free");
        // The first has taken its part, which is why less is free.
        memory.0.store(150, Ordering::Relaxed);
        first.occupy(1_000);
        assert!(enter(&gate, 51).is_none());
        assert!(enter(&gate, 50).is_some());
    }

    #[tokio::test]
    async fn one_program_runs_whatever_it_needs() {
        let (gate, _) = gate(10);
        let only = enter(&gate, 100);
        assert!(only.is_some());
        assert!(enter(&gate, 1).is_none());
        drop(only);
        assert!(enter(&gate, 100).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_goes_on_when_there_is_room() {
        let (gate, memory) = gate(100);
        let first = enter(&gate, 100).unwrap();
        let looks = Arc::new(AtomicU64::default());
        let waiting = tokio::spawn({
            let (gate, looks) = (Arc::clone(&gate), Arc::clone(&looks));
            async move {
                gate.enter(100, || {
                    looks.fetch_add(1, Ordering::Relaxed);
                })
                .await
            }
        });
        tokio::task::yield_now().await;
        drop(first);
        let second = waiting.await.unwrap();
        assert_eq!(looks.load(Ordering::Relaxed), 1);
        let third = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.enter(100, || ()).await }
        });
        tokio::task::yield_now().await;
        assert!(!third.is_finished());
        memory.0.store(200, Ordering::Relaxed);
        let _third = third.await.unwrap();
        drop(second);
    }
}
