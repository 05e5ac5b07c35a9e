//! Old dispatches and their traces go when they are told to, and nothing else does.

use std::path::{Path, PathBuf};

use rmcp::model::ProtocolVersion;
use serde_json::{Value, json};

use crate::{
    client::{Client, Face, id_of},
    space::{TestSpace, document},
    standin::StandIn,
};

/// Runs one task to its end; answers the result and the files that it names.
async fn run(client: &Client, space: &TestSpace, task: &str) -> (Value, Vec<PathBuf>) {
    let result = client.ask("dispatch", document(space, &[(task, "coder", &[])])).await;
    let named = [&result["trace_index"], &result["results"][0]["trace_file"]];
    let files: Vec<PathBuf> = named.map(|it| it.as_str().unwrap().into()).to_vec();
    let link = files[0].with_file_name(format!("{task}.json"));
    assert!(link.is_symlink());
    (result["dispatch_id"].clone(), [files, vec![link]].concat())
}

fn ids(pruned: &Value) -> Vec<Value> {
    let dispatches = pruned["dispatches"].as_array().unwrap();
    dispatches.iter().map(|it| it["dispatch_id"].clone()).collect()
}

fn are_there(files: &[PathBuf]) -> Vec<bool> {
    files.iter().map(|it| it.symlink_metadata().is_ok()).collect()
}

#[tokio::test]
async fn e2e_prune_removes_what_ended_and_its_traces_and_nothing_else() {
    let standin = StandIn::start().await;
    let space = TestSpace::with(&standin);
    let client = Face::Http.open(&space, &ProtocolVersion::V_2025_11_25).await;
    let mut open = document(&space, &[("held", "gate", &[])]);
    open["wait"] = json!(false);
    let open = json!(id_of(&client.ask("dispatch", open).await));
    let (first, first_files) = run(&client, &space, "first").await;
    let (second, second_files) = run(&client, &space, "second").await;
    let (third, third_files) = run(&client, &space, "third").await;
    let theirs = first_files[1].with_file_name("notes.txt");
    std::fs::write(&theirs, "mine").unwrap();

    let prune = async |args: &[&str]| {
        let ended = space.run(&[&["prune"], args].concat(), "").await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended.json()
    };
    let nothing = prune(&[]).await;
    assert_eq!((ids(&nothing), &nothing["dry_run"]), (vec![], &json!(false)));
    let forecast = prune(&["--older-than", "0s", "--keep", "1", "--dry-run"]).await;
    assert_eq!(ids(&forecast), [first.clone(), second.clone()]);
    assert_eq!((&forecast["dry_run"], are_there(&first_files)), (&json!(true), vec![true; 3]));

    let pruned = prune(&["--older-than", "0s", "--keep", "1"]).await;
    assert_eq!(ids(&pruned), [first.clone(), second.clone()]);
    assert_eq!((&pruned["trace_files_removed"], &pruned["warnings"]), (&json!(6), &json!([])));
    assert_eq!(are_there(&first_files), [false; 3]);
    assert_eq!(are_there(&second_files), [false; 3]);
    assert!(!second_files[1].parent().unwrap().exists());
    assert_eq!((are_there(&third_files), are_there(&[theirs])), (vec![true; 3], vec![true]));

    // The server that runs hears of it, and what is kept is whole.
    let gone = client.refusal("get_result", json!({ "dispatch_id": first })).await;
    assert_eq!(gone, ["unknown_dispatch"]);
    let kept = client.ask("get_result", json!({ "dispatch_id": third })).await;
    assert_eq!(kept["status"], "success");
    standin.release(1);
    let request = json!({ "dispatch_id": open, "wait_ms": 20_000 });
    assert_eq!(client.ask("get_result", request).await["status"], "success");
}

#[tokio::test]
async fn e2e_prune_gives_room_back() {
    let standin = StandIn::start().await;
    let space = TestSpace::with(&standin);
    let rows: Vec<_> = (0..40).map(|it| format!("t{it}")).collect();
    let rows: Vec<_> = rows.iter().map(|it| (it.as_str(), "big", [].as_slice())).collect();
    let client = Face::Http.open(&space, &ProtocolVersion::V_2025_11_25).await;
    let result = client.ask("dispatch", document(&space, &rows)).await;
    assert_eq!(result["status"], "success");
    let ended = space.run(&["prune", "--max-bytes", "1M"], "").await;
    let pruned = ended.json();
    let bytes = |it: &str| pruned[it].as_u64().unwrap();
    assert_eq!(ids(&pruned), [result["dispatch_id"].clone()]);
    assert!(bytes("store_bytes_after") * 4 < bytes("store_bytes_before"), "{pruned}");
    let store = Path::new(&space.workspace()).with_file_name("state").join("store.db");
    let size = store.metadata().unwrap().len();
    assert!(size < bytes("store_bytes_before"), "{size} bytes, {pruned}");
}

#[tokio::test]
async fn e2e_prune_refuses_what_it_cannot_read() {
    let space = TestSpace::offline();
    for args in [["--older-than", "30"], ["--max-bytes", "lots"], ["--keep", "-1"]] {
        let ended = space.run(&[&["prune"], &args[..]].concat(), "").await;
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{args:?}");
    }
}
