//! Steps that run programs, outputs of earlier tasks, and tools that change while recipes run.

use std::{collections::BTreeMap, sync::Arc};

use expect_test::expect;
use futures::channel;
use rmcp::model::CallToolResult;
use serde_json::{Value, json};
use tokio::{sync::mpsc, time::Instant};

use super::{
    agent::{Links, RecipeAgent, Unready},
    read::read,
    testing::{Ground, attempt, run, runner},
};
use crate::{
    agents::command::{CommandRunner, GuardProgram},
    model::{AgentName, FailureCode, TaskId},
    ports::{AgentBackend as _, AttemptCall, Heartbeat, UpstreamOutput, UpstreamWish},
    upstream::{
        Era, Upstream, UpstreamSettings, UpstreamTransport,
        testing::{StillClock, TestServer, memory_upstream},
    },
};

fn agent(recipe: &Value, server: TestServer, runner: CommandRunner) -> RecipeAgent {
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
        .assert_eq(&unfit(&agent(&missing, server(), runner())).await);
    let optional = agent(&program(&["no-such-program"], true), server(), runner());
    expect![[
        r#""it runs the program no-such-program, which is not installed: it is not on PATH (/bin)""#
    ]]
    .assert_eq(&run(&optional, &json!({})).await.unwrap().to_string());
    let there = agent(&program(&["sh", "{{ input.n }}"], false), server(), runner());
    let said = run(&there, &json!({})).await.unwrap().to_string();
    assert!(said.contains("failed to start a guard"), "{said}");
}

#[tokio::test]
async fn e2e_the_runs_of_a_recipe_that_is_given_up_come_to_their_end_and_are_noted() {
    let mut runner = runner();
    let arguments = ["-c", "echo up; cat > /dev/null"].map(str::to_owned).to_vec();
    runner.host.guard = GuardProgram { program: "/bin/sh".into(), arguments, open_files: None };
    let mut recipe = program(&["sh"], false);
    let mut other = recipe["steps"][0].clone();
    other["id"] = json!("other");
    recipe["steps"].as_array_mut().unwrap().push(other);
    recipe["steps"][0]["group"] = json!("both");
    recipe["steps"][1]["group"] = json!("both");
    let agent = agent(&recipe, TestServer::echo(&[]), runner);
    let (calls, mut noted) = mpsc::unbounded_channel();
    let heartbeat = Heartbeat::heard();
    let call = AttemptCall { calls, heartbeat: heartbeat.clone(), ..attempt(&json!({})) };
    let cancelled = call.cancelled.clone();
    let give_up = async {
        heartbeat.beaten().await;
        cancelled.cancel();
    };
    let (result, ()) = tokio::join!(agent.run(call), give_up);
    assert_eq!(result.unwrap_err().code, FailureCode::Cancelled);
    let codes: Vec<_> = std::iter::from_fn(|| noted.try_recv().ok()).map(|it| it.code).collect();
    assert_eq!(codes, [Some(FailureCode::Cancelled); 2]);
}

#[test]
fn the_binding_changes_with_the_program_that_is_found_and_where_it_runs() {
    let binding = |change: fn(&mut CommandRunner)| {
        let mut runner = runner();
        change(&mut runner);
        agent(&program(&["sh"], false), TestServer::echo(&[]), runner).binding()
    };
    let usual = binding(|_| ());
    assert_eq!(usual, binding(|it| it.host.state_dir = "/elsewhere".into()));
    assert_ne!(usual, binding(|it| it.dir = "/tmp".into()));
    let other = binding(|it| it.passed_on = |_| vec![("PATH".to_owned(), "/usr/bin".into())]);
    assert_ne!(usual, other);
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
    let wish = |text: &str| agent(&recipe(text), TestServer::echo(&[]), runner()).upstream_wish();
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
    let agent = agent(&recipe(text), TestServer::echo(&[]), runner());
    assert_eq!(agent.run(call).await.unwrap(), "a plan, good: plan-1 review! ");
    let failure = run(&agent, &json!({})).await.unwrap_err();
    assert_eq!(&*failure.message, "step a: generate: undefined value");
}

/// An upstream that takes a connection and says nothing.
fn silent() -> Arc<Upstream> {
    let connect = Arc::new(|| {
        let (to_server, from_client) = channel::mpsc::channel(64);
        let (to_client, from_server) = channel::mpsc::channel(64);
        tokio::spawn(async move {
            let _open = (from_client, to_client);
            std::future::pending::<()>().await;
        });
        (to_server, from_server)
    });
    let transport = UpstreamTransport::InMemory { connect };
    let settings = UpstreamSettings::new("silent", transport, Era::Legacy);
    Upstream::new(settings, Arc::new(StillClock::default()))
}

#[tokio::test(start_paused = true)]
async fn others_that_say_nothing_hold_an_attempt_up_for_a_moment_only() {
    let step = |name: &str| json!({ "id": name, "when": "false", "call": "x", "upstream": name });
    let recipe = json!({
        "steps": [{ "id": "a", "call": "look" }, step("one"), step("two")],
        "output": "{{ steps.a.value.tool }}",
    });
    let own = memory_upstream(TestServer::echo(&["look"]), Era::Legacy);
    let others = ["one", "two"].map(|it| (it.to_owned(), silent())).into();
    let links = Links { own, others, workspaces: Ground::new().workspaces, runner: runner() };
    let recipe = Arc::new(read("mine", &recipe).unwrap());
    let agent = RecipeAgent::new(&AgentName::new("coder"), recipe, links);
    let started = Instant::now();
    assert_eq!(run(&agent, &json!({})).await.unwrap(), "look");
    assert_eq!(started.elapsed().as_secs(), 5);
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
    let agent = agent(&recipe, server.clone(), runner());
    assert_eq!(run(&agent, &json!({})).await.unwrap(), json!(["look", true]));
    server.set_tools(&["look"]);
    assert_eq!(run(&agent, &json!({})).await.unwrap(), json!(["look", false]));
    server.set_tools(&["write"]);
    let failure = run(&agent, &json!({})).await.unwrap_err();
    expect![[r#"recipe mine cannot run any more: step a calls look, which upstream "embedded" does not have"#]]
        .assert_eq(&failure.message);
}
