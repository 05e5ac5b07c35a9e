//! Finds who serves an agent: workers, a program, a recipe, or a tool, in this order.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    any_tool::{AnyToolAgent, may_reach},
    command::{CommandRunner, Commands},
    detect::Detected,
    pull::PullWorkers,
    recipe::{Board, FindUpstream, Links, Recipe, RecipeAgent, Recipes, SHIPPED, Unready},
    tool::{ToolAgent, pick},
};
use crate::{
    confine::Workspaces,
    model::{ARCHON, AgentName, EMBEDDED},
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
    pub runner: CommandRunner,
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
pub(super) const BIND_TIMEOUT: Duration = Duration::from_secs(5);

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
        let is_pulled = self.settings.workers.as_ref().is_some_and(|it| it.bind(agent).is_some());
        if is_pulled || self.settings.commands.has(agent) {
            return None;
        }
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
        let mut upstreams = self.settings.upstreams.clone();
        let mut warnings = Vec::new();
        for name in [ARCHON, EMBEDDED] {
            if may_reach(&setting.allow, name)
                && let Some((upstream, said)) = self.settings.upstream(name).await
            {
                upstreams.insert(name.to_owned(), upstream);
                warnings.extend(said);
            }
        }
        let backend = AnyToolAgent::new(upstreams, &setting.allow).map_err(unusable)?;
        Ok(Binding { backend: Arc::new(backend), warnings })
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
        // Who calls nothing there waits for nobody there, and is not warned of it.
        let upstream = if recipe.calls_own() { own_upstream(setting, &recipe) } else { EMBEDDED };
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
