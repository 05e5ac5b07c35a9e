//! What the service promises of results that are taken instead of running, over a store in memory.

use std::{fs, sync::Arc};

use futures::future::BoxFuture;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    testing::{Flaky, Registry, World, document, task},
    tests::retry_of,
};
use crate::{
    model::{
        AgentName, DispatchResult, DispatchStatus, Failure, ReadTraceRequest, TaskId, TraceKind,
    },
    ports::{AgentBackend, AgentDirectory, AttemptCall, BindError, Binding, UpstreamWish},
};

/// The same document, with `cache` for the whole dispatch.
fn cached(mode: &str, mut document: Value) -> Value {
    document["config"]["cache"] = json!(mode);
    document
}

fn reuse(text: &str) -> Value {
    cached("reuse", document(text))
}

/// Every task of a result, and whether it was reused.
fn reused(result: &DispatchResult) -> Vec<(&str, bool)> {
    assert_eq!(result.status, DispatchStatus::Success);
    let tasks: Vec<_> =
        result.results.iter().map(|it| (it.task_id.as_str(), it.reused.is_some())).collect();
    assert_eq!(result.summary.reused, tasks.iter().filter(|it| it.1).count());
    tasks
}

#[tokio::test(start_paused = true)]
async fn a_later_dispatch_of_another_process_takes_what_is_unchanged_and_says_from_where() {
    let store = Arc::new(Flaky::default());
    let registry = Arc::new(Registry::default());
    let first = World::on(Arc::clone(&store), Arc::clone(&registry), 8).await;
    let before = first.run(&reuse("a\nb <- a")).await;
    assert_eq!(reused(&before), [("a", false), ("b", false)]);
    first.stop().await;

    let second = World::on(store.elsewhere(), registry, 8).await;
    let result = second.run(&reuse("a\nb <- a\nc")).await;
    assert_eq!(reused(&result), [("a", true), ("b", true), ("c", false)]);
    assert_eq!(*second.agents.started.lock(), ["c#1"]);
    let (was, is) = (task(&before, "b"), task(&result, "b"));
    assert_eq!((&is.output, is.attempts, is.execution_time_ms), (&was.output, 0, None));
    let from = is.reused.clone().unwrap();
    assert_eq!((from.dispatch_id, &from.task_id), (before.dispatch_id, &was.task_id));
    assert_eq!(Some(from.at), was.ended_at);

    let request = ReadTraceRequest {
        dispatch_id: Some(result.dispatch_id),
        task_id: Some(TaskId::new("b")),
        ..ReadTraceRequest::default()
    };
    let trace = second.handle.read_trace(request).await.unwrap();
    let kinds: Vec<_> = trace.events.iter().map(|it| it.kind).collect();
    assert_eq!(kinds, [TraceKind::GateReached, TraceKind::TaskReused]);
    assert_eq!(trace.events[1].data["dispatch_id"], json!(before.dispatch_id));
    assert_eq!(trace.events[1].data["task_id"], "b");
    let written = second.files.written.lock();
    let file: Value = serde_json::from_str(&written[is.trace_file.as_ref().unwrap()]).unwrap();
    assert_eq!(file["reused"], json!(from));
    assert_eq!(file["output"]["input"]["fate"], "echo");
}

#[tokio::test(start_paused = true)]
async fn what_is_off_neither_takes_nor_leaves_a_result() {
    let world = World::new().await;
    for document in [document("a"), cached("off", document("a")), reuse("a"), document("a")] {
        assert_eq!(reused(&world.run(&document).await), [("a", false)]);
    }
    assert_eq!(reused(&world.run(&reuse("a")).await), [("a", true)]);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_runs_and_leaves_its_result() {
    let world = World::new().await;
    for _ in 0..2 {
        let result = world.run(&cached("refresh", document("a"))).await;
        assert_eq!(reused(&result), [("a", false)]);
        let next = world.run(&reuse("a")).await;
        assert_eq!(task(&next, "a").reused.as_ref().unwrap().dispatch_id, result.dispatch_id);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_task_says_goes_before_what_the_dispatch_does() {
    let world = World::new().await;
    let mut document = reuse("a\nb\nc");
    document["tasks"][1]["cache"] = json!("refresh");
    document["tasks"][2]["cache"] = json!("off");
    for a_is_reused in [false, true] {
        let result = world.run(&document).await;
        assert_eq!(reused(&result), [("a", a_is_reused), ("b", false), ("c", false)]);
    }
    let all = world.run(&reuse("a\nb\nc")).await;
    assert_eq!(reused(&all), [("a", true), ("b", true), ("c", false)]);
}

#[tokio::test(start_paused = true)]
async fn what_changed_runs_again_and_what_does_not_see_the_change_does_not() {
    let world = World::new().await;
    let mut document = reuse("a\nb <- a\nc <- a\nd <- c");
    document["tasks"][1]["input_data"]["sees"] = json!("${tasks.a.output.input.fate}");
    document["tasks"][2]["input_data"]["sees"] = json!("${tasks.a.output.input.more}");
    document["tasks"][0]["input_data"]["more"] = json!(1);
    let mut run = async |change: fn(&mut Value)| {
        change(&mut document);
        let result = world.run(&document).await;
        reused(&result).iter().map(|it| it.1).collect::<Vec<_>>()
    };
    assert_eq!(run(|_| ()).await, [false, false, false, false]);
    assert_eq!(run(|_| ()).await, [true, true, true, true]);
    let name = |it: &mut Value| it["tasks"][3]["task_id"] = json!("other");
    assert_eq!(run(name).await, [true, true, true, true], "a name is no work");
    let input = |it: &mut Value| it["tasks"][1]["input_data"]["x"] = json!(1);
    assert_eq!(run(input).await, [true, false, true, true]);
    let description = |it: &mut Value| it["tasks"][2]["description"] = json!("otherwise");
    assert_eq!(run(description).await, [true, true, false, true], "the same output");
    let agent = |it: &mut Value| it["tasks"][3]["agent"] = json!("android");
    assert_eq!(run(agent).await, [true, true, true, false]);
    let output = |it: &mut Value| it["tasks"][0]["input_data"]["more"] = json!(2);
    assert_eq!(run(output).await, [false, false, false, false]);
    let limits = |it: &mut Value| it["tasks"][0]["timeout_seconds"] = json!(7);
    assert_eq!(run(limits).await, [true, true, true, true]);
}

/// Agents that see what all tasks before theirs answered.
#[derive(Debug)]
struct FarSighted<T>(T);

impl AgentDirectory for FarSighted<Arc<dyn AgentDirectory>> {
    fn bind<'a>(&'a self, agent: &'a AgentName) -> BoxFuture<'a, Result<Binding, BindError>> {
        Box::pin(async {
            let Binding { backend, warnings } = self.0.bind(agent).await?;
            Ok(Binding { backend: Arc::new(FarSighted(backend)), warnings })
        })
    }
}

impl AgentBackend for FarSighted<Arc<dyn AgentBackend>> {
    fn run(&self, call: AttemptCall) -> BoxFuture<'_, Result<Value, Failure>> {
        self.0.run(call)
    }

    fn lane(&self) -> &str {
        self.0.lane()
    }

    fn upstream_wish(&self) -> UpstreamWish {
        UpstreamWish::All
    }
}

#[tokio::test(start_paused = true)]
async fn what_an_agent_sees_of_earlier_tasks_counts_however_far_away_they_are() {
    let world = World::other(Arc::default(), Arc::default(), |it| {
        it.agents = Arc::new(FarSighted(Arc::clone(&it.agents)));
    });
    let mut document = reuse("a\nb !use 7 <- a\nc <- b");
    let mut run = async |change: fn(&mut Value)| {
        change(&mut document);
        let result = world.run(&document).await;
        reused(&result).iter().map(|it| it.1).collect::<Vec<_>>()
    };
    assert_eq!(run(|_| ()).await, [false, false, false]);
    assert_eq!(run(|_| ()).await, [true, true, true]);
    let output = |it: &mut Value| it["tasks"][0]["input_data"]["more"] = json!(1);
    assert_eq!(run(output).await, [false, false, false], "b answers the same, but a does not");
    let name = |it: &mut Value| {
        it["tasks"][0]["task_id"] = json!("other");
        it["tasks"][1]["dependencies"] = json!(["other"]);
    };
    assert_eq!(run(name).await, [true, false, false], "they are seen by their names");
}

#[tokio::test(start_paused = true)]
async fn context_counts_as_input() {
    let world = World::new().await;
    let mut document = reuse("a");
    document["config"]["enable_context"] = json!(true);
    let mut run = async |requirement: &str| {
        document["tasks"][0]["context_requirements"] = json!([requirement]);
        reused(&world.run(&document).await)[0].1
    };
    assert!(!run("file:x").await);
    assert!(run("file:x").await);
    assert!(!run("file:y").await);
}

#[tokio::test(start_paused = true)]
async fn results_of_failures_are_not_kept() {
    let world = World::new().await;
    for _ in 0..2 {
        let result = world.run(&reuse("a !fail\nb !flaky 1")).await;
        assert_eq!(result.status, DispatchStatus::Failure);
        assert_eq!(result.summary.reused, 0);
    }
    let mut document = reuse("b !flaky 1");
    document["tasks"][0]["retry"] = json!({"backoff_ms": 0});
    assert_eq!(reused(&world.run(&document).await), [("b", false)]);
    assert_eq!(reused(&world.run(&reuse("b !flaky 1")).await), [("b", true)]);
}

/// A process with a workspace on the disk, in which there are two files.
struct Place {
    dir: TempDir,
    world: World,
}

impl Place {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let world = World::in_workspace(Arc::new(Flaky::default()), &root);
        let place = Self { dir, world };
        place.write("told", "told");
        place.write("left", "left");
        place
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().canonicalize().unwrap().join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Whether a task that is told of one file and leaves the other was reused.
    async fn is_reused(&self) -> bool {
        let mut document = reuse("a");
        document["tasks"][0]["input_data"]["context_files"] = json!([self.path("told")]);
        document["tasks"][0]["input_data"]["output_path"] = json!(self.path("left"));
        reused(&self.world.run(&document).await)[0].1
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_changed_is_other_work() {
    let place = Place::new();
    assert!(!place.is_reused().await);
    assert!(place.is_reused().await);
    place.write("told", "otherwise");
    assert!(!place.is_reused().await);
    assert!(place.is_reused().await);
    place.write("told", "told");
    assert!(place.is_reused().await, "the old text is the old work");
}

#[tokio::test(start_paused = true)]
async fn a_result_whose_files_are_gone_or_changed_is_not_taken() {
    let place = Place::new();
    assert!(!place.is_reused().await);
    place.write("left", "edited");
    assert!(!place.is_reused().await);
    assert!(place.is_reused().await);
    fs::remove_file(place.path("left")).unwrap();
    assert!(!place.is_reused().await);
    place.write("left", "written by somebody else, for the task wrote nothing");
    assert!(place.is_reused().await);
}

#[tokio::test(start_paused = true)]
async fn where_a_file_cannot_be_read_nothing_is_taken_and_nothing_kept() {
    let place = Place::new();
    fs::remove_file(place.path("told")).unwrap();
    for _ in 0..2 {
        assert!(!place.is_reused().await);
    }
    place.write("told", "told");
    fs::remove_file(place.path("left")).unwrap();
    fs::create_dir(place.path("left")).unwrap();
    for _ in 0..2 {
        assert!(!place.is_reused().await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_result_of_work_whose_files_changed_meanwhile_is_not_kept() {
    let place = Place::new();
    let mut document = reuse("a !gate");
    document["tasks"][0]["input_data"]["context_files"] = json!([place.path("told")]);
    let id = place.world.dispatch(&document).await.unwrap();
    place.world.agents.wait_for_start("a#1").await;
    place.write("told", "otherwise");
    place.world.agents.gate.send_replace(true);
    place.world.finish(id).await;
    for is_reused in [false, true] {
        assert_eq!(reused(&place.world.run(&document).await), [("a", is_reused)]);
    }
    place.write("told", "told");
    assert_eq!(reused(&place.world.run(&document).await), [("a", false)]);
}

#[tokio::test(start_paused = true)]
async fn a_retry_runs_what_it_names_and_keeps_where_the_rest_came_from() {
    let world = World::new().await;
    let first = world.run(&reuse("a\nb\nc <- b")).await;
    let second = world.run(&reuse("a\nb\nc <- b")).await;
    assert_eq!(second.summary.reused, 3);
    let call = retry_of(second.dispatch_id, Some(vec![TaskId::new("b")]));
    let ticket = world.handle.retry(call, None).await.unwrap();
    let third = world.finish(ticket.dispatch).await;
    assert_eq!(reused(&third), [("a", true), ("b", false), ("c", true)]);
    assert_eq!(task(&third, "a").reused, task(&second, "a").reused);
    assert_eq!(task(&third, "c").reused.as_ref().unwrap().dispatch_id, first.dispatch_id);
    assert_eq!(*world.agents.started.lock(), ["a#1", "b#1", "c#1", "b#1"]);
}

#[tokio::test(start_paused = true)]
async fn a_dispatch_that_was_taken_over_looks_again_and_says_the_same() {
    let store = Arc::new(Flaky::default());
    let registry = Arc::new(Registry::default());
    let first = World::on(Arc::clone(&store), Arc::clone(&registry), 8).await;
    let before = first.run(&reuse("a")).await;
    let id = first.dispatch(&reuse("a\nb !hang")).await.unwrap();
    first.agents.wait_for_start("b#1").await;
    first.kill().await;
    let second = World::on(store.elsewhere(), registry, 8).await;
    second.agents.wait_for_start("b#2").await;
    assert_eq!(*second.agents.started.lock(), ["b#2"]);
    let result = second.handle.result(id).await.unwrap();
    assert_eq!(task(&result, "a").reused.as_ref().unwrap().dispatch_id, before.dispatch_id);
}
