//! Counts of what happens, for scrapers of Prometheus.
//!
//! Labels are names of the settings and words of this program; whatever else comes is counted as
//! `other`, so that no caller can make more of them. What is counted for every task was looked up
//! at the start, so that counting is a few additions.

use std::{sync::atomic::AtomicU64, time::Duration};

use parking_lot::RwLock;
use prometheus_client::{
    encoding::text,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::{Metric, Registry},
};

use super::{
    named::{Counters, Label, Named, Outcomes},
    process,
    watched::Watched,
};
use crate::{
    model::{
        AgentName, DispatchStatus, FailureCode, Millis, TaskStatus, UpstreamCall, UpstreamState,
        UpstreamStatus,
    },
    ports::{Meter, Standing},
};

/// How long tasks and calls take, in seconds: the ends of the classes.
const SECONDS: [f64; 16] = [
    0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0,
    3_600.0,
];
/// The same for commits.
const COMMIT_SECONDS: [f64; 10] =
    [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10.0];
/// What a task may end with.
const TASK_ENDS: [TaskStatus; 4] =
    [TaskStatus::Success, TaskStatus::Error, TaskStatus::Skipped, TaskStatus::Cancelled];
/// What a dispatch may end with.
const DISPATCH_ENDS: [DispatchStatus; 4] = [
    DispatchStatus::Success,
    DispatchStatus::Partial,
    DispatchStatus::Failure,
    DispatchStatus::Cancelled,
];

/// All that is counted.
#[derive(Debug)]
pub struct Metrics {
    /// What is shown. It grows at the start, and is read by scrapers.
    registry: RwLock<Registry>,
    agents: Named<OfAgent>,
    upstreams: Named<OfUpstream>,
    connected: Numbers,
    breaker_open: Numbers,
    accepted: Counter,
    dispatches: Counters<1>,
    open: Number,
    running: Number,
    queued: Number,
    store: OfStore,
    exported: Counter,
    dropped: Counter,
}

type Number = Gauge<u64, AtomicU64>;
type Numbers = Family<[Label; 1], Number>;
type Histograms = Family<[Label; 1], Histogram, fn() -> Histogram>;

/// What is counted of one agent.
#[derive(Debug)]
struct OfAgent {
    tasks: [Counter; 4],
    seconds: Histogram,
    attempts: Outcomes,
    retries: Counter,
}

/// What is counted of one upstream.
#[derive(Debug)]
struct OfUpstream {
    calls: Outcomes,
    seconds: Histogram,
}

#[derive(Debug)]
struct OfStore {
    commits: Counter,
    failed_commits: Counter,
    writes: Counter,
    seconds: Histogram,
    /// 1 unless the last commit failed.
    healthy: Number,
}

impl Metrics {
    /// Counts from zero, for these agents and upstreams, in a program that started at `now`.
    pub fn new(
        agents: impl Iterator<Item = AgentName>,
        upstreams: impl Iterator<Item = String>,
        now: Millis,
    ) -> Self {
        let registry = &mut Registry::default();
        let agents = of_agents(agents, registry);
        let dispatches: Counters<1> =
            show(registry, "dispatch_dispatches", "Dispatches that ended, by status");
        for it in DISPATCH_ENDS {
            dispatches.get_or_create_owned(&status(it));
        }
        let spans: Counters<1> =
            show(registry, "dispatch_spans", "Spans that were told to a collector, or lost");
        let this = Self {
            agents,
            accepted: show(
                registry,
                "dispatch_dispatches_accepted",
                "Dispatches that were accepted",
            ),
            dispatches,
            open: show(registry, "dispatch_dispatches_open", "Dispatches that have not ended"),
            running: show(registry, "dispatch_tasks_running", "Tasks with their agents"),
            queued: show(registry, "dispatch_tasks_queued", "Open tasks that do not run"),
            upstreams: of_upstreams(upstreams, registry),
            connected: show(registry, "dispatch_upstream_connected", "1 if a session is open"),
            breaker_open: show(
                registry,
                "dispatch_upstream_breaker_open",
                "1 if calls are kept away for now",
            ),
            store: OfStore::new(registry),
            exported: spans.get_or_create_owned(&[("outcome", "exported".to_owned())]),
            dropped: spans.get_or_create_owned(&[("outcome", "dropped".to_owned())]),
            registry: RwLock::default(),
        };
        *this.registry.write() = std::mem::take(registry);
        this.watch_process(now);
        this
    }

    /// Shows one more number, which is asked for whenever the page is. Where there is none, it is
    /// left out.
    pub fn watch(
        &self,
        name: &'static str,
        help: &'static str,
        read: impl Fn() -> Option<f64> + Send + Sync + 'static,
    ) {
        let watched = Watched { name, help, read: Box::new(read) };
        self.registry.write().register_collector(Box::new(watched));
    }

    /// The page that a scraper gets, with how the upstreams stand now.
    pub fn render(&self, upstreams: &[UpstreamStatus]) -> String {
        for it in upstreams.iter().filter(|it| self.upstreams.has(&it.name)) {
            let label = [("upstream", it.name.clone())];
            let is = |state| u64::from(it.state == state);
            self.connected.get_or_create(&label).set(is(UpstreamState::Connected));
            self.breaker_open.get_or_create(&label).set(is(UpstreamState::BreakerOpen));
        }
        let mut page = String::new();
        // Writing to a text cannot fail.
        let _written = text::encode(&mut page, &self.registry.read());
        page
    }

    /// Whether the store made the last commit durable.
    pub fn store_works(&self) -> bool {
        self.store.healthy.get() == 1
    }

    /// How many dispatches are open here.
    pub fn n_dispatches(&self) -> u64 {
        self.open.get()
    }

    /// Counts spans that were told.
    pub(super) fn spans_exported(&self, n_spans: usize) {
        self.exported.inc_by(n_spans as u64);
    }

    /// Counts spans that are lost.
    pub(super) fn spans_dropped(&self, n_spans: usize) {
        self.dropped.inc_by(n_spans as u64);
    }

    fn watch_process(&self, started_at: Millis) {
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        self.registry.write().register("dispatch_build", "The program's version", version);
        #[expect(clippy::cast_precision_loss, reason = "what is shown is a float anyway")]
        let float = |it: u64| it as f64;
        self.watch(
            "process_start_time_seconds",
            "When the program started, in seconds since 1970.",
            move || Some(started_at.seconds()),
        );
        self.watch("process_resident_memory_bytes", "Memory in use.", move || {
            process::resident_bytes().map(float)
        });
        self.watch("process_open_fds", "Open files and sockets.", move || {
            process::open_files().map(float)
        });
    }
}

impl Meter for Metrics {
    fn dispatch_accepted(&self) {
        self.accepted.inc();
    }

    fn dispatch_ended(&self, ended: DispatchStatus) {
        self.dispatches.get_or_create(&status(ended)).inc();
    }

    fn task_ended(&self, agent: &AgentName, status: TaskStatus, took: Option<Millis>) {
        let agent = self.agents.of(agent.as_str());
        if let Some(at) = TASK_ENDS.iter().position(|it| *it == status) {
            agent.tasks[at].inc();
        }
        if let Some(took) = took {
            agent.seconds.observe(took.seconds());
        }
    }

    fn attempt_ended(&self, agent: &AgentName, end: Result<(), FailureCode>, is_retried: bool) {
        let agent = self.agents.of(agent.as_str());
        agent.attempts.note(end.err());
        agent.retries.inc_by(is_retried.into());
    }

    fn call_ended(&self, call: &UpstreamCall) {
        let upstream = self.upstreams.of(&call.upstream);
        // Those that do not say why they failed come from earlier versions.
        let code = call.code.or_else(|| (!call.ok).then_some(FailureCode::AgentError));
        upstream.calls.note(code);
        upstream.seconds.observe(Millis(call.duration_ms).seconds());
    }

    fn committed(&self, took: Duration, n_writes: usize) {
        self.store.commits.inc();
        self.store.writes.inc_by(n_writes as u64);
        self.store.seconds.observe(took.as_secs_f64());
        self.store.healthy.set(1);
    }

    fn commit_failed(&self) {
        self.store.failed_commits.inc();
        self.store.healthy.set(0);
    }

    fn stands(&self, standing: Standing) {
        let Standing { n_dispatches, n_running, n_queued } = standing;
        self.open.set(n_dispatches as u64);
        self.running.set(n_running as u64);
        self.queued.set(n_queued as u64);
    }
}

fn of_agents(names: impl Iterator<Item = AgentName>, registry: &mut Registry) -> Named<OfAgent> {
    let tasks: Counters<2> =
        show(registry, "dispatch_tasks", "Tasks that ended, by agent and status");
    let seconds = show_seconds(
        registry,
        "dispatch_task_duration_seconds",
        "How long the last attempts of tasks took",
    );
    let attempts = show(registry, "dispatch_attempts", "Attempts that ended: success, or why not");
    let retries: Counters<1> =
        show(registry, "dispatch_retries", "Attempts after which the task is tried again");
    Named::new(names.map(|it| it.as_str().to_owned()), |name| {
        let label = [("agent", name.to_owned())];
        let count = |it: TaskStatus| {
            tasks.get_or_create_owned(&[label[0].clone(), ("status", it.as_str().to_owned())])
        };
        OfAgent {
            tasks: TASK_ENDS.map(count),
            seconds: seconds.get_or_create_owned(&label),
            retries: retries.get_or_create_owned(&label),
            attempts: Outcomes::new(label, &attempts),
        }
    })
}

fn of_upstreams(names: impl Iterator<Item = String>, registry: &mut Registry) -> Named<OfUpstream> {
    let calls =
        show(registry, "dispatch_upstream_calls", "Calls for attempts: success, or why not");
    let seconds = show_seconds(
        registry,
        "dispatch_upstream_call_duration_seconds",
        "How long calls for attempts took",
    );
    Named::new(names, |name| {
        let label = [("upstream", name.to_owned())];
        OfUpstream {
            seconds: seconds.get_or_create_owned(&label),
            calls: Outcomes::new(label, &calls),
        }
    })
}

/// Makes what is counted under a name, and shows it from now on. Counters get `_total` at the end,
/// and help its full stop.
fn show<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

fn show_seconds(registry: &mut Registry, name: &str, help: &str) -> Histograms {
    let histograms = Histograms::new_with_constructor(|| Histogram::new(SECONDS));
    registry.register(name, help, histograms.clone());
    histograms
}

fn status(status: DispatchStatus) -> [Label; 1] {
    [("status", status.as_str().to_owned())]
}

impl OfStore {
    fn new(registry: &mut Registry) -> Self {
        let commits: Counters<1> =
            show(registry, "dispatch_store_commits", "Commits of the store, by outcome");
        let seconds = Histogram::new(COMMIT_SECONDS);
        let name = "dispatch_store_commit_duration_seconds";
        registry.register(name, "How long commits took", seconds.clone());
        let healthy: Number =
            show(registry, "dispatch_store_healthy", "1 unless the last commit failed");
        healthy.set(1);
        Self {
            commits: commits.get_or_create_owned(&[("outcome", "success".to_owned())]),
            failed_commits: commits.get_or_create_owned(&[("outcome", "failure".to_owned())]),
            writes: show(registry, "dispatch_store_writes", "Writes made durable"),
            seconds,
            healthy,
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::model::Timestamp;

    fn metrics() -> Metrics {
        let agents = [AgentName::new("coder")].into_iter();
        Metrics::new(agents, ["archon".to_owned()].into_iter(), Millis(7_500))
    }

    /// The samples with `part` in their name or labels that are not zero, those with the same name
    /// in order.
    fn samples(metrics: &Metrics, part: &str) -> String {
        let text = metrics.render(&[]);
        let chosen = text.lines().filter(|it| it.contains(part) && !it.starts_with('#'));
        let mut chosen: Vec<_> = chosen.filter(|it| !it.ends_with(" 0")).collect();
        chosen.sort_by_key(|it| it.split("le=").next());
        chosen.into_iter().flat_map(|it| [it, "\n"]).collect()
    }

    fn call(upstream: &str, code: Option<FailureCode>) -> UpstreamCall {
        UpstreamCall {
            upstream: upstream.to_owned(),
            tool: "t".to_owned(),
            at: Timestamp(Millis(0)),
            duration_ms: 30,
            ok: code.is_none(),
            error: None,
            code,
            span_id: None,
            request_bytes: 0,
            response_bytes: 0,
            usage: None,
        }
    }

    #[test]
    fn tasks_are_counted_by_agent_and_status() {
        let metrics = metrics();
        let coder = AgentName::new("coder");
        metrics.task_ended(&coder, TaskStatus::Success, Some(Millis(1_700_000)));
        metrics.task_ended(&coder, TaskStatus::Skipped, None);
        metrics.task_ended(&AgentName::new("evil\"} 1\n"), TaskStatus::Error, None);
        expect![[r#"
            dispatch_tasks_total{agent="coder",status="skipped"} 1
            dispatch_tasks_total{agent="coder",status="success"} 1
            dispatch_tasks_total{agent="other",status="error"} 1
        "#]]
        .assert_eq(&samples(&metrics, "tasks_total"));
        expect![[r#"
            dispatch_task_duration_seconds_bucket{le="1800.0",agent="coder"} 1
            dispatch_task_duration_seconds_bucket{le="3600.0",agent="coder"} 1
            dispatch_task_duration_seconds_bucket{le="+Inf",agent="coder"} 1
            dispatch_task_duration_seconds_count{agent="coder"} 1
            dispatch_task_duration_seconds_sum{agent="coder"} 1700.0
            dispatch_task_duration_seconds_sum{agent="other"} 0.0
        "#]]
        .assert_eq(&samples(&metrics, "task_duration"));
    }

    #[test]
    fn attempts_and_calls_are_counted_by_outcome() {
        let metrics = metrics();
        let coder = AgentName::new("coder");
        for stranger in ["x", "y"] {
            metrics.attempt_ended(&AgentName::new(stranger), Err(FailureCode::Cancelled), false);
        }
        let of_strangers = "dispatch_attempts_total{agent=\"other\",outcome=\"cancelled\"} 2\n";
        assert_eq!(samples(&metrics, "attempts_total"), of_strangers);
        metrics.attempt_ended(&coder, Err(FailureCode::Timeout), true);
        metrics.attempt_ended(&coder, Ok(()), false);
        metrics.call_ended(&call("archon", None));
        metrics.call_ended(&call("archon", Some(FailureCode::Timeout)));
        metrics.call_ended(&call("evil", None));
        expect![[r#"
            dispatch_attempts_total{agent="coder",outcome="success"} 1
            dispatch_attempts_total{agent="coder",outcome="timeout"} 1
            dispatch_retries_total{agent="coder"} 1
            dispatch_task_duration_seconds_sum{agent="coder"} 0.0
        "#]]
        .assert_eq(&samples(&metrics, "coder"));
        expect![[r#"
            dispatch_upstream_calls_total{upstream="archon",outcome="success"} 1
            dispatch_upstream_calls_total{upstream="archon",outcome="timeout"} 1
            dispatch_upstream_calls_total{upstream="other",outcome="success"} 1
        "#]]
        .assert_eq(&samples(&metrics, "calls_total"));
    }

    #[test]
    fn a_failed_commit_shows_until_the_next_one() {
        let metrics = metrics();
        assert!(metrics.store_works());
        metrics.commit_failed();
        assert!(!metrics.store_works() && samples(&metrics, "healthy").is_empty());
        metrics.committed(Duration::from_millis(2), 7);
        assert!(metrics.store_works());
        let text = samples(&metrics, "");
        for line in [
            "dispatch_store_commits_total{outcome=\"failure\"} 1",
            "dispatch_store_writes_total 7",
            "dispatch_store_commit_duration_seconds_bucket{le=\"0.0025\"} 1",
            "process_start_time_seconds 7.5",
        ] {
            assert!(text.lines().any(|it| it == line), "{line} in\n{text}");
        }
    }
}
