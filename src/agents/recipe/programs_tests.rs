//! Steps that run programs, outputs of earlier tasks, and tools that change while recipes run.

use std::{collections::BTreeMap, sync::Arc};

use expect_test::expect;
use rmcp::model::CallToolResult;
use serde_json::{Value, json};

use super::{
    agent::{Links, RecipeAgent, Unready},
    read::read,
    testing::{Ground, attempt, run},
};
use crate::{
    agents::command::{CommandHost, CommandRunner, GuardProgram},
    model::{AgentName, TaskId},
    ports::{AgentBackend as _, AttemptCall, UpstreamOutput, UpstreamWish},
    upstream::{
        Era,
        testing::{StillClock, TestServer, memory_upstream},
    },
};

/// A runner without a guard that could be started.
fn runner() -> CommandRunner {
    let guard =
        GuardProgram { program: "/nowhere".into(), arguments: Vec::new(), open_files: None };
    let host =
        CommandHost { guard, state_dir: "/state".into(), clock: Arc::new(StillClock::default()) };
    let passed_on = |_: &[String]| vec![("PATH".to_owned(), "/bin".into())];
    CommandRunner { host, dir: "/".into(), passed_on }
}

fn agent(recipe: &Value, server: TestServer, runner: Option<CommandRunner>) -> RecipeAgent {
    let recipe = read("mine", recipe).unwrap_or_else(|faults| panic!("{faults:?}"));
    let (own, workspaces) = (memory_upstream(server, Era::Legacy), Ground::new().workspaces);
    let links = Links { own, others: BTreeMap::new(), workspaces, runner };
    RecipeAgent::new(&AgentName::new("coder"), Arc::new(recipe), links)
}

fn program(argv: &[&str], is_optional: bool) -> Value {
    json!({
        "steps": [{ "id": "code", "optional": is_optional, "on_error": "continue",
                    "generate": { "with": "command", "argv": argv, "text": "{{ input.n }}" } }],
        "output": "{{ steps.code.error }}",
    })
}

async fn unfit(agent: &RecipeAgent) -> String {
    let Err(Unready::Unfit(faults)) = agent.look().await else { panic!("it fits") };
    faults.join("\n")
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named_before_anything_runs() {
    let server = || TestServer::echo(&[]);
    let missing = program(&["no-such-program"], false);
    expect!["step code runs the program no-such-program, which is not installed: it is not on PATH (/bin)"]
        .assert_eq(&unfit(&agent(&missing, server(), Some(runner()))).await);
    expect!["step code runs a program, which cannot be done here"]
        .assert_eq(&unfit(&agent(&missing, server(), None)).await);
    let optional = agent(&program(&["no-such-program"], true), server(), Some(runner()));
    expect![[
        r#""it runs the program no-such-program, which is not installed: it is not on PATH (/bin)""#
    ]]
    .assert_eq(&run(&optional, &json!({})).await.unwrap().to_string());
    let there = agent(&program(&["sh", "{{ input.n }}"], false), server(), Some(runner()));
    let said = run(&there, &json!({})).await.unwrap().to_string();
    assert!(said.contains("failed to start a guard"), "{said}");
}

#[test]
fn what_is_wrong_with_a_program_is_told_with_its_place() {
    let recipe = json!({
        "steps": [
            { "id": "a", "generate": { "with": "command", "argv": [] } },
            { "id": "b", "generate": { "with": "command", "argv": "sh" } },
            { "id": "c", "generate": { "with": "command", "argv": ["sh"], "text": "{{ step }}",
                                       "working_directory": "src", "timeout_seconds": 0 } },
        ],
        "output": {},
    });
    let faults: Vec<_> =
        read("mine", &recipe).unwrap_err().iter().map(ToString::to_string).collect();
    expect![[r#"
        recipes.mine.steps[0].generate.argv: must name a program
        recipes.mine.steps[1]: invalid type: string "sh", expected a sequence
        recipes.mine.steps[2].generate.working_directory: must be an absolute path
        recipes.mine.steps[2].generate.timeout_seconds: must be above 0 and at most 86400
        recipes.mine.steps[2].generate.text: unknown name `step`; did you mean `steps`?"#]]
    .assert_eq(&faults.join("\n"));
}

#[tokio::test]
async fn what_earlier_tasks_answered_is_there_where_a_recipe_asks_for_it() {
    let recipe = |text: &str| {
        json!({ "steps": [{ "id": "a", "generate": { "with": "template", "text": text } }],
                "output": "{{ steps.a.value }}" })
    };
    let wish = |text: &str| agent(&recipe(text), TestServer::echo(&[]), None).upstream_wish();
    assert_eq!(wish("{{ input.deps }}"), UpstreamWish::None);
    let text = "{{ deps[\"plan-1\"].output.title }}, {{ deps.review.output }}: \
                {% for it in deps %}{{ it }}{% if deps[it].direct %}!{% endif %} {% endfor %}";
    assert_eq!(wish(text), UpstreamWish::All);
    let output = |id: &str, output: Value, is_direct| UpstreamOutput {
        task_id: TaskId::new(id),
        output,
        is_direct,
    };
    let upstream = vec![
        output("plan-1", json!({ "title": "a plan" }), false),
        output("review", json!("good"), true),
    ];
    let call = AttemptCall { upstream, ..attempt(&json!({})) };
    let agent = agent(&recipe(text), TestServer::echo(&[]), None);
    assert_eq!(agent.run(call).await.unwrap(), "a plan, good: plan-1 review! ");
    let failure = run(&agent, &json!({})).await.unwrap_err();
    assert_eq!(&*failure.message, "step a: generate: undefined value");
}

#[tokio::test]
async fn tools_that_change_between_attempts_are_compared_again() {
    let server = TestServer::new(&["look", "write"], |call| async move {
        call.peer.notify_tool_list_changed().await.unwrap();
        Ok(CallToolResult::structured(json!({ "tool": call.tool })))
    });
    let recipe = json!({
        "steps": [{ "id": "a", "call": "look" },
                  { "id": "b", "call": "write", "optional": true, "on_error": "continue" }],
        "output": "{{ [steps.a.value.tool, steps.b.ok] }}",
    });
    let agent = agent(&recipe, server.clone(), None);
    assert_eq!(run(&agent, &json!({})).await.unwrap(), json!(["look", true]));
    server.set_tools(&["look"]);
    assert_eq!(run(&agent, &json!({})).await.unwrap(), json!(["look", false]));
    server.set_tools(&["write"]);
    let failure = run(&agent, &json!({})).await.unwrap_err();
    expect![[r#"recipe mine cannot run any more: step a calls look, which upstream "embedded" does not have"#]]
        .assert_eq(&failure.message);
}
