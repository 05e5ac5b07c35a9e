//! What is told of dispatches to those who watch: spans and counts.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use expect_test::{Expect, expect};
use parking_lot::Mutex;
use serde_json::json;

use super::{
    handle::Caller,
    testing::{Flaky, Registry, World, document, pass},
};
use crate::{
    model::{
        AgentName, CancelRequest, DispatchId, DispatchStatus, FailureCode, Millis, ParentTask,
        SpanId, TaskId, TaskStatus, TraceContext, TraceId, UpstreamCall, json::Json,
    },
    plan::RetryCall,
    ports::{Meter, Span, Spanned, Spans, Standing},
};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Keeps all that it is told.
#[derive(Debug, Default)]
struct Watch {
    spans: Mutex<Vec<Span>>,
    counts: Mutex<Vec<String>>,
    standing: Mutex<Standing>,
    samples_nothing: bool,
}

impl Watch {
    /// The spans of a dispatch, each below the one above it, in the order of their names.
    fn tree(&self, id: DispatchId) -> String {
        let spans = self.spans.lock();
        let mut own: Vec<_> = spans.iter().filter(|it| it.dispatch == id).collect();
        own.sort_by_key(|it| (name(it), it.started_at));
        let root = own.iter().find(|it| matches!(it.what, Spanned::Dispatch { .. })).unwrap();
        assert!(own.iter().all(|it| it.trace == root.trace && it.started_at <= it.ended_at));
        let mut text = name(root) + "\n";
        add_below(root.id, &own, 1, &mut text);
        assert_eq!(text.lines().count(), own.len(), "{text}{own:#?}");
        text
    }

    fn span(&self, wanted: &str) -> Span {
        let spans = self.spans.lock();
        spans.iter().find(|it| name(it) == wanted).unwrap_or_else(|| panic!("{spans:?}")).clone()
    }

    /// What was counted, each with how often.
    fn counted(&self) -> String {
        let mut counts = self.counts.lock().clone();
        counts.sort();
        counts.iter().flat_map(|it| [it, "\n"]).collect()
    }
}

fn add_below(above: SpanId, spans: &[&Span], depth: usize, text: &mut String) {
    for it in spans.iter().filter(|it| it.parent == Some(above)) {
        text.extend(["  ".repeat(depth), name(it), "\n".to_owned()]);
        add_below(it.id, spans, depth + 1, text);
    }
}

fn name(span: &Span) -> String {
    let end = |it: &Option<FailureCode>| it.map_or("", FailureCode::as_str);
    match &span.what {
        Spanned::Dispatch { status, n_tasks, .. } => format!("{} of {n_tasks}", status.as_str()),
        Spanned::Task { task_id, status, failure, .. } => {
            format!("{task_id}: {} {}", status.as_str(), end(failure)).trim_end().to_owned()
        }
        Spanned::Attempt { task_id, attempt, failure, .. } => {
            format!("{task_id}#{} {}", attempt.0, end(failure)).trim_end().to_owned()
        }
        Spanned::Call { upstream, tool, .. } => format!("{upstream}/{tool}"),
    }
}

impl Spans for Watch {
    fn samples(&self, _: TraceId) -> bool {
        !self.samples_nothing
    }

    fn record(&self, spans: Vec<Span>) {
        self.spans.lock().extend(spans);
    }
}

impl Meter for Watch {
    fn dispatch_accepted(&self) {
        self.counts.lock().push("accepted".to_owned());
    }

    fn dispatch_ended(&self, status: DispatchStatus) {
        self.counts.lock().push(format!("dispatch {}", status.as_str()));
    }

    fn task_ended(&self, agent: &AgentName, status: TaskStatus, took: Option<Millis>) {
        let took = if took.is_some() { " after a run" } else { "" };
        self.counts.lock().push(format!("task of {agent} {}{took}", status.as_str()));
    }

    fn attempt_ended(&self, agent: &AgentName, end: Result<(), FailureCode>, is_retried: bool) {
        let end = end.map_or_else(FailureCode::as_str, |()| "success");
        let again = if is_retried { ", again" } else { "" };
        self.counts.lock().push(format!("attempt of {agent} {end}{again}"));
    }

    fn call_ended(&self, call: &UpstreamCall) {
        self.counts.lock().push(format!("call of {}", call.upstream));
    }

    fn committed(&self, _: Duration, n_writes: usize) {
        assert!(n_writes > 0);
    }

    fn commit_failed(&self) {
        self.counts.lock().push("failed commit".to_owned());
    }

    fn stands(&self, standing: Standing) {
        *self.standing.lock() = standing;
    }
}

fn watched() -> (Arc<Watch>, World) {
    let watch = Arc::new(Watch::default());
    let world = on(Arc::default(), Arc::default(), &watch);
    (watch, world)
}

fn on(store: Arc<Flaky>, registry: Arc<Registry>, watch: &Arc<Watch>) -> World {
    World::other(store, registry, |it| {
        it.spans = Some(Arc::clone(watch) as _);
        it.meter = Some(Arc::clone(watch) as _);
    })
}

async fn check(text: &str, spans: &Expect, counts: &Expect) {
    let (watch, world) = watched();
    let result = world.run(&document(text)).await;
    spans.assert_eq(&watch.tree(result.dispatch_id));
    counts.assert_eq(&watch.counted());
    assert_eq!(*watch.standing.lock(), Standing::default(), "nothing is left to do");
}

#[tokio::test(start_paused = true)]
async fn each_task_attempt_and_call_is_a_span_and_is_counted() {
    check(
        "a\nb !fail <- a\nc <- b",
        &expect![[r"
            partial of 3
              a: success
                a#1
                  script/work
              b: error agent_error
                b#1 agent_error
                  script/work
              c: skipped dependency_failed
        "]],
        &expect![[r"
            accepted
            attempt of robot agent_error
            attempt of robot success
            call of script
            call of script
            dispatch partial
            task of robot error after a run
            task of robot skipped
            task of robot success after a run
        "]],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_cancelled_ends_as_cancelled() {
    let (watch, world) = watched();
    let id = world.dispatch(&document("a !hang\nb <- a")).await.unwrap();
    world.agents.wait_for_start("a#1").await;
    let standing = Standing { n_dispatches: 1, n_running: 1, n_queued: 1 };
    pass(Duration::from_millis(10)).await;
    assert_eq!(*watch.standing.lock(), standing);
    let request = CancelRequest { dispatch_id: id, task_ids: None, reason: None };
    world.handle.cancel(request).await.unwrap();
    world.finish(id).await;
    expect![[r"
        cancelled of 2
          a: cancelled cancelled
            a#1 cancelled
          b: cancelled cancelled
    "]]
    .assert_eq(&watch.tree(id));
    expect![[r"
        accepted
        attempt of robot cancelled
        dispatch cancelled
        task of robot cancelled
        task of robot cancelled
    "]]
    .assert_eq(&watch.counted());
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_a_budget_stops_is_counted() {
    let (watch, world) = watched();
    let mut document = document("a !hang\nb <- a");
    document["config"] = json!({ "budget": { "wall_seconds": 5, "on_exceeded": "fail" } });
    world.run(&document).await;
    expect![[r"
        accepted
        attempt of robot budget_exceeded
        dispatch failure
        task of robot cancelled
        task of robot skipped
    "]]
    .assert_eq(&watch.counted());
}

#[tokio::test(start_paused = true)]
async fn whoever_takes_a_dispatch_over_goes_on_with_its_trace() {
    let (store, registry) = (Arc::new(Flaky::default()), Arc::<Registry>::default());
    let (one, two) = (Arc::new(Watch::default()), Arc::new(Watch::default()));
    let dead = on(store.elsewhere(), Arc::clone(&registry), &one);
    let id = dead.dispatch(&document("a\nb !gate <- a")).await.unwrap();
    dead.agents.wait_for_start("b#1").await;
    dead.kill().await;
    let world = on(store.elsewhere(), registry, &two);
    world.agents.gate.send_replace(true);
    world.finish(id).await;
    expect![[r"
        success of 2
          a: success
            a#1
              script/work
          b: success
            b#1 interrupted
            b#2
              script/work
    "]]
    .assert_eq(&two.tree(id));
    let (before, after) = (one.span("a#1"), two.span("a#1"));
    assert_eq!(before, after, "a span that is told twice is the same");
    assert_eq!(after.trace, TraceId::of_dispatch(id));
    assert!(!two.counted().contains("accepted"), "{}", two.counted());
    assert!(two.counted().contains("attempt of robot interrupted, again"), "{}", two.counted());
}

#[tokio::test(start_paused = true)]
async fn the_trace_of_the_caller_is_the_dispatch_s_and_of_what_its_agents_ask_for() {
    let (watch, world) = watched();
    let handle = world.handle.in_trace(TraceContext::read(PARENT, None));
    let above = document("t !gate");
    let ticket = handle.dispatch(&Json::from_value(&above).unwrap(), Caller::default()).await;
    let above = ticket.unwrap().dispatch;
    world.agents.wait_for_start("t#1").await;
    let parent = Some(ParentTask { dispatch_id: above, task_id: TaskId::new("t") });
    let caller = Caller { key: None, parent };
    let below = document("x");
    let ticket = world.handle.dispatch(&Json::from_value(&below).unwrap(), caller).await;
    world.finish(ticket.unwrap().dispatch).await;
    world.agents.gate.send_replace(true);
    world.finish(above).await;
    let spans = watch.spans.lock().clone();
    let of_parent = |it: &Span| it.trace.to_string() == PARENT[3..35];
    assert!(spans.iter().all(of_parent), "{spans:?}");
    let roots = spans.iter().filter(|it| matches!(it.what, Spanned::Dispatch { .. }));
    let parents: Vec<_> = roots.map(|it| it.parent.unwrap()).collect();
    assert_eq!(parents[0], watch.span("t: success").id, "what was asked for is below the task");
    assert_eq!(parents[1].to_string(), PARENT[36..52]);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_sampled_is_not_told_and_is_counted() {
    let watch = Arc::new(Watch { samples_nothing: true, ..Watch::default() });
    let world = on(Arc::default(), Arc::default(), &watch);
    world.run(&document("a")).await;
    assert!(watch.spans.lock().is_empty());
    assert!(watch.counted().contains("task of robot success"));
}

#[tokio::test(start_paused = true)]
async fn what_a_retry_keeps_is_neither_told_nor_counted_again() {
    let (watch, world) = watched();
    let first = world.run(&document("a\nb !fail")).await;
    watch.counts.lock().clear();
    let request = serde_json::from_value(json!({ "dispatch_id": first.dispatch_id })).unwrap();
    let ticket = world.handle.retry(RetryCall { request, wait_ms: 0 }, None).await.unwrap();
    world.finish(ticket.dispatch).await;
    expect![[r"
        partial of 2
          b: error agent_error
            b#1 agent_error
              script/work
    "]]
    .assert_eq(&watch.tree(ticket.dispatch));
    assert_eq!(watch.counted().matches("task of").count(), 1, "{}", watch.counted());
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_is_counted_and_can_be_tried() {
    let (watch, world) = watched();
    world.store.is_broken.store(true, Ordering::SeqCst);
    world.handle.try_store().await;
    assert_eq!(watch.counted(), "failed commit\n");
    world.store.is_broken.store(false, Ordering::SeqCst);
    world.handle.try_store().await;
    assert_eq!(watch.counted(), "failed commit\n");
}
