//! What holds of tasks of which something is expected.

use std::{fs, sync::Arc};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::testing::{Flaky, World, document, task};
use crate::model::{DispatchStatus, EvidenceKind, FailureCode, TaskStatus};

/// A process with a workspace, and a path in it.
fn world() -> (TempDir, World, impl Fn(&str) -> String) {
    let space = TempDir::new().unwrap();
    let world = World::in_workspace(Arc::new(Flaky::default()), space.path());
    let root = space.path().to_owned();
    (space, world, move |name: &str| root.join(name).to_str().unwrap().to_owned())
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
