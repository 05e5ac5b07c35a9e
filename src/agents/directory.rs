//! Finds who serves an agent.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use futures::future::BoxFuture;

use super::{
    command::Commands,
    pull::PullWorkers,
    tool::{ToolAgent, pick},
};
use crate::{
    model::AgentName,
    ports::{AgentDirectory, BindError, Binding},
    upstream::{Archon, Upstream},
};

/// The agents of the settings, and where they are found.
#[derive(Debug)]
pub struct AgentsSettings {
    /// What the settings say of agents; built-in ones need not stand here.
    pub agents: BTreeMap<AgentName, AgentSetting>,
    /// The upstreams by name, without `archon`.
    pub upstreams: BTreeMap<String, Arc<Upstream>>,
    /// The upstream named `archon`, which serves every agent that names no other.
    pub archon: Arc<Archon>,
    /// The agents that are programs; these go before all tools.
    pub commands: Commands,
    /// Where agents wait for workers that pull; these go before all others.
    pub workers: Option<PullWorkers>,
}

/// What the settings say of one agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentSetting {
    /// The tool that does its work, instead of one of the agent's own name.
    pub tool: Option<String>,
    /// The upstream that has the tool; `archon` unless set.
    pub upstream: Option<String>,
    /// The longest that one call may take, whatever the task grants.
    pub timeout: Option<Duration>,
}

/// The agents that upstreams serve.
#[derive(Debug)]
pub struct Agents {
    by_name: BTreeMap<AgentName, AgentSetting>,
    upstreams: BTreeMap<String, Arc<Upstream>>,
    archon: Arc<Archon>,
    commands: Commands,
    workers: Option<PullWorkers>,
}

/// The longest that binding waits for a list of tools; the attempts look again.
const BIND_TIMEOUT: Duration = Duration::from_secs(5);
/// The name of the upstream that is always there.
const ARCHON: &str = "archon";

impl Agents {
    /// Makes the directory; nothing is connected yet.
    pub fn new(settings: AgentsSettings) -> Self {
        let AgentsSettings { agents, upstreams, archon, commands, workers } = settings;
        Self { by_name: agents, upstreams, archon, commands, workers }
    }

    /// The program that is `agent`, where it is one and is installed.
    pub fn program_of(&self, agent: &AgentName) -> Option<PathBuf> {
        self.commands.program_of(agent)
    }

    /// Where workers pull, if there are agents that wait for some.
    pub fn workers(&self) -> Option<PullWorkers> {
        self.workers.clone()
    }

    async fn find(&self, agent: &AgentName) -> Result<Binding, BindError> {
        if let Some(backend) = self.workers.as_ref().and_then(|it| it.bind(agent)) {
            return Ok(Binding { backend, warnings: Vec::new() });
        }
        if let Some(found) = self.commands.bind(agent) {
            return found;
        }
        let setting = self.by_name.get(agent).cloned().unwrap_or_default();
        let candidates = setting.tool.map_or_else(|| tools_named_like(agent), |it| vec![it]);
        let name = setting.upstream.as_deref().unwrap_or(ARCHON);
        let refuse = |looked_for: &[String]| BindError::NoTool {
            agent: agent.clone(),
            upstream: name.to_owned(),
            looked_for: looked_for.to_vec(),
        };
        let (upstream, warnings) = match self.upstreams.get(name) {
            Some(upstream) => (Arc::clone(upstream), Vec::new()),
            None if name == ARCHON => self.archon.choose().await,
            None => return Err(refuse(&candidates)),
        };
        // Without a list, because the upstream is down or late, the attempts find out.
        if let Ok(Ok(tools)) = tokio::time::timeout(BIND_TIMEOUT, upstream.tools()).await
            && pick(&candidates, &tools).is_none()
        {
            return Err(refuse(&candidates));
        }
        let backend = ToolAgent::new(agent, upstream, candidates, setting.timeout);
        Ok(Binding { backend: Arc::new(backend), warnings })
    }
}

impl AgentDirectory for Agents {
    fn bind<'a>(&'a self, agent: &'a AgentName) -> BoxFuture<'a, Result<Binding, BindError>> {
        Box::pin(self.find(agent))
    }
}

/// The tools that are an agent by name, in the order of preference.
fn tools_named_like(agent: &AgentName) -> Vec<String> {
    let own = agent.as_str();
    let long = match own {
        AgentName::DEBUG => "agent_debug_intelligence".to_owned(),
        _ => format!("agent_{own}"),
    };
    vec![long, own.to_owned()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::{
        ArchonChoice, Era,
        testing::{HttpHost, StillClock, TestServer, http_upstream, memory_upstream},
    };

    fn agents(archon: ArchonChoice, setting: AgentSetting) -> Agents {
        let other = memory_upstream(TestServer::echo(&["review_code"]), Era::Auto);
        let settings = AgentsSettings {
            agents: BTreeMap::from([(AgentName::new("reviewer"), setting)]),
            upstreams: BTreeMap::from([("other".to_owned(), other)]),
            archon: Archon::new(archon, Arc::new(StillClock::default())),
            commands: Commands::default(),
            workers: None,
        };
        Agents::new(settings)
    }

    fn with_tools(tools: &[&str]) -> Agents {
        let archon = memory_upstream(TestServer::echo(tools), Era::Legacy);
        agents(ArchonChoice::Configured(archon), AgentSetting::default())
    }

    async fn bound(agents: &Agents, agent: &str) -> Result<String, String> {
        let binding = agents.bind(&AgentName::new(agent)).await.map_err(|it| it.to_string())?;
        let output = crate::agents::tool::testing::run(&*binding.backend).await.unwrap();
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
        assert_eq!(
            bound(&agents(archon(), setting), "reviewer").await.as_deref(),
            Ok("review_code")
        );
        let upstream = Some("other".to_owned());
        let setting = AgentSetting { upstream: upstream.clone(), ..AgentSetting::default() };
        assert!(bound(&agents(archon(), setting), "reviewer").await.is_err());
        let setting = AgentSetting { tool, upstream, timeout: None };
        assert_eq!(
            bound(&agents(archon(), setting), "reviewer").await.as_deref(),
            Ok("review_code")
        );
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
        let expected = "agent \"coder\" needs one of the tools agent_coder, coder, and upstream \
                        \"archon\" has none of them";
        assert_eq!(error, expected);
        let setting = AgentSetting { upstream: Some("gone".to_owned()), ..AgentSetting::default() };
        let archon = memory_upstream(TestServer::echo(&[]), Era::Legacy);
        let agents = agents(ArchonChoice::Configured(archon), setting);
        assert!(bound(&agents, "reviewer").await.unwrap_err().contains("\"gone\""));
    }

    #[tokio::test]
    async fn e2e_an_unreachable_archon_is_bound_and_looked_for_at_each_attempt() {
        let address = free_address().await;
        let archon = http_upstream(&format!("http://{address}/mcp"));
        let agents = agents(ArchonChoice::Configured(archon), AgentSetting::default());
        let binding = agents.bind(&AgentName::new("coder")).await.unwrap();
        assert!(binding.warnings.is_empty());
        let failure = crate::agents::tool::testing::run(&*binding.backend).await.unwrap_err();
        assert_eq!(failure.code, crate::model::FailureCode::UpstreamUnavailable);
        let _host = HttpHost::start_at(TestServer::echo(&["coder"]), &address).await;
        let output = crate::agents::tool::testing::run(&*binding.backend).await.unwrap();
        assert_eq!(output["tool"], "coder");
    }

    #[tokio::test]
    async fn e2e_the_embedded_archon_serves_until_another_one_does() {
        let address = free_address().await;
        let remote = http_upstream(&format!("http://{address}/mcp"));
        let embedded = memory_upstream(TestServer::echo(&["agent_coder"]), Era::Legacy);
        let clock = Arc::new(StillClock::default());
        let shared = Arc::clone(&clock) as Arc<dyn crate::ports::Clock>;
        let settings = AgentsSettings {
            agents: BTreeMap::new(),
            upstreams: BTreeMap::new(),
            archon: Archon::new(ArchonChoice::Default { remote, embedded }, shared),
            commands: Commands::default(),
            workers: None,
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
}
