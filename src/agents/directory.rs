//! Finds who serves an agent: workers, a program, a recipe, or a tool, in this order.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    any_tool::AnyToolAgent,
    command::{CommandRunner, Commands},
    detect::Detected,
    pull::PullWorkers,
    recipe::{Board, FindUpstream, Links, Recipe, RecipeAgent, Recipes, SHIPPED, Unready},
    tool::{ToolAgent, pick},
};
use crate::{
    confine::Workspaces,
    model::AgentName,
    ports::{AgentBackend, AgentDirectory, BindError, Binding, Spans},
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
    /// What runs the programs of recipes.
    pub runner: Option<CommandRunner>,
    /// Where agents wait for workers that pull; these go before all others.
    pub workers: Option<PullWorkers>,
    /// The Archon in this process, which recipes know as `embedded`.
    pub embedded: Arc<Upstream>,
    /// The recipes of the settings, and those that are shipped.
    pub recipes: Recipes,
    /// Where recipes may read and write.
    pub workspaces: Workspaces,
}

/// What the settings say of one agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentSetting {
    /// The tool that does its work, instead of one of the agent's own name.
    pub tool: Option<String>,
    /// The recipe that does its work, instead of a tool.
    pub recipe: Option<String>,
    /// The upstream that has the tool; `archon` unless set.
    pub upstream: Option<String>,
    /// For the agent `tool`: what it may call, as patterns of `UPSTREAM/TOOL`.
    pub allow: Vec<String>,
}

/// The agents, whoever serves them.
#[derive(Debug)]
pub struct Agents {
    settings: Arc<AgentsSettings>,
    board: Option<Board>,
}

/// The longest that binding waits for a list of tools; the attempts look again.
const BIND_TIMEOUT: Duration = Duration::from_secs(5);
/// The name of the upstream that is always there.
const ARCHON: &str = "archon";
/// The name of the upstream in this process.
const EMBEDDED: &str = "embedded";

impl Agents {
    /// Makes the directory; nothing is connected yet.
    pub fn new(settings: AgentsSettings) -> Self {
        Self { settings: Arc::new(settings), board: None }
    }

    /// The program that is `agent`, where it is one and is installed.
    pub fn program_of(&self, agent: &AgentName) -> Option<PathBuf> {
        self.settings.commands.program_of(agent)
    }

    /// The name of the upstream without which `agent` does nothing, if there is one.
    pub fn upstream_of(&self, agent: &AgentName) -> Option<String> {
        let setting = self.settings.agents.get(agent).cloned().unwrap_or_default();
        let recipe = setting.recipe.as_ref().and_then(|it| self.settings.recipes.get(it));
        let is_any = agent.as_str() == AgentName::TOOL && setting.tool.is_none();
        match recipe {
            Some(recipe) => recipe.calls_own().then(|| own_upstream(&setting, &recipe).to_owned()),
            None if is_any => None,
            None => Some(setting.upstream.unwrap_or_else(|| ARCHON.to_owned())),
        }
    }

    /// Has the hooks of the settings called from now on, by a task of `tasks` that ends when the
    /// directory and all that it bound are gone, or when `stop` fires. The spans of these calls
    /// are told to `spans`.
    #[must_use]
    pub fn with_hooks(
        mut self,
        tasks: &TaskTracker,
        spans: Option<Arc<dyn Spans>>,
        stop: CancellationToken,
    ) -> Self {
        let upstreams = Arc::clone(&self.settings) as Arc<dyn FindUpstream>;
        let hooks = self.settings.recipes.hooks();
        if let Some((board, telling)) = Board::new(hooks, upstreams, spans, stop) {
            tasks.spawn(telling);
            self.board = Some(board);
        }
        self
    }

    /// Where workers pull, if there are agents that wait for some.
    pub fn workers(&self) -> Option<PullWorkers> {
        self.settings.workers.clone()
    }

    async fn find(&self, agent: &AgentName) -> Result<Binding, BindError> {
        let setting = self.settings.agents.get(agent).cloned().unwrap_or_default();
        let pulled = self.settings.workers.as_ref().and_then(|it| it.bind(agent));
        let pulled = pulled.map(|backend| Ok(Binding { backend, warnings: Vec::new() }));
        let here = pulled.or_else(|| self.settings.commands.bind(agent));
        let is_any = agent.as_str() == AgentName::TOOL && setting.tool.is_none();
        let bound = match (here, &setting.recipe) {
            (Some(bound), _) => bound,
            (None, Some(recipe)) => self.bind_recipe(agent, &setting, recipe).await,
            (None, None) if is_any => self.bind_any_tool(agent, &setting).await,
            (None, None) => self.bind_tool(agent, setting).await,
        };
        let Some(board) = &self.board else { return bound };
        bound.map(|it| Binding { backend: board.watch(it.backend), ..it })
    }

    /// Binds the agent that calls what its input names, of what the settings allow.
    async fn bind_any_tool(
        &self,
        agent: &AgentName,
        setting: &AgentSetting,
    ) -> Result<Binding, BindError> {
        let unusable = |problem: String| BindError::Unusable { agent: agent.clone(), problem };
        if setting.allow.is_empty() {
            let problem = "agents.tool.allow names no tool that it may call, as UPSTREAM/TOOL";
            return Err(unusable(problem.to_owned()));
        }
        let upstreams = Arc::clone(&self.settings) as Arc<dyn FindUpstream>;
        let backend = AnyToolAgent::new(upstreams, &setting.allow, &self.settings.places().await);
        let backend = Arc::new(backend.map_err(unusable)?);
        Ok(Binding { backend, warnings: Vec::new() })
    }

    /// Binds what the settings say, whatever the upstream has.
    async fn bind_recipe(
        &self,
        agent: &AgentName,
        setting: &AgentSetting,
        name: &str,
    ) -> Result<Binding, BindError> {
        let unfit = |faults: Vec<String>| BindError::Unfit {
            agent: agent.clone(),
            recipe: name.to_owned(),
            faults,
        };
        let recipe = self.settings.recipes.get(name);
        let recipe = recipe.ok_or_else(|| unfit(vec!["there is no such recipe".to_owned()]))?;
        let upstream = own_upstream(setting, &recipe);
        let Some((upstream, warnings)) = self.settings.upstream(upstream).await else {
            return Err(unfit(vec![format!("there is no upstream \"{upstream}\"")]));
        };
        let backend = self.recipe_agent(agent, recipe, upstream).await;
        match tokio::time::timeout(BIND_TIMEOUT, backend.look()).await {
            Ok(Err(Unready::Unfit(faults))) => Err(unfit(faults)),
            // Without a list, because the upstream is down or late, the attempts find out.
            Ok(Ok(()) | Err(Unready::Down(_))) | Err(_) => {
                Ok(Binding { backend: Arc::new(backend), warnings })
            }
        }
    }

    /// Binds the named tool, or whatever there is of what an agent can be by itself.
    async fn bind_tool(
        &self,
        agent: &AgentName,
        setting: AgentSetting,
    ) -> Result<Binding, BindError> {
        let is_named = setting.tool.is_some();
        let candidates = setting.tool.map_or_else(|| tools_named_like(agent), |it| vec![it]);
        let shipped = SHIPPED.iter().filter(|it| !is_named && it.agent == agent.as_str());
        let shipped: Vec<_> = shipped.collect();
        let name = setting.upstream.as_deref().unwrap_or(ARCHON);
        let markers = shipped.iter().map(|it| it.marker.to_owned());
        let looked_for: Vec<String> = candidates.iter().cloned().chain(markers).collect();
        let refuse = || BindError::NoTool {
            agent: agent.clone(),
            upstream: name.to_owned(),
            looked_for: looked_for.clone(),
        };
        let (upstream, warnings) = self.settings.upstream(name).await.ok_or_else(refuse)?;
        // Without a list, because the upstream is down or late, the attempts find out.
        let list = tokio::time::timeout(BIND_TIMEOUT, upstream.tools()).await;
        let tools = list.ok().and_then(Result::ok);
        if tools.as_ref().is_some_and(|it| pick(&looked_for, it).is_none()) {
            return Err(refuse());
        }
        let tool = ToolAgent::new(agent, Arc::clone(&upstream), candidates);
        let mut recipes = Vec::new();
        for it in shipped {
            if let Some(recipe) = self.settings.recipes.get(it.name) {
                let upstream = Arc::clone(&upstream);
                let backend = self.recipe_agent(agent, recipe, upstream).await;
                recipes.push((it.marker, backend));
            }
        }
        if recipes.is_empty() {
            return Ok(Binding { backend: Arc::new(tool), warnings });
        }
        let backend = Detected::new(upstream, tool, recipes);
        if let Some(tools) = tools {
            backend.check(agent, &tools).await?;
        }
        Ok(Binding { backend: Arc::new(backend) as Arc<dyn AgentBackend>, warnings })
    }

    async fn recipe_agent(
        &self,
        agent: &AgentName,
        recipe: Arc<Recipe>,
        own: Arc<Upstream>,
    ) -> RecipeAgent {
        let mut others = BTreeMap::new();
        for name in recipe.other_upstreams() {
            if let Some((upstream, _)) = self.settings.upstream(name).await {
                others.insert(name.to_owned(), upstream);
            }
        }
        let (workspaces, runner) = (self.settings.workspaces.clone(), self.settings.runner.clone());
        let links = Links { own, others, workspaces, runner };
        RecipeAgent::new(agent, recipe, links)
    }
}

impl AgentsSettings {
    /// The upstream of this name, and what the user should know about it.
    async fn upstream(&self, name: &str) -> Option<(Arc<Upstream>, Vec<String>)> {
        match (name, self.upstreams.get(name)) {
            (_, Some(upstream)) => Some((Arc::clone(upstream), Vec::new())),
            (ARCHON, None) => Some(self.archon.choose().await),
            (EMBEDDED, None) => Some((Arc::clone(&self.embedded), Vec::new())),
            (_, None) => None,
        }
    }

    /// Stands for where every upstream is.
    async fn places(&self) -> String {
        let (archon, _) = self.archon.choose().await;
        let always = [(ARCHON, &archon), (EMBEDDED, &self.embedded)];
        let named = self.upstreams.iter().map(|(name, it)| (name.as_str(), it));
        let places = always.into_iter().chain(named);
        places.map(|(name, it)| format!("{name} {}", it.identity())).collect::<Vec<_>>().join("\n")
    }
}

impl FindUpstream for AgentsSettings {
    fn find<'a>(&'a self, name: Option<&'a str>) -> BoxFuture<'a, Option<Arc<Upstream>>> {
        Box::pin(async move { Some(self.upstream(name.unwrap_or(ARCHON)).await?.0) })
    }
}

impl AgentDirectory for Agents {
    fn bind<'a>(&'a self, agent: &'a AgentName) -> BoxFuture<'a, Result<Binding, BindError>> {
        Box::pin(self.find(agent))
    }
}

/// The name of the upstream that a recipe calls where its steps name none.
fn own_upstream<'a>(setting: &'a AgentSetting, recipe: &'a Recipe) -> &'a str {
    setting.upstream.as_deref().or_else(|| recipe.upstream()).unwrap_or(ARCHON)
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
    use crate::{
        agents::recipe::testing::{Form, StandIn, busy_at_first, run},
        upstream::{
            ArchonChoice, Era,
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
            runner: None,
            commands: Commands::default(),
        }
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
        let setting = AgentSetting { tool, upstream, ..AgentSetting::default() };
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
    async fn e2e_an_archon_that_comes_later_is_known_by_its_tools_then() {
        let address = free_address().await;
        let archon = http_upstream(&format!("http://{address}/mcp"));
        let agents = agents(ArchonChoice::Configured(archon), AgentSetting::default());
        let binding = agents.bind(&AgentName::new("research")).await.unwrap();
        let input = serde_json::json!({ "query": "x" });
        let failure = run(&*binding.backend, &input).await.unwrap_err();
        assert_eq!(failure.code, crate::model::FailureCode::UpstreamUnavailable);
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
        let shared = Arc::clone(&clock) as Arc<dyn crate::ports::Clock>;
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
}
