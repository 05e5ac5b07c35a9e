//! What the program tells of itself, put together: counts, spans, and what monitors may ask.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;

use crate::{
    config::{Role, Settings},
    model::{AgentName, Millis, UpstreamCall, UpstreamStatus},
    ports::{Clock, Meter, Spans},
    stores::SqliteStore,
    telemetry::{Exporter, Known, Metrics, TelemetryError},
    transport::Load,
    upstream::{Archon, Upstream},
    web::{Monitored, StoreStanding},
};

/// What stands for upstreams' names in the records of agents that are no tools.
const NO_UPSTREAMS: [&str; 3] = [UpstreamCall::COMMAND, "embedded-archon", UpstreamCall::WORKERS];

/// Who counts, and who tells spans.
pub(super) struct Monitoring {
    metrics: Option<Arc<Metrics>>,
    exporter: Option<Exporter>,
}

/// What monitors may ask of a server.
struct Monitor {
    metrics: Arc<Metrics>,
    upstreams: Vec<Arc<Upstream>>,
    archon: Arc<Archon>,
    clock: Arc<dyn Clock>,
    started_at: Millis,
}

impl Monitoring {
    /// Counts for servers, and tells spans where the settings name a collector.
    pub(super) fn start(
        settings: &Settings,
        role: Role,
        agents: impl Iterator<Item = AgentName>,
        now: Millis,
    ) -> Result<Self, TelemetryError> {
        let metrics = match role {
            Role::Serve => {
                let upstreams = settings.upstreams.keys().map(String::as_str).chain(NO_UPSTREAMS);
                Some(Arc::new(Metrics::new(agents, upstreams.map(str::to_owned), now)))
            }
            Role::Run | Role::Other => None,
        };
        let (otlp, known) = (&settings.telemetry.otlp, || Known::of(settings));
        let exporter = Exporter::start(otlp, known, metrics.clone())?;
        Ok(Self { metrics, exporter })
    }

    pub(super) fn meter(&self) -> Option<Arc<dyn Meter>> {
        self.metrics.clone().map(|it| it as _)
    }

    pub(super) fn spans(&self) -> Option<Arc<dyn Spans>> {
        self.exporter.as_ref().map(Exporter::spans)
    }

    /// What monitors may ask, of a server that counts.
    pub(super) fn monitored(
        &self,
        upstreams: Vec<Arc<Upstream>>,
        archon: &Arc<Archon>,
        clock: &Arc<dyn Clock>,
        load: &Load,
    ) -> Option<Arc<dyn Monitored>> {
        let metrics = Arc::clone(self.metrics.as_ref()?);
        watch(load, &metrics);
        Some(Arc::new(Monitor {
            metrics,
            upstreams,
            archon: Arc::clone(archon),
            clock: Arc::clone(clock),
            started_at: clock.now(),
        }))
    }

    /// Tells the last spans.
    pub(super) async fn stop(self) {
        if let Some(exporter) = self.exporter {
            exporter.stop().await;
        }
    }
}

impl Monitored for Monitor {
    fn upstreams(&self) -> Vec<UpstreamStatus> {
        self.upstreams.iter().map(|it| it.status()).collect()
    }

    fn is_connected(&self) -> BoxFuture<'_, bool> {
        Box::pin(self.archon.is_connected())
    }

    fn store(&self) -> StoreStanding {
        StoreStanding {
            state: if self.metrics.store_works() { "ok" } else { "failing" },
            kind: "sqlite",
            schema_version: SqliteStore::SCHEMA_VERSION,
            dispatches_open: self.metrics.n_dispatches(),
        }
    }

    fn uptime(&self) -> Duration {
        Duration::from_millis(self.clock.now().since(self.started_at).0)
    }

    fn metrics(&self) -> String {
        self.metrics.render(&self.upstreams())
    }
}

/// Shows how many clients there are.
fn watch(load: &Load, metrics: &Metrics) {
    let show = |name, help, read: fn(&Load) -> usize| {
        let load = load.clone();
        metrics.watch(name, help, move || u32::try_from(read(&load)).ok().map(f64::from));
    };
    show("dispatch_connections", "Open connections.", Load::connections);
    show("dispatch_sessions_awake", "Sessions on /mcp that have a handler.", Load::sessions_awake);
    let help = "Sessions on /mcp that get a handler when their client comes back.";
    show("dispatch_sessions_asleep", help, Load::sessions_asleep);
}
