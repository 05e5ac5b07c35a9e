//! What holds of tasks of which something is expected.

use std::{fs, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    AgentExpect,
    attempt::{self, AttemptJob},
    defaults,
    document::StoredDocument,
    rules::OwnedRules,
    testing::{Flaky, World, document, pass, task},
    tests::retry_of,
};
use crate::{
    model::{
        AgentName, Attempt, ControlRequest, DispatchConfig, DispatchId, DispatchStatus,
        EvidenceKind, FailureCode, Millis, TaskIdx, TaskResult, TaskStatus,
    },
    ports::{Answer, Changes, Committed, Journal, Query, Write},
};

/// A process with a workspace, and a path in it.
fn world() -> (TempDir, World, impl Fn(&str) -> String) {
    let space = TempDir::new().unwrap();
    let world = World::in_workspace(Arc::new(Flaky::default()), space.path());
    let root = space.path().to_owned();
    (space, world, move |name: &str| root.join(name).to_str().unwrap().to_owned())
}

/// The same, where the agent must have written the file of its `output_path`.
fn writing_world(store: Arc<Flaky>) -> (TempDir, World, impl Fn(&str) -> String) {
    let space = TempDir::new().unwrap();
    let expect = AgentExpect { output_path: true, ..AgentExpect::default() };
    let world = World::expecting(store, space.path(), expect);
    let root = space.path().to_owned();
    (space, world, move |name: &str| root.join(name).to_str().unwrap().to_owned())
}

/// Whether all that was looked at is that this file is new or changed, and it is.
#[track_caller]
fn assert_written(result: &TaskResult, path: &str) {
    let found = result.evidence.as_ref().unwrap();
    let found: Vec<_> = found.iter().map(|it| (it.kind, it.subject.as_str(), it.ok)).collect();
    assert_eq!(found, [(EvidenceKind::Changed, path, true)]);
}

fn expecting(text: &str, expect: &Value) -> Value {
    let mut document = document(text);
    document["tasks"][0]["expect"] = expect.clone();
    document
}

#[tokio::test(start_paused = true)]
async fn evidence_that_is_there_makes_a_success_and_stands_in_the_result() {
    let (_space, world, path) = world();
    fs::write(path("a.py"), "x").unwrap();
    let expect = json!({
        "files": [path("a.py")], "checks": ["good"], "condition": "output.input.fate == 'echo'",
    });
    let result = world.run(&expecting("a\nb <- a", &expect)).await;
    assert_eq!(result.status, DispatchStatus::Success);
    let found = task(&result, "a").evidence.as_ref().unwrap();
    let kinds: Vec<_> = found.iter().map(|it| (it.kind, it.ok)).collect();
    let expected = [EvidenceKind::File, EvidenceKind::Condition, EvidenceKind::Check];
    assert_eq!(kinds, expected.map(|it| (it, true)));
    assert_eq!(found[2].detail.as_deref(), Some("as scripted"));
    assert_eq!(task(&result, "b").evidence, None);
}

#[tokio::test(start_paused = true)]
async fn what_is_missing_fails_the_task_alone_and_is_said() {
    let (_space, world, path) = world();
    fs::write(path("same.py"), "x").unwrap();
    for (expect, said) in [
        (json!({ "files": [path("gone.py")] }), "it is not there"),
        (json!({ "changed": [path("same.py")] }), "it is as it was before"),
        (json!({ "changed": [path("gone.py")] }), "it is not there"),
        (json!({ "checks": ["good", "bad"] }), "as scripted"),
        (json!({ "condition": "output.input.fate == 'other'" }), "it is false"),
        (json!({ "condition": "output.nothing > 1" }), "there is no \"nothing\""),
    ] {
        let result = world.run(&expecting("a\nb <- a\nc", &expect)).await;
        let failed = task(&result, "a");
        assert_eq!(failed.failure.as_ref().unwrap().code, FailureCode::CheckFailed, "{expect}");
        assert!(failed.error.as_ref().unwrap().contains(said), "{expect}: {:?}", failed.error);
        assert!(failed.evidence.as_ref().unwrap().iter().any(|it| !it.ok));
        assert_eq!(task(&result, "b").status, TaskStatus::Skipped);
        assert_eq!(task(&result, "c").status, TaskStatus::Success);
    }
}

#[tokio::test(start_paused = true)]
async fn no_command_is_run_where_something_else_fails_already() {
    let (_space, world, path) = world();
    let expect = json!({ "files": [path("gone.py")], "checks": ["good"] });
    let result = world.run(&expecting("a", &expect)).await;
    let found = task(&result, "a").evidence.as_ref().unwrap();
    assert!(found[1].detail.as_ref().unwrap().starts_with("not run"), "{found:?}");
}

#[tokio::test(start_paused = true)]
async fn an_output_keeps_its_schema_and_a_failed_look_is_tried_again() {
    let (_space, world, _) = world();
    let mut document = document("a\nb");
    let object = json!({ "type": "object", "required": ["input"] });
    document["tasks"][0]["output_schema"] = object;
    let never = json!({ "type": "object", "required": ["score"] });
    document["tasks"][1]["output_schema"] = never;
    document["tasks"][1]["retry"] = json!({ "max_attempts": 2, "on": ["check_failed"] });
    let result = world.run(&document).await;
    assert_eq!(task(&result, "a").status, TaskStatus::Success);
    assert_eq!(task(&result, "a").evidence.as_ref().unwrap()[0].kind, EvidenceKind::Schema);
    let failed = task(&result, "b");
    assert_eq!((failed.status, failed.attempts), (TaskStatus::Error, 2));
    assert!(failed.error.as_ref().unwrap().contains("score"), "{:?}", failed.error);
}

#[tokio::test(start_paused = true)]
async fn what_is_expected_decides_on_a_result_that_is_taken_again() {
    let (_space, world, _) = world();
    let mut first = expecting("a", &json!({ "condition": "true" }));
    first["config"] = json!({ "cache": "reuse" });
    world.run(&first).await;
    assert_eq!(world.run(&first).await.summary.reused, 1);
    first["tasks"][0]["expect"]["condition"] = json!("output.input.fate == 'other'");
    let other = world.run(&first).await;
    assert_eq!((other.summary.reused, other.summary.failed), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn the_file_to_be_written_is_the_one_that_a_reference_stands_for() {
    let (_space, world, path) = writing_world(Arc::default());
    let mut document = document("a\nb !write <- a");
    document["tasks"][0]["input_data"]["path"] = json!(path("x.py"));
    document["tasks"][1]["input_data"]["output_path"] = json!("${tasks.a.output.input.path}");
    let result = world.run(&document).await;
    assert_eq!(task(&result, "a").evidence, None);
    assert_written(task(&result, "b"), &path("x.py"));
}

#[tokio::test(start_paused = true)]
async fn each_part_writes_its_own_file() {
    let (_space, world, path) = writing_world(Arc::default());
    let mut document = document("a !write");
    document["tasks"][0]["for_each"] = json!({ "items": ["x", "y"] });
    document["tasks"][0]["input_data"]["output_path"] = json!(path("${item}.py"));
    let result = world.run(&document).await;
    assert_written(task(&result, "a.0"), &path("x.py"));
    assert_written(task(&result, "a.1"), &path("y.py"));
}

#[tokio::test(start_paused = true)]
async fn the_file_to_be_written_is_the_one_that_a_task_was_told_of_last() {
    let (_space, world, path) = writing_world(Arc::default());
    let mut document = document("a !gate\nb !write <- a");
    document["tasks"][1]["input_data"]["output_path"] = json!(path("old.py"));
    let id = world.dispatch(&document).await.unwrap();
    world.agents.wait_for_start("a#1").await;
    let input = json!({ "fate": "write", "output_path": path("new.py") });
    let steer = json!({
        "dispatch_id": id, "action": "replace_input", "task_id": "b", "input_data": input,
    });
    let steer: ControlRequest = serde_json::from_value(steer).unwrap();
    world.handle.control(steer).await.unwrap();
    world.agents.gate.send_replace(true);
    assert_written(task(&world.finish(id).await, "b"), &path("new.py"));
}

#[tokio::test(start_paused = true)]
async fn a_retry_with_another_file_to_be_written_expects_that_one() {
    let (_space, world, path) = writing_world(Arc::default());
    let mut document = document("a");
    document["tasks"][0]["input_data"]["output_path"] = json!(path("old.py"));
    let first = world.run(&document).await;
    assert_eq!(task(&first, "a").failure.as_ref().unwrap().code, FailureCode::CheckFailed);
    let change = json!({ "input_data": { "fate": "write", "output_path": path("new.py") } });
    let overrides = serde_json::from_value(json!({ "a": change })).unwrap();
    let mut call = retry_of(first.dispatch_id, None);
    call.request.overrides = Some(overrides);
    let again = world.handle.retry(call, None).await.unwrap();
    assert_written(task(&world.finish(again.dispatch).await, "a"), &path("new.py"));
}

#[tokio::test(start_paused = true)]
async fn a_result_that_left_no_file_is_none_where_one_must_be_written() {
    let store = Arc::new(Flaky::default());
    let (space, demanding, path) = writing_world(store.elsewhere());
    let lenient = World::in_workspace(store.elsewhere(), space.path());
    let mut document = document("a");
    document["config"] = json!({ "cache": "reuse" });
    document["tasks"][0]["input_data"]["output_path"] = json!(path("gone.py"));
    assert_eq!(lenient.run(&document).await.status, DispatchStatus::Success);
    let result = demanding.run(&document).await;
    assert_eq!((result.summary.reused, result.summary.failed), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_check_may_take_longer_than_an_agent_may_be_silent() {
    let (_space, world, _) = world();
    let mut document = expecting("a", &json!({ "checks": ["slow"] }));
    document["tasks"][0]["idle_timeout_seconds"] = json!(5);
    let result = world.run(&document).await;
    assert_eq!(task(&result, "a").failure, None);
    assert!(task(&result, "a").evidence.as_ref().unwrap()[0].ok);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_is_given_up_while_it_is_looked_at_is_no_success() {
    let (_space, world, _) = world();
    let job = job(&world, &expecting("a", &json!({ "checks": ["slow"] }))).await;
    let cancelled = job.cancelled.clone();
    let give_up = async {
        pass(Duration::from_secs(10)).await;
        cancelled.cancel();
    };
    let (end, ()) = tokio::join!(attempt::run(job), give_up);
    assert_eq!(end.result.unwrap_err().code, FailureCode::Cancelled);
    assert_eq!(end.evidence, []);
}

#[tokio::test(start_paused = true)]
async fn a_condition_sees_the_input_that_the_agent_got() {
    let (_space, world, _) = world();
    let mut document = document("a\nb <- a");
    document["tasks"][1]["input_data"]["told"] = json!("${tasks.a.output.input.fate}");
    document["tasks"][1]["expect"] = json!({ "condition": "input.told == 'echo'" });
    let result = world.run(&document).await;
    assert_eq!(task(&result, "b").failure, None);
}

/// A store that answers no question, and keeps them.
#[derive(Debug)]
struct Silent(mpsc::UnboundedSender<Query>);

impl Journal for Silent {
    fn commit(&self, _: Arc<[Write]>) -> Answer<Committed> {
        Box::pin(std::future::pending())
    }

    fn read(&self, query: Query) {
        assert!(self.0.send(query).is_ok());
    }

    fn changes(&self) -> Changes {
        Flaky::default().changes()
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_is_given_up_while_its_input_is_looked_up_ends_then() {
    let (_space, world, _) = world();
    let mut document = document("a");
    document["tasks"][0]["input_data"]["told"] = json!("${tasks.a.output}");
    let (ask, _asked) = mpsc::unbounded_channel();
    let job = AttemptJob { journal: Arc::new(Silent(ask)), ..job(&world, &document).await };
    job.cancelled.cancel();
    let end = tokio::time::timeout(Duration::from_mins(1), attempt::run(job)).await.unwrap();
    assert_eq!(end.result.unwrap_err().code, FailureCode::Cancelled);
}

/// An attempt at the first task of a document, outside of any dispatch.
async fn job(world: &World, document: &Value) -> AttemptJob {
    let tasks = vec![serde_json::from_value(document["tasks"][0].clone()).unwrap()];
    let (dependencies, options) = (&world.handle.dependencies, &world.handle.options);
    let config = defaults::config(&DispatchConfig::default(), options, &mut Vec::new());
    let binding = dependencies.agents.bind(&AgentName::new("robot")).await.unwrap();
    AttemptJob {
        dispatch: DispatchId::new(uuid::Uuid::nil()),
        task: TaskIdx::from_usize(0),
        attempt: Attempt(1),
        deadline: dependencies.clock.now() + Millis(60_000),
        document: Arc::new(StoredDocument::new(tasks, config)),
        results_of: None,
        backend: binding.backend,
        pool: None,
        journal: Arc::clone(&dependencies.journal),
        clock: Arc::clone(&dependencies.clock),
        rules: Arc::new(OwnedRules::new(options, Arc::clone(&dependencies.paths))),
        workspaces: dependencies.paths.workspaces().clone(),
        checks: Arc::clone(&dependencies.checks),
        cancelled: CancellationToken::new(),
        trace: None,
        to_dispatcher: mpsc::unbounded_channel().0.downgrade(),
    }
}
