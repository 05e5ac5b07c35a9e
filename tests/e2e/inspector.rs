//! The MCP project's Inspector, as a program on the command line, over each transport and in both
//! eras.

use serde_json::{Value, json};
use tokio::process::Command;

use crate::{
    node::node_with,
    space::{TestSpace, within},
};

const SCRIPT: &str = "@modelcontextprotocol/inspector/clients/launcher/build/index.js";

/// The eras it can be told to speak.
const ERAS: [&str; 3] = ["legacy", "auto", "modern"];

/// What it said at its end.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Runs it with `args`, against the server that `target` names.
async fn inspect(space: &TestSpace, target: &[&str], args: &[&str]) -> Said {
    let (node, script) = node_with(SCRIPT);
    let mut inspector = Command::new(node);
    inspector.arg(script).arg("--cli").args(args).args(["--format", "json"]);
    inspector.args(target).current_dir(space.workspace()).kill_on_drop(true);
    inspector.env_clear().envs(space.environment());
    let output = within(inspector.output()).await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

impl Said {
    #[track_caller]
    fn result(&self) -> Value {
        let json: Value = serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error} in {self:?}"));
        json["result"].clone()
    }
}

/// The tools are listed, one is called, and one refuses, in each of the eras.
async fn check(space: &TestSpace, target: &[&str], eras: &[&str]) {
    let tasks = json!({ "tasks": [task("one"), task("two")] }).to_string();
    for era in eras.iter().copied() {
        let in_era = ["--protocol-era", era];
        let listed =
            inspect(space, target, &[&in_era[..], &["--method", "tools/list"]].concat()).await;
        assert_eq!(listed.code, Some(0), "{era}: {listed:?}");
        let tools = listed.result()["tools"].clone();
        assert_eq!(tools.as_array().unwrap().len(), 8, "{era}: {tools}");

        let planned = inspect(space, target, &[&in_era[..], &call(&tasks)].concat()).await;
        assert_eq!(planned.code, Some(0), "{era}: {planned:?}");
        let waves = &planned.result()["structuredContent"]["waves"];
        assert_eq!(waves, &json!([["one", "two"]]), "{era}");
        assert!(!planned.stderr.contains("unknown format"), "{era}: {}", planned.stderr);

        let wrong = [&in_era[..], &call(r#"{"tasks": []}"#)].concat();
        let refused = inspect(space, target, &wrong).await;
        assert_eq!(refused.code, Some(5), "{era}: {refused:?}");
        let said = refused.result();
        assert_eq!(said["isError"], true, "{era}: {refused:?}");
        let text = said["content"][0]["text"].as_str().unwrap();
        assert!(text.contains(r#""code":""#), "{era}: {text}");
    }
}

fn task(id: &str) -> Value {
    json!({ "task_id": id, "agent": "echo", "description": "say it" })
}

fn call(arguments: &str) -> [&str; 6] {
    ["--method", "tools/call", "--tool-name", "plan_tasks", "--tool-args-json", arguments]
}

/// A space with an agent that needs nothing.
fn space() -> TestSpace {
    let space = TestSpace::offline();
    std::fs::write(space.config_file(), "agents: {echo: {command: {argv: [cat]}}}\n").unwrap();
    space
}

#[tokio::test]
async fn e2e_the_inspector_uses_the_tools_over_stdio_in_each_era() {
    let space = space();
    let config = space.config_file();
    let program = env!("CARGO_BIN_EXE_parallel-dispatch");
    let target = ["--", program, "serve", "--config", config.to_str().unwrap()];
    Box::pin(check(&space, &target, &ERAS)).await;
}

#[tokio::test]
async fn e2e_the_inspector_uses_the_tools_over_http_in_each_era() {
    let space = space();
    let (_program, url) = space.serve_http().await;
    Box::pin(check(&space, &["--server-url", &format!("{url}/mcp")], &ERAS)).await;
}

#[tokio::test]
async fn e2e_the_inspector_uses_the_tools_over_sse_in_the_era_that_has_it() {
    let space = space();
    let (_program, url) = space.serve_http().await;
    let url = format!("{url}/sse");
    let target = ["--server-url", &url];
    Box::pin(check(&space, &target, &ERAS[..2])).await;
    let listing = ["--protocol-era", "modern", "--method", "tools/list"];
    let refused = inspect(&space, &target, &listing).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("did not offer"), "{refused:?}");
}
