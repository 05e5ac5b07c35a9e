//! Hooks against a stand-in's board.

use std::{collections::BTreeMap, sync::Arc};

use expect_test::{Expect, expect};
use serde_json::{Value, json};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    book::Recipes,
    testing::{Form, Ground, StandIn},
};
use crate::{
    agents::{AgentSetting, Agents, AgentsSettings, command},
    model::AgentName,
    ports::AgentDirectory as _,
    upstream::{
        Archon, ArchonChoice, Era,
        testing::{StillClock, TestServer, memory_upstream},
    },
};

fn hooks() -> Value {
    let update = |status: &str| {
        json!({ "when": "saved.board", "call": "manage_task",
                "args": { "action": "update", "task_id": "{{ saved.board }}", "status": status } })
    };
    json!({
        "task_queued": { "call": "manage_task", "save": { "board": "{{ r.task_id }}" }, "args": {
            "action": "create", "project_id": "p-1", "title": "{{ task.task_id }}",
            "description": "{{ task.description }}", "assignee": "{{ task.agent }}" } },
        "task_started": update("doing"),
        "task_success": update("review"),
        "task_failure": update("todo"),
    })
}

/// Runs one attempt at research with hooks, and answers how it ended and what the board was told.
async fn mirrored(standin: &StandIn, hooks: Value, input: &Value) -> (bool, String) {
    mirrored_of("research", standin, hooks, input).await
}

async fn mirrored_of(
    agent: &str,
    standin: &StandIn,
    hooks: Value,
    input: &Value,
) -> (bool, String) {
    let embedded = memory_upstream(TestServer::echo(&[]), Era::Legacy);
    let choice = ArchonChoice::Configured(Arc::clone(&standin.upstream));
    let (tasks, ground) = (TaskTracker::new(), Ground::new());
    let allowed =
        AgentSetting { allow: vec!["archon/rag_*".to_owned()], ..AgentSetting::default() };
    let agents = Agents::new(AgentsSettings {
        workers: None,
        runner: None,
        commands: command::Commands::default(),
        agents: BTreeMap::from([(AgentName::new(AgentName::TOOL), allowed)]),
        upstreams: BTreeMap::new(),
        archon: Archon::new(choice, Arc::new(StillClock::default())),
        embedded,
        recipes: Recipes::read(&BTreeMap::from([("hooks".to_owned(), hooks)])).unwrap(),
        workspaces: ground.workspaces.clone(),
    });
    let agents = agents.with_hooks(&tasks, None, CancellationToken::new());
    let binding = agents.bind(&AgentName::new(agent)).await.unwrap();
    let mut call = super::testing::attempt(input);
    call.attempt = crate::model::Attempt(1);
    let result = binding.backend.run(call).await;
    drop((agents, binding));
    tasks.close();
    tasks.wait().await;
    let told = standin.told("manage_task");
    let told: Vec<_> = told.iter().map(ToString::to_string).collect();
    (result.is_ok(), told.join("\n"))
}

async fn check(standin: &StandIn, input: &Value, expected: &Expect) {
    let (is_ok, told) = mirrored(standin, hooks(), input).await;
    expected.assert_eq(&format!("ok: {is_ok}\n{told}"));
}

#[tokio::test]
async fn e2e_a_task_is_mirrored_from_its_start_to_its_end() {
    let standin = StandIn::start(Form::ArchonV1).await;
    check(&standin, &json!({ "query": "x" }), &expect![[r#"
        ok: true
        {"action":"create","project_id":"p-1","title":"t-1","description":"write it","assignee":"coder"}
        {"action":"update","task_id":"b-1","status":"doing"}
        {"action":"update","task_id":"b-1","status":"review"}"#]]).await;
    let standin = StandIn::start(Form::ArchonV1).await;
    check(&standin, &json!({}), &expect![[r#"
        ok: false
        {"action":"create","project_id":"p-1","title":"t-1","description":"write it","assignee":"coder"}
        {"action":"update","task_id":"b-1","status":"doing"}
        {"action":"update","task_id":"b-1","status":"todo"}"#]]).await;
}

#[tokio::test]
async fn e2e_a_task_that_calls_any_tool_is_mirrored_too() {
    let standin = StandIn::start(Form::ArchonV1).await;
    let input = json!({ "tool": "rag_search_knowledge_base", "arguments": { "query": "x" } });
    let (is_ok, told) = mirrored_of(AgentName::TOOL, &standin, hooks(), &input).await;
    assert_eq!((is_ok, told.lines().count()), (true, 3), "{told}");
}

#[tokio::test]
async fn e2e_a_board_that_fails_or_lacks_the_tool_fails_no_task() {
    let standin = StandIn::start(Form::ArchonV1).await;
    standin.answer_next("manage_task", json!({ "success": false, "error": "no project" }));
    check(&standin, &json!({ "query": "x" }), &expect![[r#"
        ok: true
        {"action":"create","project_id":"p-1","title":"t-1","description":"write it","assignee":"coder"}"#]]).await;
    let mut unheard_of = hooks();
    unheard_of["task_queued"]["call"] = json!("unheard_of");
    unheard_of["task_started"]["args"]["status"] = json!("{{ saved.board.deeper }}");
    unheard_of["task_success"]["upstream"] = json!("gone");
    let standin = StandIn::start(Form::ArchonV1).await;
    let (is_ok, told) = mirrored(&standin, unheard_of, &json!({ "query": "x" })).await;
    assert_eq!((is_ok, told.as_str()), (true, ""));
}

#[test]
fn faults_of_hooks_are_told_with_their_places() {
    let hooks = json!({
        "task_queued": { "args": {} },
        "task_started": { "call": "x", "when": "input.q", "args": { "a": "{{ r }}" } },
    });
    let faults = Recipes::read(&BTreeMap::from([("hooks".to_owned(), hooks)])).unwrap_err();
    let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
    expect![[r"
        recipes.hooks.task_queued: missing field `call`
        recipes.hooks.task_started.when: unknown name `input`
        recipes.hooks.task_started.args.a: unknown name `r`"]]
    .assert_eq(&faults.join("\n"));
    let hooks = json!({ "task_ended": {} });
    let faults = Recipes::read(&BTreeMap::from([("hooks".to_owned(), hooks)])).unwrap_err();
    expect!["recipes.hooks: unknown variant `task_ended`, expected one of `task_queued`, `task_started`, `task_success`, `task_failure`"].assert_eq(&faults[0].to_string());
}
