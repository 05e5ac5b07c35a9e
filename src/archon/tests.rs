//! The server as a client in this process meets it.

use std::{fs, path::Path};

use expect_test::expect;
use rmcp::{
    RoleClient, ServiceExt as _,
    model::{CallToolRequestParams, CallToolResult, JsonObject},
    service::RunningService,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::EmbeddedArchon;
use crate::confine::Workspaces;

/// A client of an embedded Archon, and all that belongs to the two.
struct Session {
    client: RunningService<RoleClient, ()>,
    tasks: TaskTracker,
    dir: TempDir,
}

impl Session {
    async fn open() -> Self {
        let dir = TempDir::new().unwrap();
        let workspaces = Workspaces::new([dir.path().to_owned()]).unwrap();
        let tasks = TaskTracker::new();
        let archon = EmbeddedArchon::new(workspaces);
        let client = ().serve(archon.connect(&tasks, CancellationToken::new())).await.unwrap();
        Self { client, tasks, dir }
    }

    async fn call(&self, tool: &'static str, arguments: Value) -> CallToolResult {
        let arguments: JsonObject = serde_json::from_value(arguments).unwrap();
        let params = CallToolRequestParams::new(tool).with_arguments(arguments);
        let result = self.client.call_tool(params).await.unwrap();
        let text = result.content[0].as_text().unwrap().text.clone();
        let from_text: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(Some(from_text), result.structured_content, "both forms say the same");
        result
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_string_lossy().into_owned()
    }

    /// Leaves, and waits until the server has noticed.
    async fn close(self) {
        self.client.cancel().await.unwrap();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

#[tokio::test]
async fn a_client_lists_and_calls_the_tools() {
    let session = Session::open().await;
    let info = session.client.peer_info().unwrap();
    assert_eq!(info.server_info.as_ref().unwrap().name, EmbeddedArchon::SERVER_NAME);
    let tools = session.client.list_all_tools().await.unwrap();
    let names: Vec<_> = tools.iter().map(|it| it.name.as_ref()).collect();
    let expected = [
        "agent_coder",
        "agent_debug_intelligence",
        "generate_code",
        "assess_code_quality",
        "health_check",
    ];
    assert_eq!(names, expected);

    let health = session.call("health_check", json!({})).await;
    let ready = json!({ "success": true, "status": "ready" });
    assert_eq!(health.structured_content, Some(ready));

    let output_path = session.path("node_mailer_effect.py");
    let arguments = json!({
        "task_id": "t1", "description": "write it", "contract_description": "Sends a mail.",
        "node_type": "Effect", "output_path": output_path, "validation_level": "strict",
    });
    let written = session.call("agent_coder", arguments).await;
    assert_eq!(written.is_error, Some(false));
    let output = written.structured_content.unwrap();
    assert_eq!(output["class_name"], "NodeMailerEffect");
    assert_eq!(output["generated_code"], fs::read_to_string(&output_path).unwrap());

    let arguments = json!({ "problem_description": "KeyError", "affected_files": [output_path] });
    let answer = session.call("agent_debug_intelligence", arguments).await;
    let answer = answer.structured_content.unwrap();
    assert_eq!(answer["analysis_depth"], "standard");
    assert_eq!(answer["baseline"]["files"][0]["status"], "read");
    session.close().await;
}

#[tokio::test]
async fn code_is_generated_and_assessed_without_a_file() {
    let session = Session::open().await;
    let output_path = session.path("node_mailer_effect.py");
    let arguments = json!({ "contract_description": "Sends a mail.", "node_type": "Effect",
                            "output_path": output_path, "validation_level": "strict" });
    let generated = session.call("generate_code", arguments).await.structured_content.unwrap();
    assert!(!Path::new(&output_path).exists());
    let arguments = json!({ "content": generated["generated_code"], "source_path": output_path });
    let answer = session.call("assess_code_quality", arguments).await.structured_content.unwrap();
    assert_eq!(answer["quality_score"], 1.0, "{answer:#}");
    assert_eq!(answer["onex_compliance"]["violations"], json!([]));
    let arguments = json!({ "content": "x = 1", "language": "cobol" });
    assert_eq!(session.call("assess_code_quality", arguments).await.is_error, Some(true));
    session.close().await;
}

#[tokio::test]
async fn a_failure_is_a_result_that_says_why() {
    let session = Session::open().await;
    let failures = [
        json!({}),
        json!({ "contract_description": "x", "node_type": "Effect", "output_path": "a.py" }),
        json!({ "contract_description": "x", "node_type": "Effect", "output_path": "/etc/x.py" }),
        json!({ "contract_description": "x", "node_type": "Widget", "output_path": "/x" }),
        json!({ "contract_description": "x", "node_type": "Effect", "output_path": "/x", "y": 1 }),
        json!({ "task_id": "../x" }),
        json!({ "description": 7 }),
    ];
    let mut said = Vec::new();
    for arguments in failures {
        let result = session.call("agent_coder", arguments).await;
        assert_eq!(result.is_error, Some(true));
        said.push(result.structured_content.unwrap().to_string());
    }
    expect![[r#"
        {"error":"arguments: missing field `contract_description`"}
        {"error":"a.py: the path must be absolute"}
        {"error":"/etc/x.py: the path is not inside a workspace"}
        {"error":"arguments: unknown variant `Widget`, expected one of `Effect`, `Compute`, `Reducer`, `Orchestrator`"}
        {"error":"arguments: unknown field `y`, expected one of `contract_description`, `node_type`, `output_path`, `context_files`, `validation_level`, `pre_gathered_context`"}
        {"error":"arguments: task_id is not a task id"}
        {"error":"arguments: description is not a text of at most 100000 characters"}"#]].assert_eq(&said.join("\n"));
    assert!(!Path::new("/etc/x.py").exists());
    let unknown = session.client.call_tool(CallToolRequestParams::new("agent_unknown")).await;
    assert!(unknown.is_err());
    session.close().await;
}

#[tokio::test]
async fn a_stopped_server_ends_its_tasks() {
    let workspaces = Workspaces::new([]).unwrap();
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let transport = EmbeddedArchon::new(workspaces).connect(&tasks, stop.clone());
    let client = ().serve(transport).await.unwrap();
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    client.waiting().await.unwrap();
}

#[test]
fn schemas_name_every_argument() {
    for tool in super::tools::list() {
        let schema = serde_json::to_value(&*tool.input_schema).unwrap();
        assert_eq!(schema["type"], "object", "{schema:#}");
        if ![super::tools::HEALTH, super::tools::ASSESS].contains(&&*tool.name) {
            let properties = schema["properties"].as_object().unwrap();
            assert!(properties.contains_key("task_id"), "{schema:#}");
            assert!(properties.contains_key("description"), "{schema:#}");
            assert!(properties.contains_key("pre_gathered_context"), "{schema:#}");
            assert!(!schema.to_string().contains("$ref"), "{schema:#}");
        }
    }
}
