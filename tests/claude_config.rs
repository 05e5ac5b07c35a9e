//! The registration files and the examples say what the program understands.

#![cfg(test)]

use std::{fs, path::Path};

use parallel_dispatch::{
    cli::expand::{Places, expand},
    model::{CoderInput, DebugInput, DispatchConfig, TaskSpec},
};
use serde::Deserialize;
use serde_json::Value;

const TOOLS: [&str; 6] =
    ["plan_tasks", "dispatch", "get_result", "read_trace", "cancel_dispatch", "retry_dispatch"];

const WORKER_TOOLS: [&str; 4] = ["claim_task", "heartbeat", "complete_task", "fail_task"];

/// An agent definition, with the fields that registries read.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Definition {
    name: String,
    version: String,
    title: String,
    description: String,
    capabilities: Vec<String>,
    triggers: Vec<String>,
    instructions: Instructions,
    metadata: Metadata,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Instructions {
    path: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    domain: String,
    complexity: String,
    requires_mcp: bool,
    requires_tracing: bool,
}

#[derive(Debug, Deserialize)]
struct Frontmatter {
    name: String,
    description: String,
    tools: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    tasks: Vec<TaskSpec>,
    #[serde(default)]
    config: DispatchConfig,
}

#[test]
fn stdio_registration_starts_the_server() {
    let server = server("claude-config/.mcp.json");
    assert_eq!(server["type"], "stdio");
    assert_eq!(server["command"], env!("CARGO_PKG_NAME"));
    assert_eq!(server["args"], serde_json::json!(["serve"]));
}

#[test]
fn network_registrations_name_the_same_port() {
    let http = server("claude-config/mcp.http.json");
    assert_eq!((&http["type"], &http["url"]), (&"http".into(), &url("mcp")));
    let sse = server("claude-config/mcp.sse.json");
    assert_eq!((&sse["type"], &sse["url"]), (&"sse".into(), &url("sse")));
}

#[test]
fn the_definition_and_the_registry_agree() {
    let text = read("claude-config/agent-definitions/agent-parallel-dispatcher.yaml");
    let definition: Definition = serde_saphyr::from_str(&text).unwrap();
    let instructions = definition.instructions.path.strip_prefix("${PROJECT_ROOT}/").unwrap();
    assert!(root().join(instructions).is_file(), "{instructions}");
    assert!(!definition.capabilities.is_empty());
    let metadata = &definition.metadata;
    assert!(metadata.requires_mcp && metadata.requires_tracing);
    assert_eq!((metadata.domain.as_str(), metadata.complexity.as_str()), ("orchestration", "high"));

    let text = read("claude-config/agent-definitions/agent-registry.yaml");
    let registry: Value = serde_saphyr::from_str(&text).unwrap();
    let entry = &registry["agents"][&definition.name];
    assert_eq!(entry["name"], definition.name.as_str());
    assert_eq!(entry["version"], definition.version.as_str());
    assert_eq!(entry["title"], definition.title.as_str());
    assert_eq!(entry["description"], definition.description.as_str());
    assert_eq!(entry["domain"], metadata.domain.as_str());
    assert_eq!(entry["triggers"], serde_json::json!(definition.triggers));
    let path = entry["definition_path"].as_str().unwrap();
    assert!(root().join("claude-config/agent-definitions").join(path).is_file(), "{path}");
}

#[test]
fn the_subagent_has_the_servers_tools_and_no_others() {
    let text = read("claude-config/agents/parallel-dispatcher.md");
    let (head, body) = text.strip_prefix("---\n").unwrap().split_once("\n---\n").unwrap();
    let head: Frontmatter = serde_saphyr::from_str(head).unwrap();
    assert_eq!(head.name, "parallel-dispatcher");
    assert!(!head.description.is_empty());
    let expected = TOOLS.map(|it| format!("mcp__parallel-dispatch__{it}"));
    assert_eq!(head.tools.split(", ").collect::<Vec<_>>(), expected);
    for tool in TOOLS {
        assert!(body.contains(&format!("`{tool}`")), "the instructions do not mention {tool}");
    }
    for absent in ["Bash", "/tmp", "python", "dispatch_runner"] {
        assert!(!body.contains(absent), "the instructions mention {absent}");
    }
}

#[test]
fn the_worker_has_the_tools_of_workers_and_those_of_its_trade() {
    let text = read("claude-config/agents/pull-worker.md");
    let (head, body) = text.strip_prefix("---\n").unwrap().split_once("\n---\n").unwrap();
    let head: Frontmatter = serde_saphyr::from_str(head).unwrap();
    assert_eq!(head.name, "pull-worker");
    assert!(!head.description.is_empty());
    let (ours, theirs): (Vec<_>, Vec<_>) =
        head.tools.split(", ").partition(|it| it.starts_with("mcp__"));
    assert_eq!(ours, WORKER_TOOLS.map(|it| format!("mcp__parallel-dispatch__{it}")));
    assert_eq!(theirs, ["Read", "Glob", "Grep", "Write", "Edit"]);
    for tool in WORKER_TOOLS {
        assert!(body.contains(&format!("`{tool}`")), "the instructions do not mention {tool}");
        assert!(root().join(format!("tool-schemas/{tool}.input.json")).is_file(), "{tool}");
    }
}

#[test]
fn the_examples_are_documents_with_paths_inside_the_workspace() {
    let places = Places::of(root()).unwrap();
    for (name, n_tasks) in [
        ("01_parallel_generation", 3),
        ("02_debug_then_fix", 3),
        ("03_mixed_workflow", 5),
        ("04_references", 3),
        ("05_claims", 4),
        ("06_conditions", 4),
        ("07_fan_out", 3),
        ("08_cache", 3),
        ("09_budget", 3),
        ("10_evidence", 2),
    ] {
        let mut document: Value =
            serde_json::from_str(&read(&format!("examples/{name}.json"))).unwrap();
        expand(&mut document, &places);
        let document: Document = serde_json::from_value(document).unwrap();
        assert_eq!(document.tasks.len(), n_tasks, "{name}");
        assert!(document.config.max_workers.is_none_or(|it| it > 0));
        for task in &document.tasks {
            check_task(&document.tasks, task);
        }
    }
}

/// What a task reads lies in the repository, or is written by a task that it depends on.
fn check_task(tasks: &[TaskSpec], task: &TaskSpec) {
    let input = Value::Object(serde_json::Map::clone(&task.input_data));
    let reads = match task.agent.as_str() {
        "coder" => {
            let input: CoderInput = serde_json::from_value(input).unwrap();
            let generated = root().join("generated");
            assert!(Path::new(&input.output_path).starts_with(generated), "{}", input.output_path);
            input.context_files
        }
        "debug" => serde_json::from_value::<DebugInput>(input).unwrap().affected_files,
        other => panic!("there is no agent {other}"),
    };
    let is_written = |path: &str| {
        let writers = tasks.iter().filter(|it| task.dependencies.contains(&it.task_id));
        writers.clone().any(|it| it.input_data.get("output_path").is_some_and(|it| it == path))
            || writers.clone().any(|it| path.starts_with(&format!("${{tasks.{}.", it.task_id)))
            // Which it is, an item says.
            || task.for_each.is_some() && path.starts_with("${item")
    };
    for path in reads {
        assert!(is_written(&path) || Path::new(&path).is_file(), "{}: {path}", task.task_id);
    }
}

fn server(path: &str) -> Value {
    let file: Value = serde_json::from_str(&read(path)).unwrap();
    let servers = file["mcpServers"].as_object().unwrap();
    assert_eq!(servers.keys().collect::<Vec<_>>(), ["parallel-dispatch"]);
    servers["parallel-dispatch"].clone()
}

fn url(path: &str) -> Value {
    format!("http://127.0.0.1:8052/{path}").into()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}
