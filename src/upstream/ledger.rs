//! What calls have shown of an upstream: since when it fails, and which tools it had first.

use parking_lot::Mutex;

use super::{breaker::Verdict, tools::ToolList};
use crate::model::{Millis, ToolsState};

/// Notes on one upstream.
///
/// The lock guards the notes, for the moment of a look or a change.
#[derive(Debug, Default)]
pub(super) struct Ledger(Mutex<Notes>);

#[derive(Debug, Default)]
struct Notes {
    down_since: Option<Millis>,
    tools: Option<Pin>,
}

/// The tools that were seen last.
#[derive(Debug)]
struct Pin {
    digest: [u8; 32],
    n_tools: usize,
    has_changed: bool,
}

impl Ledger {
    /// Notes how a call went.
    pub(super) fn note_verdict(&self, verdict: Verdict, now: Millis) {
        let mut notes = self.0.lock();
        match verdict {
            Verdict::Healthy => notes.down_since = None,
            Verdict::Failed => _ = notes.down_since.get_or_insert(now),
            Verdict::Unknown => {}
        }
    }

    /// Notes the tools on offer; whether they are others than the last time.
    pub(super) fn note_tools(&self, list: &ToolList) -> bool {
        let mut notes = self.0.lock();
        let n_tools = list.tools.len();
        match &mut notes.tools {
            Some(pin) if pin.digest == list.digest => false,
            Some(pin) => {
                *pin = Pin { digest: list.digest, n_tools, has_changed: true };
                true
            }
            unseen => {
                *unseen = Some(Pin { digest: list.digest, n_tools, has_changed: false });
                false
            }
        }
    }

    /// When it failed first since it last answered.
    pub(super) fn down_since(&self) -> Option<Millis> {
        self.0.lock().down_since
    }

    /// How many tools it has, and whether they are those seen first.
    pub(super) fn tools(&self) -> (Option<usize>, ToolsState) {
        match &self.0.lock().tools {
            None => (None, ToolsState::Unknown),
            Some(pin) if pin.has_changed => (Some(pin.n_tools), ToolsState::Changed),
            Some(pin) => (Some(pin.n_tools), ToolsState::Pinned),
        }
    }
}
