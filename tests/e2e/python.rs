//! The MCP project's own client, over each transport and in both eras.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use crate::space::{TestSpace, within};

/// The interpreter that has the client; `scripts/test` names it.
const PYTHON: &str = "PARALLEL_DISPATCH_TEST_PYTHON";
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python");

/// The ways in which the script connects, and what each is then spoken in.
const WAYS: [(&str, &str); 8] = [
    ("stdio modern", "2026-07-28"),
    ("stdio auto", "2026-07-28"),
    ("stdio legacy", "2025-11-25"),
    ("http modern", "2026-07-28"),
    ("http auto", "2026-07-28"),
    ("http legacy", "2025-11-25"),
    ("sse auto", "2025-11-25"),
    ("sse legacy", "2025-11-25"),
];

#[tokio::test]
async fn e2e_the_official_client_gets_the_same_result_everywhere() {
    let python = python();
    let space = TestSpace::embedded();
    let example = include_str!("../../examples/01_parallel_generation.json");
    let document = example.replace("${OUTPUT_DIR}", &space.path("generated"));
    fs::write(space.path("tasks.json"), document).unwrap();
    let token = "token-of-the-script-0123456789";
    let config = format!("server: {{tokens: {{script: {{bearer: {token}, sees: all}}}}}}\n");
    fs::write(space.config_file(), config).unwrap();
    let (_program, url) = space.serve_http().await;

    let mut script = tokio::process::Command::new(python);
    script.arg(format!("{FOLDER}/client.py")).arg(env!("CARGO_BIN_EXE_parallel-dispatch"));
    script.arg(space.config_file()).arg(space.workspace()).arg(space.path("tasks.json"));
    script.arg(url).arg(token);
    script.env_clear().envs(space.environment()).kill_on_drop(true);
    let output = within(script.output()).await.unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let seen: Value = serde_json::from_slice(&output.stdout).unwrap();

    for (way, version) in WAYS {
        let it = &seen[way];
        assert_eq!(it["protocol_version"], version, "{way}");
        assert_eq!(it["result"]["status"], "success", "{way}");
        assert_eq!(without_chance(it), without_chance(&seen[WAYS[0].0]), "{way}");
    }
    let one = &seen[WAYS[0].0];
    assert_eq!(one["waves"][0].as_array().unwrap().len(), 3);
    assert_eq!(one["read_only"], json!(["plan_tasks", "get_result", "read_trace"]));
    assert_eq!((&one["is_refused"], &one["codes"][0]), (&json!(true), &json!("missing_field")));
    assert_eq!((&one["lists_both"], &one["has_output"]), (&json!(true), &json!(true)));
    assert_eq!(one["templates"].as_array().unwrap().len(), 4);
    assert_eq!(one["completed"].as_array().unwrap().len(), 3);
    assert!(one["page"].as_str().unwrap().starts_with("mermaid\nflowchart TD"), "{one}");
    assert_eq!(one["agents"], json!(["coder", "debug", "research", "tool"]));
    assert_eq!(one["prompts"].as_array().unwrap().len(), 3);
    assert_eq!(one["reviewed"], "success");
    assert_eq!(one["heard"], json!(["ResourcesListChanged", "ResourceUpdated"]));
    let warning = one["result"]["warnings"][0].as_str().unwrap();
    assert!(warning.contains("embedded Archon"), "{warning}");
}

/// What was seen, less what differs from one dispatch to the next.
fn without_chance(seen: &Value) -> Value {
    let result = &seen["result"];
    let tasks = result["results"].as_array().unwrap().iter();
    let tasks: Vec<_> = tasks
        .map(|it| json!([it["task_id"], it["agent"], it["status"], it["output"], it["error"]]))
        .collect();
    let counts = ["total_tasks", "successful", "failed", "skipped", "cancelled"];
    let resources =
        ["lists_both", "templates", "completed", "page", "agents", "traced", "has_output"];
    json!({
        "tools": seen["tools"],
        "waves": seen["waves"],
        "kinds": seen["kinds"],
        "codes": seen["codes"],
        "resources": resources.map(|it| &seen[it]),
        "prompts": [&seen["prompts"], &seen["reviewed"]],
        "heard": seen["heard"],
        "status": result["status"],
        "tasks": tasks,
        "counts": counts.map(|it| &result["summary"][it]),
        "warnings": result["warnings"],
        "next_steps": result["next_steps"],
    })
}

/// The interpreter of an environment with the client; made once, where nobody named one.
fn python() -> PathBuf {
    if let Some(path) = env::var_os(PYTHON) {
        return path.into();
    }
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let lock = File::create(target.join("python-client.lock")).unwrap();
    lock.lock().unwrap();
    let (place, wanted) = (target.join("python-client"), format!("{FOLDER}/requirements.txt"));
    let python = place.join("bin/python");
    let is_made = fs::read(place.join("installed")).ok() == fs::read(&wanted).ok();
    if !is_made {
        fs::remove_dir_all(&place).ok();
        make(Command::new("python3").args(["-m", "venv"]).arg(&place));
        make(Command::new(&python).args(["-m", "pip", "install", "--quiet", "-r", &wanted]));
        fs::copy(&wanted, place.join("installed")).unwrap();
    }
    python
}

fn make(command: &mut Command) {
    let output = command.output();
    let is_done = output.as_ref().is_ok_and(|it| it.status.success());
    assert!(
        is_done,
        "the MCP project's Python client could not be installed by {command:?}: {output:?}\n\
         Python 3 with venv and a way to PyPI are needed; or set {PYTHON} to an interpreter that \
         has what tests/python/requirements.txt names"
    );
}
