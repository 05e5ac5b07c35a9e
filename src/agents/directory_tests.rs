//! Who serves an agent, by what the settings say and upstreams have.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    command::{CommandHost, CommandSetting, Commands, GuardProgram, Program},
    directory::{AgentSetting, Agents, AgentsSettings},
    pull::PullWorkers,
    recipe::{
        Recipes,
        testing::{Form, StandIn, busy_at_first, run, runner},
    },
    tool,
};
use crate::{
    confine::Workspaces,
    model::{ARCHON, AgentName, FailureCode, Millis},
    ports::{AgentDirectory as _, Clock},
    upstream::{
        Archon, ArchonChoice, Era,
        testing::{HttpHost, StillClock, TestServer, http_upstream, memory_upstream},
    },
};

fn agents(archon: ArchonChoice, setting: AgentSetting) -> Agents {
    let other = memory_upstream(TestServer::echo(&["review_code"]), Era::Auto);
    let settings = AgentsSettings {
        agents: BTreeMap::from([(AgentName::new("reviewer"), setting)]),
        upstreams: BTreeMap::from([("other".to_owned(), other)]),
        archon: Archon::new(archon, Arc::new(StillClock::default())),
        ..bare()
    };
    Agents::new(settings)
}

/// Nothing but an embedded Archon without tools.
fn bare() -> AgentsSettings {
    let embedded = memory_upstream(TestServer::echo(&[]), Era::Legacy);
    let choice = ArchonChoice::Configured(Arc::clone(&embedded));
    AgentsSettings {
        agents: BTreeMap::new(),
        upstreams: BTreeMap::new(),
        archon: Archon::new(choice, Arc::new(StillClock::default())),
        embedded,
        recipes: Recipes::default(),
        workspaces: Workspaces::new([]).unwrap(),
        workers: None,
        runner: runner(),
        commands: Commands::default(),
    }
}

fn with_tools(tools: &[&str]) -> Agents {
    let archon = memory_upstream(TestServer::echo(tools), Era::Legacy);
    agents(ArchonChoice::Configured(archon), AgentSetting::default())
}

async fn bound(agents: &Agents, agent: &str) -> Result<String, String> {
    let binding = agents.bind(&AgentName::new(agent)).await.map_err(|it| it.to_string())?;
    let output = tool::testing::run(&*binding.backend).await.unwrap();
    Ok(output["tool"].as_str().unwrap().to_owned())
}

async fn free_address() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string()
}

#[tokio::test]
async fn an_agent_is_bound_to_the_tool_of_its_name() {
    let all = with_tools(&["coder", "debug", "agent_coder", "agent_debug_intelligence", "qa"]);
    assert_eq!(bound(&all, "coder").await.as_deref(), Ok("agent_coder"));
    assert_eq!(
        bound(&all, "agent_debug_intelligence").await.as_deref(),
        Ok("agent_debug_intelligence")
    );
    assert_eq!(bound(&all, "qa").await.as_deref(), Ok("qa"));
    let short = with_tools(&["coder", "debug"]);
    assert_eq!(bound(&short, "coder").await.as_deref(), Ok("coder"));
    assert_eq!(bound(&short, "debug").await.as_deref(), Ok("debug"));
}

#[tokio::test]
async fn the_settings_go_before_the_name() {
    let archon = || {
        let server = TestServer::echo(&["reviewer", "review_code"]);
        ArchonChoice::Configured(memory_upstream(server, Era::Legacy))
    };
    let tool = Some("review_code".to_owned());
    let setting = AgentSetting { tool: tool.clone(), ..AgentSetting::default() };
    assert_eq!(bound(&agents(archon(), setting), "reviewer").await.as_deref(), Ok("review_code"));
    let upstream = Some("other".to_owned());
    let setting = AgentSetting { upstream: upstream.clone(), ..AgentSetting::default() };
    assert!(bound(&agents(archon(), setting), "reviewer").await.is_err());
    let setting = AgentSetting { tool, upstream, ..AgentSetting::default() };
    assert_eq!(bound(&agents(archon(), setting), "reviewer").await.as_deref(), Ok("review_code"));
}

#[tokio::test]
async fn agents_of_one_upstream_have_lanes_of_their_own() {
    let all = with_tools(&["coder", "qa"]);
    for (agent, lane) in [("coder", "embedded/coder"), ("qa", "embedded/qa")] {
        let binding = all.bind(&AgentName::new(agent)).await.unwrap();
        assert_eq!(binding.backend.lane(), lane);
    }
}

#[tokio::test]
async fn a_missing_tool_or_upstream_is_named() {
    let error = bound(&with_tools(&["rag_search"]), "coder").await.unwrap_err();
    let expected = "agent \"coder\" needs one of the tools agent_coder, coder, \
                    assess_code_quality, archon_menu, rag_search_knowledge_base, and upstream \
                    \"archon\" has none of them";
    assert_eq!(error, expected);
    let setting = AgentSetting { upstream: Some("gone".to_owned()), ..AgentSetting::default() };
    let archon = memory_upstream(TestServer::echo(&[]), Era::Legacy);
    let agents = agents(ArchonChoice::Configured(archon), setting);
    assert!(bound(&agents, "reviewer").await.unwrap_err().contains("\"gone\""));
}

#[tokio::test]
async fn the_agent_tool_is_another_one_with_other_upstreams() {
    let binding = async |archon: &str, other: &str| {
        let setting = AgentSetting { allow: vec!["*".to_owned()], ..AgentSetting::default() };
        let choice = ArchonChoice::Configured(http_upstream(archon));
        let settings = AgentsSettings {
            agents: BTreeMap::from([(AgentName::new("tool"), setting)]),
            upstreams: BTreeMap::from([("other".to_owned(), http_upstream(other))]),
            archon: Archon::new(choice, Arc::new(StillClock::default())),
            ..bare()
        };
        let binding = Agents::new(settings).bind(&AgentName::new("tool")).await.unwrap();
        binding.backend.binding()
    };
    let first = binding("http://one/mcp", "http://two/mcp").await;
    assert_eq!(first, binding("http://one/mcp", "http://two/mcp").await);
    assert_ne!(first, binding("http://one/mcp", "http://two/mcp?project=2").await);
    assert_ne!(first, binding("http://three/mcp", "http://two/mcp").await);
}

#[test]
fn programs_and_workers_need_no_upstream() {
    let guard =
        GuardProgram { program: "/nowhere".into(), arguments: Vec::new(), open_files: None };
    let clock = Arc::new(StillClock::default());
    let host = CommandHost { guard, state_dir: "/state".into(), clock: Arc::clone(&clock) as _ };
    let program = CommandSetting::new(Program::Claude, "/".into());
    let pulled = BTreeMap::from([(AgentName::new("pulled"), Millis(1_000))]);
    let agents = Agents::new(AgentsSettings {
        commands: Commands::new(host, BTreeMap::from([(AgentName::new("program"), program)])),
        workers: Some(PullWorkers::new(pulled, clock)),
        ..bare()
    });
    let needed = |name: &str| agents.upstream_of(&AgentName::new(name));
    assert_eq!([needed("program"), needed("pulled")], [None, None]);
    assert_eq!(needed("coder").as_deref(), Some(ARCHON));
}

#[tokio::test]
async fn e2e_the_agent_tool_calls_what_it_was_bound_to_and_warns_of_what_it_may_call() {
    let address = free_address().await;
    let bind = async |archon: &Arc<Archon>, allow: &str| {
        let setting = AgentSetting { allow: vec![allow.to_owned()], ..AgentSetting::default() };
        let agents = BTreeMap::from([(AgentName::new("tool"), setting)]);
        let settings = AgentsSettings { agents, archon: Arc::clone(archon), ..bare() };
        Agents::new(settings).bind(&AgentName::new("tool")).await.unwrap()
    };
    let remote = http_upstream(&format!("http://{address}/mcp"));
    let embedded = memory_upstream(TestServer::echo(&["look"]), Era::Legacy);
    let clock = Arc::new(StillClock::default());
    let shared = Arc::clone(&clock) as Arc<dyn Clock>;
    let archon = Archon::new(ArchonChoice::Default { remote, embedded }, shared);
    let first = bind(&archon, "archon/*").await;
    assert_eq!(first.warnings.len(), 1);
    assert!(bind(&archon, "other/*").await.warnings.is_empty());

    let _host = HttpHost::start_at(TestServer::echo(&["see"]), &address).await;
    clock.advance(30_000);
    let second = bind(&archon, "archon/*").await;
    assert!(second.warnings.is_empty());
    assert_ne!(first.backend.binding(), second.backend.binding());
    for (binding, tool) in [(first, "look"), (second, "see")] {
        let input = serde_json::json!({ "tool": tool });
        assert_eq!(run(&*binding.backend, &input).await.unwrap()["tool"], tool);
    }
}

#[tokio::test]
async fn e2e_an_unreachable_archon_is_bound_and_looked_for_at_each_attempt() {
    let address = free_address().await;
    let archon = http_upstream(&format!("http://{address}/mcp"));
    let agents = agents(ArchonChoice::Configured(archon), AgentSetting::default());
    let binding = agents.bind(&AgentName::new("coder")).await.unwrap();
    assert!(binding.warnings.is_empty());
    let failure = tool::testing::run(&*binding.backend).await.unwrap_err();
    assert_eq!(failure.code, FailureCode::UpstreamUnavailable);
    let _host = HttpHost::start_at(TestServer::echo(&["coder"]), &address).await;
    let output = tool::testing::run(&*binding.backend).await.unwrap();
    assert_eq!(output["tool"], "coder");
}

#[tokio::test]
async fn e2e_a_recipe_that_calls_nothing_of_its_upstream_does_not_depend_on_it() {
    let recipe = serde_json::json!({
        "steps": [{ "id": "a", "generate": { "with": "template", "text": "done" } }],
        "output": "{{ steps.a.value }}",
    });
    let recipes = BTreeMap::from([("mine".to_owned(), recipe)]);
    let bind = async |choice: ArchonChoice| {
        let setting = AgentSetting { recipe: Some("mine".to_owned()), ..AgentSetting::default() };
        let settings = AgentsSettings {
            agents: BTreeMap::from([(AgentName::new("qa"), setting)]),
            archon: Archon::new(choice, Arc::new(StillClock::default())),
            recipes: Recipes::read(&recipes).unwrap(),
            ..bare()
        };
        Agents::new(settings).bind(&AgentName::new("qa")).await.unwrap()
    };
    let remote = http_upstream(&format!("http://{}/mcp", free_address().await));
    let configured = bind(ArchonChoice::Configured(Arc::clone(&remote))).await;
    let embedded = memory_upstream(TestServer::echo(&[]), Era::Legacy);
    let unconfigured = bind(ArchonChoice::Default { remote, embedded }).await;
    assert!(unconfigured.warnings.is_empty());
    assert_eq!(unconfigured.backend.binding(), configured.backend.binding());
    assert_eq!(unconfigured.backend.lane(), "recipe/qa");
}

#[tokio::test]
async fn e2e_an_archon_that_comes_later_is_known_by_its_tools_then() {
    let address = free_address().await;
    let archon = http_upstream(&format!("http://{address}/mcp"));
    let agents = agents(ArchonChoice::Configured(archon), AgentSetting::default());
    let binding = agents.bind(&AgentName::new("research")).await.unwrap();
    let input = serde_json::json!({ "query": "x" });
    let failure = run(&*binding.backend, &input).await.unwrap_err();
    assert_eq!(failure.code, FailureCode::UpstreamUnavailable);
    let standin = StandIn::start_at(Form::ArchonV1, &[], &address).await;
    assert_eq!(run(&*binding.backend, &input).await.unwrap()["query"], "x");
    assert!(standin.called().contains(&"rag_search_knowledge_base".to_owned()));
}

#[tokio::test]
async fn e2e_an_attempt_asks_for_the_tools_as_often_as_for_a_call() {
    // Once for binding, and once in the attempt.
    let (_server, archon) = busy_at_first(2).await;
    let agents = agents(ArchonChoice::Configured(archon), AgentSetting::default());
    let binding = agents.bind(&AgentName::new("coder")).await.unwrap();
    let input = serde_json::json!({});
    assert_eq!(run(&*binding.backend, &input).await.unwrap(), "fine");
}

#[tokio::test]
async fn e2e_the_embedded_archon_serves_until_another_one_does() {
    let address = free_address().await;
    let remote = http_upstream(&format!("http://{address}/mcp"));
    let embedded = memory_upstream(TestServer::echo(&["agent_coder"]), Era::Legacy);
    let clock = Arc::new(StillClock::default());
    let shared = Arc::clone(&clock) as Arc<dyn Clock>;
    let settings = AgentsSettings {
        archon: Archon::new(ArchonChoice::Default { remote, embedded }, shared),
        ..bare()
    };
    let agents = Agents::new(settings);
    let coder = AgentName::new("coder");
    let binding = agents.bind(&coder).await.unwrap();
    let expected = format!(
        "no Archon answers on http://{address} and none is configured: the embedded Archon \
         serves; its coder writes scaffolds, not finished code"
    );
    assert_eq!(binding.warnings, std::slice::from_ref(&expected));
    assert_eq!(bound(&agents, "coder").await.as_deref(), Ok("agent_coder"));

    let _host = HttpHost::start_at(TestServer::echo(&["coder"]), &address).await;
    clock.advance(29_999);
    assert_eq!(agents.bind(&coder).await.unwrap().warnings, [expected]);
    clock.advance(1);
    assert!(agents.bind(&coder).await.unwrap().warnings.is_empty());
    assert_eq!(bound(&agents, "coder").await.as_deref(), Ok("coder"));
}
