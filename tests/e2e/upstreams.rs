//! Upstreams of every kind through the settings of the program: a child process that is killed in
//! the middle, secrets by reference, and what `doctor` and `/health` say of each.

use std::fs;

use serde_json::Value;

use crate::{
    client::http,
    space::{TestSpace, within},
    standin::StandIn,
};

/// An MCP server with the tool `coder`, which at its first call ends without an answer, and then
/// answers which secret it was given.
const SERVER: &str = r#"
answer() { printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$id" "$1"; }
while IFS= read -r line; do
  id=${line#*\"id\":}; id=${id%%,*}
  case $line in
    *'"method":"initialize"'*) answer '{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"sh","version":"1"}}' ;;
    *'"method":"tools/list"'*) answer '{"tools":[{"name":"coder","inputSchema":{"type":"object"}},{"name":"other","inputSchema":{"type":"object"}}]}' ;;
    *'"method":"tools/call"'*)
      if [ ! -e "$1" ]; then : >"$1"; kill -9 $$; fi
      answer '{"content":[{"type":"text","text":"'"$KEY,${ARCHON_MCP_URL-unset}"'"}]}' ;;
  esac
done
"#;

/// A space whose coder is a child process with a secret in a file.
fn space_with_child(mode: u32) -> TestSpace {
    use std::os::unix::fs::PermissionsExt as _;
    let space = TestSpace::offline();
    let (script, key) = (space.path("server.sh"), space.path("key"));
    fs::write(&script, SERVER).unwrap();
    fs::write(&key, "s3cret-value\n").unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
    let marker = space.path("was-killed");
    let config = format!(
        "agents: {{coder: {{upstream: child, retry: {{max_attempts: 2, backoff_ms: 1}}}}}}
upstreams:
  child:
    command: sh
    args: ['{script}', '{marker}']
    env: {{KEY: '${{file:{key}}}'}}
    protocol: legacy
    breaker_failures: 50
    tools_allow: [cod*]
"
    );
    fs::write(space.config_file(), config).unwrap();
    space
}

fn document(space: &TestSpace) -> String {
    crate::space::document(space, &[("one", "coder", &[])]).to_string()
}

#[tokio::test]
async fn e2e_a_child_that_is_killed_in_the_middle_costs_a_retry() {
    let space = space_with_child(0o600);
    let ended = space.run(&["run", "-"], &document(&space)).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let task = &ended.json()["results"][0];
    assert_eq!(task["output"], "s3cret-value,unset");
    assert_eq!(task["attempts"], 2, "{task}");
}

#[tokio::test]
async fn e2e_a_secret_that_others_may_read_is_not_used() {
    let space = space_with_child(0o644);
    let ended = space.run(&["run", "-"], &document(&space)).await;
    let task = &ended.json()["results"][0];
    assert_eq!(task["failure"]["code"], "upstream_unavailable", "{task}");
    assert!(ended.stdout.contains("open to others (mode 0644)"), "{}", ended.stdout);
    assert!(!ended.stdout.contains("s3cret") && !ended.stderr.contains("s3cret"));
}

#[tokio::test]
async fn e2e_doctor_and_config_show_upstreams_and_no_secret() {
    let space = space_with_child(0o600);
    let ended = space.run(&["doctor"], "").await;
    assert!(ended.stdout.contains("ok   upstream child: sh (stdio) has 1 tools"), "{ended:?}");
    assert!(ended.stdout.contains("nothing answers on http://127.0.0.1:9/mcp"), "{ended:?}");
    let ended = space.run(&["config", "--explain"], "").await;
    assert!(ended.stdout.contains("upstreams.child.env.KEY = ${file:/"), "{ended:?}");
    assert!(!ended.stdout.contains("s3cret"));
}

#[tokio::test]
async fn e2e_health_says_how_each_upstream_stands() {
    let standin = StandIn::start().await;
    let space = TestSpace::with(&standin);
    let config = format!(
        "upstreams:\n  old: {{transport: sse, url: '{}'}}\nagents: {{coder: {{upstream: old}}}}\n",
        standin.url.replace("/mcp", "")
    );
    fs::write(space.config_file(), config).unwrap();
    let ended = space.run(&["run", "-"], &document(&space)).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(standin.calls_of("one").len(), 1);

    let (_program, url) = space.serve_http().await;
    let health = within(http().get(format!("{url}/health")).send()).await.unwrap();
    let health: Value = serde_json::from_str(&health.text().await.unwrap()).unwrap();
    let old = format!(
        concat!(
            r#"{{"name":"old","transport":"sse","address":"{}","#,
            r#""state":"connected","n_tools":7,"tools":"pinned"}}"#
        ),
        standin.url.replace("/mcp", "/sse")
    );
    // It was asked whether it serves the agent.
    assert_eq!(health["upstreams"][1].to_string(), old);
    assert_eq!(health["upstreams"][0]["name"], "archon");
}
