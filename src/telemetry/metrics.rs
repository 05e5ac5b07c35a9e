//! Counts of what happens, for scrapers of Prometheus.
//!
//! Labels are names of the settings and words of this program; whatever else comes is counted as
//! `other`, so that no caller can make more of them.

use std::{collections::BTreeMap, time::Duration};

use super::{
    exposition::{Counter, Gauge, Histogram, Page},
    process,
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
/// What stands in labels for names that the settings do not have.
const OTHER: &str = "other";
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
/// Why an attempt or a call may fail.
const FAILURES: [FailureCode; 17] = [
    FailureCode::AgentError,
    FailureCode::Timeout,
    FailureCode::UpstreamUnavailable,
    FailureCode::UpstreamProtocol,
    FailureCode::UpstreamLimit,
    FailureCode::CircuitOpen,
    FailureCode::RateLimited,
    FailureCode::OutputInvalid,
    FailureCode::CheckFailed,
    FailureCode::DependencyFailed,
    FailureCode::ConditionUnmet,
    FailureCode::ConditionError,
    FailureCode::BudgetExceeded,
    FailureCode::Rejected,
    FailureCode::ContextUnavailable,
    FailureCode::Cancelled,
    FailureCode::Interrupted,
];

/// All that is counted.
#[derive(Debug)]
pub struct Metrics {
    started_at: Millis,
    agents: BTreeMap<AgentName, OfAgent>,
    other_agent: OfAgent,
    upstreams: BTreeMap<String, OfUpstream>,
    other_upstream: OfUpstream,
    accepted: Counter,
    dispatches: [Counter; 4],
    open: Gauge,
    running: Gauge,
    queued: Gauge,
    commits: Counter,
    failed_commits: Counter,
    writes: Counter,
    commit_seconds: Histogram,
    /// 1 since the last commit failed.
    store_fails: Gauge,
    exported: Counter,
    dropped: Counter,
}

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

/// How often something ended well, or failed in which way.
#[derive(Debug, Default)]
struct Outcomes {
    successes: Counter,
    failures: [Counter; FAILURES.len()],
}

impl Metrics {
    /// Counts from zero, for these agents and upstreams, in a program that started at `now`.
    pub fn new(
        agents: impl Iterator<Item = AgentName>,
        upstreams: impl Iterator<Item = String>,
        now: Millis,
    ) -> Self {
        Self {
            started_at: now,
            agents: agents.map(|it| (it, OfAgent::new())).collect(),
            other_agent: OfAgent::new(),
            upstreams: upstreams.map(|it| (it, OfUpstream::new())).collect(),
            other_upstream: OfUpstream::new(),
            accepted: Counter::default(),
            dispatches: Default::default(),
            open: Gauge::default(),
            running: Gauge::default(),
            queued: Gauge::default(),
            commits: Counter::default(),
            failed_commits: Counter::default(),
            writes: Counter::default(),
            commit_seconds: Histogram::new(&COMMIT_SECONDS),
            store_fails: Gauge::default(),
            exported: Counter::default(),
            dropped: Counter::default(),
        }
    }

    /// The page that a scraper gets, with how the upstreams stand now.
    pub fn render(&self, upstreams: &[UpstreamStatus]) -> String {
        let mut page = Page::default();
        self.render_tasks(&mut page);
        self.render_dispatches(&mut page);
        self.render_upstreams(upstreams, &mut page);
        self.render_store(&mut page);
        self.render_process(&mut page);
        page.text()
    }

    /// Whether the store made the last commit durable.
    pub fn store_works(&self) -> bool {
        self.store_fails.get() == 0
    }

    /// How many dispatches are open here.
    pub fn n_dispatches(&self) -> u64 {
        self.open.get()
    }

    /// Counts spans that were told.
    pub(super) fn spans_exported(&self, n_spans: usize) {
        self.exported.add(n_spans as u64);
    }

    /// Counts spans that are lost.
    pub(super) fn spans_dropped(&self, n_spans: usize) {
        self.dropped.add(n_spans as u64);
    }

    fn agents(&self) -> impl Iterator<Item = (&str, &OfAgent)> {
        let named = self.agents.iter().map(|(name, it)| (name.as_str(), it));
        named.chain([(OTHER, &self.other_agent)])
    }

    fn upstreams(&self) -> impl Iterator<Item = (&str, &OfUpstream)> {
        let named = self.upstreams.iter().map(|(name, it)| (name.as_str(), it));
        named.chain([(OTHER, &self.other_upstream)])
    }

    fn agent(&self, agent: &AgentName) -> &OfAgent {
        self.agents.get(agent).unwrap_or(&self.other_agent)
    }

    fn render_tasks(&self, page: &mut Page) {
        let name = "dispatch_tasks_total";
        page.family(name, "counter", "Tasks that ended, by agent and status.");
        for (agent, it) in self.agents() {
            for (status, n) in TASK_ENDS.iter().zip(&it.tasks) {
                page.sample(name, &[("agent", agent), ("status", status.as_str())], n.get());
            }
        }
        let name = "dispatch_task_duration_seconds";
        page.family(name, "histogram", "How long the last attempts of tasks took.");
        for (agent, it) in self.agents() {
            page.histogram(name, Some(("agent", agent)), &it.seconds);
        }
        let name = "dispatch_attempts_total";
        page.family(name, "counter", "Attempts that ended: success, or why not.");
        for (agent, it) in self.agents() {
            it.attempts.render(name, ("agent", agent), page);
        }
        let name = "dispatch_retries_total";
        page.family(name, "counter", "Attempts after which the task is tried again.");
        for (agent, it) in self.agents() {
            page.sample(name, &[("agent", agent)], it.retries.get());
        }
    }

    fn render_dispatches(&self, page: &mut Page) {
        let name = "dispatch_dispatches_total";
        page.family(name, "counter", "Dispatches that ended, by status.");
        for (status, n) in DISPATCH_ENDS.iter().zip(&self.dispatches) {
            page.sample(name, &[("status", status.as_str())], n.get());
        }
        counter(
            page,
            "dispatch_dispatches_accepted_total",
            "Dispatches that were accepted.",
            &self.accepted,
        );
        gauge(page, "dispatch_dispatches_open", "Dispatches that have not ended.", self.open.get());
        gauge(page, "dispatch_tasks_running", "Tasks with their agents.", self.running.get());
        gauge(page, "dispatch_tasks_queued", "Open tasks that do not run.", self.queued.get());
    }

    fn render_upstreams(&self, upstreams: &[UpstreamStatus], page: &mut Page) {
        let name = "dispatch_upstream_calls_total";
        page.family(name, "counter", "Calls for attempts: success, or why not.");
        for (upstream, it) in self.upstreams() {
            it.calls.render(name, ("upstream", upstream), page);
        }
        let name = "dispatch_upstream_call_duration_seconds";
        page.family(name, "histogram", "How long calls for attempts took.");
        for (upstream, it) in self.upstreams() {
            page.histogram(name, Some(("upstream", upstream)), &it.seconds);
        }
        for (name, help, state) in [
            ("dispatch_upstream_connected", "1 if a session is open.", UpstreamState::Connected),
            (
                "dispatch_upstream_breaker_open",
                "1 if calls are kept away for now.",
                UpstreamState::BreakerOpen,
            ),
        ] {
            page.family(name, "gauge", help);
            for it in upstreams.iter().filter(|it| self.upstreams.contains_key(&it.name)) {
                page.sample(name, &[("upstream", &it.name)], u8::from(it.state == state));
            }
        }
    }

    fn render_store(&self, page: &mut Page) {
        let name = "dispatch_store_commits_total";
        page.family(name, "counter", "Commits of the store, by outcome.");
        page.sample(name, &[("outcome", "success")], self.commits.get());
        page.sample(name, &[("outcome", "failure")], self.failed_commits.get());
        counter(page, "dispatch_store_writes_total", "Writes made durable.", &self.writes);
        let name = "dispatch_store_commit_duration_seconds";
        page.family(name, "histogram", "How long commits took.");
        page.histogram(name, None, &self.commit_seconds);
        let works = u64::from(self.store_works());
        gauge(page, "dispatch_store_healthy", "1 unless the last commit failed.", works);
    }

    fn render_process(&self, page: &mut Page) {
        let name = "dispatch_spans_total";
        page.family(name, "counter", "Spans that were told to a collector, or lost.");
        page.sample(name, &[("outcome", "exported")], self.exported.get());
        page.sample(name, &[("outcome", "dropped")], self.dropped.get());
        let name = "dispatch_build_info";
        page.family(name, "gauge", "The program's version.");
        page.sample(name, &[("version", env!("CARGO_PKG_VERSION"))], 1);
        let name = "process_start_time_seconds";
        page.family(name, "gauge", "When the program started, in seconds since 1970.");
        page.sample(name, &[], self.started_at.seconds());
        if let Some(bytes) = process::resident_bytes() {
            gauge(page, "process_resident_memory_bytes", "Memory in use.", bytes);
        }
        if let Some(n_open) = process::open_files() {
            gauge(page, "process_open_fds", "Open files and sockets.", n_open);
        }
    }
}

impl Meter for Metrics {
    fn dispatch_accepted(&self) {
        self.accepted.add(1);
    }

    fn dispatch_ended(&self, status: DispatchStatus) {
        if let Some(at) = DISPATCH_ENDS.iter().position(|it| *it == status) {
            self.dispatches[at].add(1);
        }
    }

    fn task_ended(&self, agent: &AgentName, status: TaskStatus, took: Option<Millis>) {
        let agent = self.agent(agent);
        if let Some(at) = TASK_ENDS.iter().position(|it| *it == status) {
            agent.tasks[at].add(1);
        }
        if let Some(took) = took {
            agent.seconds.observe(Duration::from_millis(took.0));
        }
    }

    fn attempt_ended(&self, agent: &AgentName, end: Result<(), FailureCode>, is_retried: bool) {
        let agent = self.agent(agent);
        agent.attempts.note(end.err());
        agent.retries.add(is_retried.into());
    }

    fn call_ended(&self, call: &UpstreamCall) {
        let upstream = self.upstreams.get(&call.upstream).unwrap_or(&self.other_upstream);
        // Those that do not say why they failed come from earlier versions.
        let code = call.code.or_else(|| (!call.ok).then_some(FailureCode::AgentError));
        upstream.calls.note(code);
        upstream.seconds.observe(Duration::from_millis(call.duration_ms));
    }

    fn committed(&self, took: Duration, n_writes: usize) {
        self.commits.add(1);
        self.writes.add(n_writes as u64);
        self.commit_seconds.observe(took);
        self.store_fails.set(0);
    }

    fn commit_failed(&self) {
        self.failed_commits.add(1);
        self.store_fails.set(1);
    }

    fn stands(&self, standing: Standing) {
        let Standing { n_dispatches, n_running, n_queued } = standing;
        self.open.set(n_dispatches as u64);
        self.running.set(n_running as u64);
        self.queued.set(n_queued as u64);
    }
}

impl OfAgent {
    fn new() -> Self {
        Self {
            tasks: Default::default(),
            seconds: Histogram::new(&SECONDS),
            attempts: Outcomes::default(),
            retries: Counter::default(),
        }
    }
}

impl OfUpstream {
    fn new() -> Self {
        Self { calls: Outcomes::default(), seconds: Histogram::new(&SECONDS) }
    }
}

impl Outcomes {
    fn note(&self, failure: Option<FailureCode>) {
        match failure.map(|code| FAILURES.iter().position(|it| *it == code)) {
            None => self.successes.add(1),
            Some(Some(at)) => self.failures[at].add(1),
            Some(None) => debug_assert!(false, "every failure is listed"),
        }
    }

    /// Ways to fail that never happened are left out.
    fn render(&self, name: &str, label: (&str, &str), page: &mut Page) {
        page.sample(name, &[label, ("outcome", "success")], self.successes.get());
        for (code, n) in FAILURES.iter().zip(&self.failures).filter(|it| it.1.get() > 0) {
            page.sample(name, &[label, ("outcome", code.as_str())], n.get());
        }
    }
}

fn counter(page: &mut Page, name: &str, help: &str, counter: &Counter) {
    page.family(name, "counter", help);
    page.sample(name, &[], counter.get());
}

fn gauge(page: &mut Page, name: &str, help: &str, value: u64) {
    page.family(name, "gauge", help);
    page.sample(name, &[], value);
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

    /// The samples with `part` in their name or labels that are not zero.
    fn samples(metrics: &Metrics, part: &str) -> String {
        let text = metrics.render(&[]);
        let chosen = text.lines().filter(|it| it.contains(part) && !it.starts_with('#'));
        chosen.filter(|it| !it.ends_with(" 0")).flat_map(|it| [it, "\n"]).collect()
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
            dispatch_tasks_total{agent="coder",status="success"} 1
            dispatch_tasks_total{agent="coder",status="skipped"} 1
            dispatch_tasks_total{agent="other",status="error"} 1
        "#]]
        .assert_eq(&samples(&metrics, "tasks_total"));
        expect![[r#"
            dispatch_task_duration_seconds_bucket{agent="coder",le="1800"} 1
            dispatch_task_duration_seconds_bucket{agent="coder",le="3600"} 1
            dispatch_task_duration_seconds_bucket{agent="coder",le="+Inf"} 1
            dispatch_task_duration_seconds_sum{agent="coder"} 1700
            dispatch_task_duration_seconds_count{agent="coder"} 1
        "#]]
        .assert_eq(&samples(&metrics, "task_duration"));
    }

    #[test]
    fn attempts_and_calls_are_counted_by_outcome() {
        let metrics = metrics();
        let coder = AgentName::new("coder");
        for code in FAILURES {
            metrics.attempt_ended(&AgentName::new("x"), Err(code), false);
        }
        assert_eq!(samples(&metrics, "attempts_total").lines().count(), FAILURES.len());
        metrics.attempt_ended(&coder, Err(FailureCode::Timeout), true);
        metrics.attempt_ended(&coder, Ok(()), false);
        metrics.call_ended(&call("archon", None));
        metrics.call_ended(&call("archon", Some(FailureCode::Timeout)));
        metrics.call_ended(&call("evil", None));
        expect![[r#"
            dispatch_attempts_total{agent="coder",outcome="success"} 1
            dispatch_attempts_total{agent="coder",outcome="timeout"} 1
            dispatch_retries_total{agent="coder"} 1
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
