//! What an investigation does not do: leave the workspace, run things, grow, or outlive its caller.

use std::{fs, process::Command};

use serde_json::json;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::{
    investigate,
    tests::{ground, run},
};
use crate::{archon::ArchonError, confine::Workspaces};

#[tokio::test]
async fn nothing_outside_is_read() {
    let dir = ground();
    let outside = TempDir::new().unwrap();
    let secret = outside.path().join("secret.py");
    fs::write(&secret, "password = 'x'\n").unwrap();
    std::os::unix::fs::symlink(&secret, dir.path().join("link.py")).unwrap();
    let refused =
        run(dir.path(), json!({ "problem_description": "x", "affected_files": [secret.to_str()] }));
    assert!(matches!(refused.await, Err(ArchonError::File(_))));
    let answer = run(
        dir.path(),
        json!({
            "problem_description": "x",
            "affected_files": ["$/link.py"],
            "error_traces": [format!("  File \"{}\", line 1, in f\nKeyError", secret.display())],
            "analysis_depth": "deep",
        }),
    );
    let answer = answer.await.unwrap();
    assert!(!answer.to_string().contains("password"), "{answer}");
    assert_eq!(answer["focus"]["frames"][0]["in_workspace"], false);
}

#[tokio::test]
async fn what_files_hold_is_escaped() {
    let dir = ground();
    fs::write(dir.path().join("x.py"), "a = '\u{202e}\u{1b}[31m'\n").unwrap();
    let input = json!({
        "problem_description": "x\u{202e}",
        "error_traces": ["  File \"$/x.py\", line 1, in f\nKeyError: '\u{200b}'"],
    });
    let answer = run(dir.path(), input).await.unwrap().to_string();
    assert!(!answer.contains(['\u{202e}', '\u{200b}', '\u{1b}']), "{answer}");
    assert!(answer.contains(r"\\u{202e}\\u{1b}[31m"), "{answer}");
}

#[tokio::test]
async fn an_answer_stays_within_bounds() {
    let dir = ground();
    let wide = format!("x = '{}'\n", "y".repeat(10_000)).repeat(50);
    fs::write(dir.path().join("wide.py"), wide).unwrap();
    let frames = (1..50).map(|it| format!("  File \"wide.py\", line {it}, in f{it}\n"));
    let trace = frames.collect::<String>() + "KeyError: 'x'\n";
    let input = json!({
        "problem_description": "slow",
        "affected_files": vec!["$/app.py"; 200],
        "error_traces": vec![trace; 100],
        "analysis_depth": "deep",
    });
    let answer = run(dir.path(), input).await.unwrap();
    let n_bytes = answer.to_string().len();
    assert!(n_bytes < 100_000, "{n_bytes}");
}

#[tokio::test]
async fn a_caller_who_gave_up_gets_no_answer() {
    let dir = ground();
    let workspaces = Workspaces::new([dir.path().to_owned()]).unwrap();
    let stop = CancellationToken::new();
    stop.cancel();
    let input = json!({
        "problem_description": "x",
        "affected_files": [dir.path().join("app.py")],
    });
    let ended = investigate(workspaces, serde_json::from_value(input).unwrap(), stop).await;
    assert!(matches!(ended, Err(ArchonError::Cancelled)));
}

#[tokio::test]
async fn e2e_recent_changes_come_from_git_and_its_settings_run_nothing() {
    let dir = ground();
    let git = |args: &[&str]| {
        let identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"];
        let mut command = Command::new("git");
        command.args(identity).args(args).current_dir(dir.path());
        assert!(command.output().unwrap().status.success(), "{args:?}");
    };
    git(&["init", "-q"]);
    git(&["add", "app.py"]);
    git(&["commit", "-q", "-m", "first \u{202e}words"]);
    let trap = dir.path().join("trap.sh");
    fs::write(&trap, format!("#!/bin/sh\ntouch {}/sprung\n", dir.path().display())).unwrap();
    fs::set_permissions(&trap, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let trap = trap.to_str().unwrap();
    for key in ["core.pager", "core.fsmonitor", "gpg.program", "diff.external", "core.sshCommand"] {
        git(&["config", key, trap]);
    }
    git(&["config", "log.showSignature", "true"]);
    let input = json!({ "problem_description": "x", "affected_files": ["$/app.py", "$/web.py"] });
    let answer = run(dir.path(), input).await.unwrap();
    let changes = answer["baseline"]["recent_changes"].as_array().unwrap();
    assert_eq!(changes.len(), 1, "{changes:?}");
    assert_eq!(changes[0]["commits"][0]["subject"], r"first \u{202e}words");
    assert!(!dir.path().join("sprung").exists());
}

#[tokio::test]
async fn e2e_a_repository_around_the_workspace_is_not_asked() {
    let dir = TempDir::new().unwrap();
    let workspace = dir.path().join("ws");
    fs::create_dir(&workspace).unwrap();
    fs::write(workspace.join("a.py"), "x = 1\n").unwrap();
    let script = "git init -q && git add . && git -c user.name=A -c user.email=a@example.org \
                  commit -q -m outside";
    let made = Command::new("sh").args(["-c", script]).current_dir(dir.path()).output().unwrap();
    assert!(made.status.success());
    let input = json!({ "problem_description": "x", "affected_files": ["$/a.py"] });
    let answer = run(&workspace, input).await.unwrap();
    assert_eq!(answer["baseline"]["recent_changes"], json!([]));
}
