//! Which Archon serves: the configured one, the one on the usual port, or the embedded one.

use std::sync::Arc;

use tokio::sync::Mutex;

use super::{Presence, Upstream};
use crate::{
    model::{Millis, UpstreamState, UpstreamStatus},
    ports::Clock,
};

/// Where `upstreams.archon` is.
#[derive(Clone, Debug)]
pub enum ArchonChoice {
    /// The settings say where; nothing ever stands in for it.
    Configured(Arc<Upstream>),
    /// The settings say nothing: the usual port if something listens there, else this process.
    Default {
        /// The usual port.
        remote: Arc<Upstream>,
        /// The Archon in this process.
        embedded: Arc<Upstream>,
    },
}

/// The upstream named `archon`, whichever it is; shared by all that use it.
#[derive(Debug)]
pub struct Archon {
    choice: ArchonChoice,
    clock: Arc<dyn Clock>,
    /// Guards the last look; held during a look, so that one serves all who ask meanwhile.
    seen: Mutex<Option<(Millis, Presence)>>,
}

/// How long a look at the usual port counts.
const LOOK_VALID: Millis = Millis(30_000);

impl Archon {
    /// Takes the choice; nothing is looked at yet.
    pub fn new(choice: ArchonChoice, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { choice, clock, seen: Mutex::default() })
    }

    /// Who serves now, and what the user should know about it. A look at the usual port counts
    /// for 30 s.
    pub async fn choose(&self) -> (Arc<Upstream>, Vec<String>) {
        match &self.choice {
            ArchonChoice::Configured(archon) => (Arc::clone(archon), Vec::new()),
            ArchonChoice::Default { remote, embedded } => match self.look(remote).await {
                Presence::Something => (Arc::clone(remote), Vec::new()),
                Presence::Nothing => (Arc::clone(embedded), vec![warning(remote)]),
            },
        }
    }

    /// Whether a session with it is open, or something answers where it is. The embedded one does
    /// not count: it stands in for an Archon that is not there.
    pub async fn is_connected(&self) -> bool {
        let remote = match &self.choice {
            ArchonChoice::Configured(archon) => archon,
            ArchonChoice::Default { remote, .. } => remote,
        };
        match remote.status() {
            UpstreamStatus { state: UpstreamState::Connected, .. } => true,
            // Of a program nobody can say so before it was started.
            UpstreamStatus { transport: "stdio", .. } => false,
            _ => self.look(remote).await == Presence::Something,
        }
    }

    async fn look(&self, remote: &Upstream) -> Presence {
        let mut seen = self.seen.lock().await;
        let now = self.clock.now();
        if let Some((at, presence)) = *seen
            && now.since(at) < LOOK_VALID
        {
            return presence;
        }
        let presence = remote.probe().await.presence;
        *seen = Some((now, presence));
        presence
    }
}

fn warning(remote: &Upstream) -> String {
    let address = remote.address();
    format!(
        "no Archon answers on {} and none is configured: the embedded Archon serves; its coder \
         writes scaffolds, not finished code",
        address.trim_end_matches("/mcp")
    )
}
