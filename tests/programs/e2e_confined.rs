//! Programs whose writes the kernel keeps in some places.

use std::{fs, path::Path};

use parallel_dispatch::{agents::command::Program, model::FailureCode};
use serde_json::json;

use crate::place::Place;

/// A program that writes a file beside its own folder, or says why it cannot.
fn writer(target: &Path) -> Place {
    let script = format!(
        "set -e\necho inside > inside.txt\necho outside > '{}'\necho '{{}}'",
        target.display()
    );
    Place::shell(Program::Custom, &script)
}

#[tokio::test]
async fn e2e_a_confined_program_that_writes_elsewhere_fails_and_writes_nothing_there() {
    let elsewhere = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let target = elsewhere.path().join("outside.txt");
    let mut place = writer(&target);
    place.setting.variables.0.push(("TMPDIR".into(), place.dir.path().into()));
    place.setting.confine = true;
    let failure = place.attempt(json!({})).await.result.unwrap_err();
    assert_eq!(failure.code, FailureCode::AgentError);
    assert!(!target.exists());
    if failure.message.contains("cannot be confined") {
        // Where the system has no way to do it, nothing has run.
        return assert!(!place.dir.path().join("inside.txt").exists());
    }
    assert!(failure.message.contains("Permission denied"), "{failure:?}");
    assert_eq!(fs::read_to_string(place.dir.path().join("inside.txt")).unwrap(), "inside\n");

    place.setting.writable = vec![elsewhere.path().to_owned()];
    place.attempt(json!({})).await.result.unwrap();
    assert_eq!(fs::read_to_string(&target).unwrap(), "outside\n");
}

#[tokio::test]
async fn e2e_a_program_that_is_not_confined_writes_where_it_may() {
    let elsewhere = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let target = elsewhere.path().join("outside.txt");
    writer(&target).attempt(json!({})).await.result.unwrap();
    assert!(target.exists());
}
