//! What the service learns from what it ran, and how it explains what it does with that.

use std::sync::Arc;

use serde_json::{Value, json};

use super::testing::{Flaky, Registry, World, document};
use crate::{
    model::{
        AgentName, DispatchStatus, EstimateSource, Millis, ReadTraceRequest, TraceKind, json::Json,
    },
    ports::{Journal as _, Write},
};

/// Five tasks for one worker, one of them slow.
fn learned_document() -> Value {
    let mut document = document("x\ny\nz <- y\nslow !slow\nlast <- slow");
    document["tasks"][3]["input_data"]["pages"] = json!(9);
    document["config"] = json!({ "max_workers": 1 });
    document
}

#[tokio::test(start_paused = true)]
async fn what_ran_before_is_learned_and_said_of_the_next_plan() {
    let world = World::new().await;
    let plan = async || {
        let document = learned_document();
        world.handle.plan(&Json::from_value(&document).unwrap()).await.unwrap()
    };
    let before = plan().await;
    assert_eq!(before.estimates[3].estimate.from, EstimateSource::Default);
    let first = world.run(&learned_document()).await;
    assert_eq!((first.summary.estimated_ms, first.summary.estimate_error_percent), (None, None));
    let after = plan().await;
    let slow = after.estimates[3].estimate;
    assert_eq!((slow.from, slow.samples), (EstimateSource::Learned, 1));
    assert!((28.0..33.0).contains(&slow.seconds), "{slow:?}");
    let quick = after.estimates[0].estimate;
    assert!(quick.samples == 4 && quick.seconds < 0.01, "{quick:?}");
    let band = after.estimated_seconds;
    assert!(band.low < band.likely && band.likely < band.high, "{band:?}");
    let second = world.run(&learned_document()).await.summary;
    assert!(second.estimated_ms.unwrap().abs_diff(30_000) < 2_000, "{second:?}");
    assert!(second.estimate_error_percent.unwrap().abs() < 10.0, "{second:?}");
    let order = world.agents.started.lock();
    assert_eq!(order[5..7], ["slow#1", "y#1"]);
}

#[tokio::test(start_paused = true)]
async fn only_attempts_that_succeed_teach_anything() {
    let world = World::new().await;
    world.run(&document("a !fail\nb !panic")).await;
    let known = world.store.durations(vec![AgentName::new("robot")]).await;
    assert_eq!(known, Ok(Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn a_given_estimate_goes_before_what_was_learned() {
    let world = World::new().await;
    world.run(&document("a !slow")).await;
    let mut document = document("a !slow");
    document["tasks"][0]["estimate_seconds"] = json!(60);
    let summary = world.run(&document).await.summary;
    assert_eq!(summary.estimated_ms, Some(60_000));
    assert!((-51.0..-49.0).contains(&summary.estimate_error_percent.unwrap()), "{summary:?}");
}

#[tokio::test(start_paused = true)]
async fn after_a_kill_the_priorities_are_those_that_were_learned_before_the_start() {
    let (store, registry) = (Arc::new(Flaky::default()), Arc::new(Registry::default()));
    let world = World::on(Arc::clone(&store), Arc::clone(&registry), 8).await;
    world.run(&document("a !slow")).await;
    let mut quick = document("a");
    quick["tasks"][0]["input_data"]["words"] = json!(9);
    world.run(&quick).await;
    let mut document = document("first !gate\nquick\nslow !slow");
    document["tasks"][1]["input_data"]["words"] = json!(9);
    document["tasks"][0]["estimate_seconds"] = json!(100);
    document["config"] = json!({ "max_workers": 1 });
    let id = world.dispatch(&document).await.unwrap();
    world.agents.wait_for_start("first#1").await;
    world.kill().await;
    // What happens in between teaches something else, and changes nothing for this dispatch.
    for (key, known) in store.durations(vec![AgentName::new("robot")]).await.unwrap() {
        let is_slow = known.quantile(0.5) > Some(Millis(10_000));
        let (at, took) = (Millis(0), Millis(if is_slow { 1 } else { 90_000 }));
        let sample = Write::Duration { key: Arc::new(key), at, took };
        store.commit(vec![sample; 300].into()).await.unwrap();
    }
    let world = World::on(store, registry, 8).await;
    world.agents.gate.send_replace(true);
    assert_eq!(world.finish(id).await.status, DispatchStatus::Success);
    let started = world.agents.started.lock();
    assert_eq!(started[started.len() - 2..], ["slow#1", "quick#1"]);
}

#[tokio::test(start_paused = true)]
async fn every_start_can_be_explained() {
    let world = World::new().await;
    let mut document = document("a !slow\nb <- a\nc");
    document["config"] = json!({ "max_workers": 1 });
    document["tasks"][0]["estimate_seconds"] = json!(20);
    document["tasks"][1]["estimate_seconds"] = json!(5);
    let id = world.run(&document).await.dispatch_id;
    let read = async |kinds: &[TraceKind], cursor: Option<String>, limit| {
        let request = ReadTraceRequest {
            dispatch_id: Some(id),
            task_id: None,
            kinds: Some(kinds.to_vec()),
            cursor,
            limit: Some(limit),
        };
        world.handle.read_trace(request).await.unwrap()
    };
    let all = read(&[TraceKind::Decision], None, 100).await.events;
    let said: Vec<_> = all.iter().map(|it| it.data["why"].as_str().unwrap()).collect();
    let expected = [
        "of 2 ready tasks none had a longer remaining path than its 60 s, and a worker was free \
         from the start",
        "it was the only ready task, and \"c\" gave its worker back",
        "it was the only ready task, and \"a\", the last that it waited for, had ended",
    ];
    assert_eq!(said, expected);
    let b = &all[2];
    assert_eq!((b.data["released_by"].as_str(), b.data["position"].as_u64()), (Some("a"), Some(3)));
    assert!(b.data["blocked_ms"].as_u64().unwrap() >= 30_000, "{b:?}");
    assert_eq!(
        (b.data["waited_ms"].as_u64(), b.data["rank_seconds"].as_f64()),
        (Some(0), Some(5.0))
    );
    let kinds = [TraceKind::Decision, TraceKind::AttemptStarted];
    let first = read(&kinds, None, 2).await;
    let shown: Vec<_> = first.events.iter().map(|it| (it.seq, it.kind)).collect();
    assert_eq!(shown, [(all[0].seq, kinds[0]), (all[0].seq, kinds[1])]);
    let second = read(&kinds, first.next_cursor, 2).await;
    assert_eq!(second.events[0].seq, all[1].seq);
}
