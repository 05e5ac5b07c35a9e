//! Claude Code itself, as an agent and as a client, against a Messages API that answers as a script
//! says.

use std::{
    env,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
};

use serde_json::{Value, json};
use tokio::process::Command;
use uuid::Uuid;

use crate::{
    commands::listen,
    messages::{MessagesApi, Script, TOKENS, Turn, text_of},
    space::{TestSpace, by_task, document, within},
};

/// The program; `scripts/test` names it.
const CLAUDE: &str = "PARALLEL_DISPATCH_TEST_CLAUDE";
const MODEL: &str = "claude-sonnet-4-6";
/// What only the editor's session may know.
const SECRET: &str = "known-to-the-session-alone";
/// What the settings have passed on to it.
const PASSED: [&str; 6] = [
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_BASE_URL",
    "ARCHON_MCP_URL",
    "DISABLE_AUTOUPDATER",
    "DISABLE_ERROR_REPORTING",
    "DISABLE_TELEMETRY",
];

/// A space with the agent `writer`, and `echo` for what it dispatches itself.
fn space() -> TestSpace {
    let space = TestSpace::offline();
    let config = json!({ "agents": {
        "writer": { "command": {
            "program": "claude",
            "argv": [claude()],
            "model": MODEL,
            "permission_mode": "acceptEdits",
            "allowed_tools": ["Bash", "Read"],
            "max_budget_usd": 1,
            "max_turns": 9,
            "env": PASSED,
        } },
        "echo": { "command": { "argv": ["cat"] } },
    } });
    fs::write(space.config_file(), config.to_string()).unwrap();
    fs::create_dir(space.path("tmp")).unwrap();
    space
}

/// The program that was installed for this, by the variable or where `scripts/test` puts it.
fn claude() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let path = env::var_os(CLAUDE).map_or_else(|| target.join("claude-code/claude"), Into::into);
    assert!(
        path.is_file(),
        "{} is not there: scripts/test installs Claude Code and sets {CLAUDE} to its path",
        path.display(),
    );
    path
}

/// Runs the document, in the environment of an editor's session.
fn run(space: &TestSpace, api: &MessagesApi, document: &Value) -> Command {
    fs::write(space.path("tasks.json"), document.to_string()).unwrap();
    let mut command = space.command(&["run", "tasks.json"]);
    for name in PASSED.into_iter().filter(|it| it.starts_with("DISABLE_")) {
        command.env(name, "1");
    }
    command.env("ANTHROPIC_BASE_URL", &api.url).env("ANTHROPIC_API_KEY", "none");
    command.env("CLAUDE_CODE_MESSAGING_TOKEN", SECRET).env("CLAUDECODE", "1");
    command.env("NOT_PASSED_ON", SECRET).env("TMPDIR", space.path("tmp"));
    command
}

/// Leaves a process behind that holds the pipe `life`.
const LEAVE: &str = "exec 9> life; echo up >&9; setsid sleep 1000 > tmp/out 2>&1 & echo left";

/// Two tasks, the first of which looks around, dispatches a task below itself, and leaves
/// something behind.
fn work(space: &TestSpace) -> (Script, Value) {
    let below = document(space, &[("below", "echo", &[])]);
    fs::write(space.path("below.json"), below.to_string()).unwrap();
    let program = env!("CARGO_BIN_EXE_parallel-dispatch");
    let config = space.config_file();
    let dispatch = format!("'{program}' run below.json --config '{}'", config.display());
    let turns = ["env", &dispatch, LEAVE].map(|it| Turn::Bash(it.to_owned()));
    let first = [&turns[..], &[Turn::Say("The roof is blue.")]].concat();
    let script = vec![("first", first), ("second", vec![Turn::Say("It is painted.")])];
    let mut document =
        document(space, &[("first", "writer", &[]), ("second", "writer", &["first"])]);
    document["tasks"][0]["input_data"] = json!({ "question": "which colour?" });
    document["config"] = json!({ "budget": { "tokens": 1000 } });
    (script, document)
}

#[tokio::test]
async fn e2e_claude_code_does_the_work_of_agents_and_dispatches_itself() {
    let space = space();
    let (script, document) = work(&space);
    let api = MessagesApi::start(script).await;
    let (up, gone) = listen(&space);
    let output = within(run(&space, &api, &document).output()).await.unwrap();
    let [stdout, stderr] = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
    assert!(output.status.success(), "{stderr}\n{stdout}");
    let result: Value = serde_json::from_str(&stdout).unwrap();
    check_result(&result);
    check_prompts(&api.asked());
    check_tools(&api.asked(), &result);
    within(up).await.unwrap();
    within(gone).await.unwrap();
}

/// What it answered and used stands in the result, and counts.
fn check_result(result: &Value) {
    assert_eq!(result["status"], "success");
    let outputs = by_task(result, "output").into_iter().map(|it| it.1).collect::<Vec<_>>();
    let said: Vec<_> = outputs.iter().map(|it| &it["result"]).collect();
    assert_eq!(said, ["The roof is blue.", "It is painted."]);
    let turns: Vec<_> = outputs.iter().map(|it| &it["num_turns"]).collect();
    assert_eq!(turns, [4, 1]);
    let session = |it: &Value| -> Uuid { it["session_id"].as_str().unwrap().parse().unwrap() };
    assert_ne!(session(&outputs[0]), session(&outputs[1]));

    let (input, output) = TOKENS;
    for (index, n_turns) in [(0, 4), (1, 1)] {
        let usage = &result["results"][index]["usage"];
        assert_eq!(usage["input_tokens"], input * n_turns);
        assert_eq!(usage["output_tokens"], output * n_turns);
        assert!(usage["cost_usd"].as_f64().unwrap() > 0.0, "{usage}");
    }
    let spent = &result["budget"]["spent"];
    assert_eq!((&spent["tokens"], &spent["tasks"]), (&json!((input + output) * 5), &json!(3)));
}

/// The model got the task, its input between marks, and what came before it.
fn check_prompts(asked: &[Value]) {
    assert_eq!(asked.len(), 5);
    assert!(asked.iter().all(|it| it["model"] == MODEL && it["stream"] == true));
    let first = text_of(&asked[0]["messages"][0]);
    assert!(first.contains("# Task first\n\ndo first\n"), "{first}");
    let (_, fenced) = first.split_once("\n<<<data ").unwrap();
    let (mark, fenced) = fenced.split_once(" input\n").unwrap();
    let (input, _) = fenced.split_once(&format!("\n>>>data {mark}\n")).unwrap();
    let input: Value = serde_json::from_str(input).unwrap();
    assert_eq!(input, json!({ "question": "which colour?" }));
    let second = text_of(&asked[4]["messages"][0]);
    for part in ["# Task second\n\ndo second\n", "# Results of the tasks before", "roof is blue."] {
        assert!(second.contains(part), "{second}");
    }
}

/// Its tools know the task that they work for, and nothing of the editor's session.
fn check_tools(asked: &[Value], result: &Value) {
    let results_of = |index: usize| {
        let messages = asked[index]["messages"].as_array().unwrap();
        messages.iter().rev().map(text_of).find(|it| !it.is_empty()).unwrap()
    };
    let environment = results_of(1);
    let id = result["dispatch_id"].as_str().unwrap();
    let parent = format!("PARALLEL_DISPATCH_PARENT={id}/first\n");
    assert!(environment.contains(&parent), "{environment}");
    // It has a token of its own for them, by the same name.
    for absent in [SECRET, "NOT_PASSED_ON"] {
        assert!(!environment.contains(absent), "{environment}");
    }
    let below = result["results"][0]["dispatches"].as_array().unwrap();
    assert_eq!(below.len(), 1);
    let told = results_of(2);
    assert!(told.contains(below[0].as_str().unwrap()) && told.contains("do below"), "{told}");
}

#[tokio::test]
async fn e2e_claude_code_ends_with_the_process_that_wanted_it() {
    let space = space();
    let api = MessagesApi::start(vec![("held", vec![Turn::Hold])]).await;
    let document = document(&space, &[("held", "writer", &[])]);
    let mut program = run(&space, &api, &document).spawn().unwrap();
    api.was_asked(1).await;
    within(program.kill()).await.unwrap();
    api.is_let_go().await;
}

#[tokio::test]
async fn e2e_claude_code_calls_the_tools_over_http_with_a_token() {
    let space = TestSpace::offline();
    let token = "token-of-ada-0123456789";
    fs::write(space.path("token"), token).unwrap();
    fs::set_permissions(space.path("token"), Permissions::from_mode(0o600)).unwrap();
    let config = json!({
        "agents": { "echo": { "command": { "argv": ["cat"] } } },
        "server": { "tokens": {
            "ada": { "bearer": format!("${{file:{}}}", space.path("token")) },
        } },
    });
    fs::write(space.config_file(), config.to_string()).unwrap();
    let (program, url) = space.serve_http().await;
    let server = |token: &str| {
        let headers = json!({ "Authorization": format!("Bearer {token}") });
        json!({ "type": "http", "url": format!("{url}/mcp"), "headers": headers })
    };
    let servers = json!({ "mcpServers": { "pd": server(token), "stranger": server("wrong") } });
    fs::write(space.path("mcp.json"), servers.to_string()).unwrap();
    let turns = vec![
        Turn::Call("mcp__pd__dispatch", document(&space, &[("one", "echo", &[])])),
        Turn::Call("mcp__stranger__dispatch", document(&space, &[("two", "echo", &[])])),
        Turn::Say("The work is done."),
    ];
    let api = MessagesApi::start(vec![("first", turns)]).await;
    let mut claude = Command::new(claude());
    claude.args(["-p", "# Task first\n\nhave it done\n", "--model", MODEL]);
    claude.args(["--mcp-config", "mcp.json", "--strict-mcp-config"]);
    claude.args(["--allowedTools", "mcp__pd__dispatch,mcp__stranger__dispatch"]);
    claude.current_dir(space.workspace()).envs(space.environment()).stdin(Stdio::null());
    for name in PASSED.into_iter().filter(|it| it.starts_with("DISABLE_")) {
        claude.env(name, "1");
    }
    claude.env("ANTHROPIC_BASE_URL", &api.url).env("ANTHROPIC_API_KEY", "none");
    let output = within(claude.output()).await.unwrap();
    let [stdout, stderr] = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
    assert!(output.status.success(), "{stderr}\n{stdout}");
    assert_eq!(stdout.trim(), "The work is done.");
    let heard = |index: usize| {
        let messages = api.asked()[index]["messages"].as_array().unwrap().clone();
        messages.iter().rev().map(text_of).find(|it| !it.is_empty()).unwrap()
    };
    let done = heard(1);
    assert!(done.contains("\"status\":\"success\"") && done.contains("do one"), "{done}");
    let refused = heard(2);
    assert!(!refused.contains("do two"), "{refused}");
    let list = space.run(&["list"], "").await.stdout;
    assert_eq!(list.lines().count(), 1, "{list}");
    program.kill().await;
}
