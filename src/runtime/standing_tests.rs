//! What faces are told of a dispatch whose clients come back, or are asked something.

use std::{sync::Arc, time::Duration};

use futures::FutureExt as _;
use serde_json::{Value, json};

use super::testing::{Flaky, Registry, World, document, pass};
use crate::{
    model::{ApproveRequest, DispatchId, DispatchStatus, ErrorCode, Millis, TaskId},
    runtime::Questions,
};

/// What a test's agents take at most to start.
const SOON: Duration = Duration::from_millis(500);

fn asking(text: &str, names: &[&str]) -> Value {
    let mut document = document(text);
    for task in document["tasks"].as_array_mut().unwrap() {
        if names.iter().any(|it| task["task_id"] == **it) {
            task["approval"] =
                json!({ "message": "ship\u{202e} it?", "decisions": ["go", "reject"] });
        }
    }
    document
}

fn decide(dispatch_id: DispatchId, name: &str) -> ApproveRequest {
    let (task_id, decision) = (TaskId::new(name), "go".to_owned());
    ApproveRequest { dispatch_id, task_id, decision, note: None }
}

async fn open(questions: &mut Questions) -> Vec<String> {
    let open = questions.read().await.unwrap();
    open.into_iter().map(|it| it.task_id.to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn what_a_dispatch_asks_is_followed_in_every_process() {
    let (store, registry) = (Arc::new(Flaky::default()), Arc::new(Registry::default()));
    let world = World::on(Arc::clone(&store), Arc::clone(&registry), 8).await;
    let other = World::on(store, registry, 8).await;
    let id = world.dispatch(&asking("a\nb <- a\nc", &["a", "b"])).await.unwrap();
    pass(SOON).await;
    for world in [&world, &other] {
        let mut questions = world.handle.questions(id);
        assert_eq!(open(&mut questions).await, ["a"]);
        assert_eq!(questions.changed().now_or_never(), None, "nothing has changed");
    }
    let asked = world.handle.questions(id).read().await.unwrap();
    assert_eq!(asked[0].message, r"ship\u{202e} it?", "strangers' text is escaped");
    assert!(asked[0].may_reject());

    let (mut here, mut there) = (world.handle.questions(id), other.handle.questions(id));
    assert_eq!(
        (open(&mut here).await, open(&mut there).await),
        (vec!["a".into()], vec!["a".into()])
    );
    other.handle.approve(decide(id, "a")).await.unwrap();
    for questions in [&mut here, &mut there] {
        while open(questions).await != ["b"] {
            questions.changed().await;
        }
    }
    world.handle.approve(decide(id, "b")).await.unwrap();
    assert_eq!(world.finish(id).await.status, DispatchStatus::Success);
    for questions in [&mut here, &mut there] {
        while !open(questions).await.is_empty() {
            questions.changed().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn how_a_dispatch_stands_is_the_same_in_every_process() {
    let (store, registry) = (Arc::new(Flaky::default()), Arc::new(Registry::default()));
    let world = World::on(Arc::clone(&store), Arc::clone(&registry), 8).await;
    let other = World::on(store, registry, 8).await;
    let before = world.handle.now();
    let id = world.dispatch(&asking("a !slow\nb\nc <- b", &["b"])).await.unwrap();
    pass(SOON).await;
    let line = "0 of 3 done, running a, waiting for approval: b";
    for world in [&world, &other] {
        let standing = world.handle.standing(id).await.unwrap();
        assert_eq!((standing.status, standing.line.as_str()), (DispatchStatus::Running, line));
        assert_eq!((standing.questions.len(), standing.left), (1, None));
        assert!(standing.created_at >= before && standing.updated_at >= standing.created_at);
        let age = standing.now.since(standing.created_at);
        assert_eq!(standing.kept, Some(age + Millis(43_200_000)));
    }
    world.handle.approve(decide(id, "b")).await.unwrap();
    world.finish(id).await;
    for world in [&world, &other] {
        let standing = world.handle.standing(id).await.unwrap();
        assert_eq!((standing.status, standing.questions.len()), (DispatchStatus::Success, 0));
        assert_eq!(standing.line, "3 of 3 done");
        assert!(standing.updated_at.since(standing.created_at) >= Millis(30_000));
    }
    let unknown = "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap();
    let refusal = world.handle.standing(unknown).await.unwrap_err();
    assert_eq!(refusal.code(), ErrorCode::UnknownDispatch);
}

/// How long the dispatch is expected to take when its first tasks have started, in seconds.
async fn left(text: &str, seconds: &[u32], max_workers: u32) -> Option<u64> {
    let world = World::new().await;
    let mut document = document(text);
    for (task, seconds) in document["tasks"].as_array_mut().unwrap().iter_mut().zip(seconds) {
        task["estimate_seconds"] = json!(seconds);
    }
    document["config"] = json!({ "max_workers": max_workers });
    let id = world.dispatch(&document).await.unwrap();
    pass(SOON).await;
    let left = world.handle.standing(id).await.unwrap().left;
    left.map(|it| (it.0 + 500) / 1_000)
}

#[tokio::test(start_paused = true)]
async fn what_is_left_is_the_longest_path_or_the_work() {
    let long = [40, 20, 5];
    assert_eq!(left("a !hang\nb <- a\nc", &long, 8).await, Some(60), "the path");
    assert_eq!(left("a !hang\nb !hang\nc !hang", &[40, 40, 40], 1).await, Some(120), "the work");
    assert_eq!(left("a !hang\nb", &[], 8).await, None, "nobody knows");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_said_of_the_end_in_a_pause() {
    let world = World::new().await;
    let mut document = document("a !hang\nb <- a");
    document["tasks"][0]["estimate_seconds"] = json!(40);
    let id = world.dispatch(&document).await.unwrap();
    pass(SOON).await;
    assert!(world.handle.standing(id).await.unwrap().left.is_some());
    let pause = json!({ "dispatch_id": id, "action": "pause" });
    let json = crate::model::json::Json::from_value(&pause).unwrap();
    let pause = world.handle.check_control(&json).unwrap();
    world.handle.control(pause).await.unwrap();
    let standing = world.handle.standing(id).await.unwrap();
    assert_eq!((standing.left, standing.line.contains("paused")), (None, true));
    pass(Duration::from_secs(41)).await;
}
