//! Agents that are programs, from a settings file to the result, and what is left of them.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
};

use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::{
    collector::Collector,
    space::{TestSpace, by_task, document, within},
};

/// Prints what Claude Code prints.
const CLAUDE: &str = r#"#!/bin/sh
grep -q '^do a$' || exit 3
echo '{"type":"system","subtype":"init","session_id":"s-1"}'
echo '{"type":"assistant","message":{"content":[{"type":"tool_use","name":"Read","input":{"file_path":"a.py"}}]}}'
echo '{"type":"result","subtype":"success","is_error":false,"num_turns":2,"result":"It works.","session_id":"s-1","total_cost_usd":0.25,"usage":{"input_tokens":3,"output_tokens":5}}'
"#;
/// Says where it is, and stays whatever it is asked.
const STUBBORN: &str = "#!/bin/sh
trap '' TERM INT HUP
exec 9> life
echo up >&9
sleep 1000 &
setsid sleep 1000 &
wait; sleep 1000
";

fn space(stub: &str) -> TestSpace {
    let space = TestSpace::offline();
    let path = space.path("stub");
    fs::write(&path, stub).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let config = json!({ "agents": {
        "writer": { "command": { "program": "claude", "argv": [path] } },
        "absent": { "command": { "program": "codex" } },
    } });
    fs::write(space.config_file(), config.to_string()).unwrap();
    space
}

/// Hears that the stub is up, and that nothing of it is left.
pub(crate) fn listen(space: &TestSpace) -> (oneshot::Receiver<()>, oneshot::Receiver<()>) {
    let path = PathBuf::from(space.path("life"));
    let mode = rustix::fs::Mode::RWXU;
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let ((say_up, up), (say_gone, gone)) = (oneshot::channel(), oneshot::channel());
    std::thread::spawn(move || {
        let mut pipe = BufReader::new(File::open(path).unwrap());
        pipe.read_line(&mut String::new()).unwrap();
        say_up.send(()).ok();
        pipe.read_to_end(&mut Vec::new()).unwrap();
        say_gone.send(()).ok();
    });
    (up, gone)
}

#[tokio::test]
async fn e2e_a_program_of_the_settings_does_the_work_of_an_agent() {
    let space = space(CLAUDE);
    let ended = space.run(&["run"], &document(&space, &[("a", "writer", &[])]).to_string()).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let result = ended.json();
    let task = &result["results"][0];
    assert_eq!(task["output"]["result"], "It works.");
    assert_eq!(task["output"]["session_id"], "s-1");
    assert_eq!(task["usage"]["total_tokens"], 8);
    assert_eq!(task["usage"]["cost_usd"], 0.25);

    let id = result["dispatch_id"].as_str().unwrap();
    let trace = space.run(&["trace", id, "--kind", "agent_event"], "").await;
    let events = trace.stdout.lines().map(|it| serde_json::from_str::<Value>(it).unwrap());
    let shown: Vec<_> = events.map(|it| it["data"]["text"].as_str().unwrap().to_owned()).collect();
    assert_eq!(shown, ["init", "Read {\"file_path\":\"a.py\"}", "success"]);
}

#[tokio::test]
async fn e2e_spans_say_whose_model_a_program_asks() {
    let (space, collector) = (space(CLAUDE), Collector::start().await);
    let config = json!({
        "agents": { "writer": {
            "command": { "program": "claude", "argv": [space.path("stub")], "model": "opus" },
        } },
        "telemetry": { "otlp": { "endpoint": collector.url } },
    });
    fs::write(space.config_file(), config.to_string()).unwrap();
    let document = document(&space, &[("a", "writer", &[])]);
    let ended = space.run(&["run"], &document.to_string()).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let told = collector.dispatch_told().await;
    let attempt = told.span("invoke_agent writer");
    assert_eq!(attempt.attributes["gen_ai.provider.name"], "anthropic");
    assert_eq!(attempt.attributes["gen_ai.request.model"], "opus");
    assert_eq!(attempt.attributes["gen_ai.usage.output_tokens"], 5);
}

#[tokio::test]
async fn e2e_a_program_that_is_not_installed_is_named_before_anything_runs() {
    let space = space(CLAUDE);
    let document = document(&space, &[("a", "writer", &[]), ("b", "absent", &[])]);
    let ended = space.run(&["run"], &document.to_string()).await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    for part in ["error[agent_unavailable]", "\"codex\", which is not installed", "PATH"] {
        assert!(ended.stderr.contains(part), "{}", ended.stderr);
    }
    let doctor = space.run(&["doctor"], "").await;
    let stub = format!("runs {}", space.path("stub"));
    for part in ["agent writer", stub.as_str(), "agent absent", "which is not installed"] {
        assert!(doctor.stdout.contains(part), "{}", doctor.stdout);
    }
}

#[tokio::test]
async fn e2e_nothing_of_a_program_outlives_the_process_that_wanted_it() {
    let space = space(STUBBORN);
    let (up, gone) = listen(&space);
    let document = document(&space, &[("a", "writer", &[])]);
    fs::write(space.path("tasks.json"), document.to_string()).unwrap();
    let program = space.start(&["run", "tasks.json"]);
    within(up).await.unwrap();
    program.kill().await;
    within(gone).await.unwrap();
}

#[tokio::test]
async fn e2e_a_task_builds_on_the_changes_of_those_that_it_depends_on() {
    let stub =
        "#!/bin/sh\ncat > /dev/null; test -f a.txt && echo more > b.txt\necho text > a.txt\n";
    let space = space(stub);
    let config = json!({ "agents": {
        "writer": { "command": { "argv": [space.path("stub")], "worktree": true } },
    } });
    fs::write(space.config_file(), config.to_string()).unwrap();
    let identity = ["-c", "user.name=n", "-c", "user.email=e@x"];
    for arguments in [&["init", "--quiet"][..], &["add", "stub"], &["commit", "--quiet", "-m", "m"]]
    {
        let mut git = std::process::Command::new("git");
        git.current_dir(space.workspace()).args(identity).args(arguments);
        assert!(git.status().unwrap().success());
    }
    let rows: [(&str, &str, &[&str]); 3] =
        [("a", "writer", &[]), ("b", "writer", &["a"]), ("c", "writer", &["b"])];
    let ended = space.run(&["run"], &document(&space, &rows).to_string()).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let changed =
        by_task(&ended.json(), "output").into_iter().map(|it| it.1["files_changed"].clone());
    assert_eq!(changed.collect::<Vec<_>>(), [json!(["a.txt"]), json!(["b.txt"]), json!([])]);
    assert!(!PathBuf::from(space.path("a.txt")).exists());
}
