//! An agent that nobody bound: what it is, the upstream's list of tools says at each attempt.

use std::sync::Arc;

use futures::future::BoxFuture;
use serde_json::Value;

use super::{
    call::cancelled,
    recipe::{RecipeAgent, Unready},
    tool::{ToolAgent, pick},
};
use crate::{
    model::{AgentName, Failure},
    ports::{AgentBackend, AttemptCall, BindError, UpstreamWish},
    upstream::{ToolInfo, Upstream},
};

/// A tool of the agent's own name, else the first recipe whose marker the upstream has.
#[derive(Debug)]
pub(super) struct Detected {
    upstream: Arc<Upstream>,
    tool: ToolAgent,
    /// Each with the tool that tells that it fits.
    recipes: Vec<(&'static str, RecipeAgent)>,
}

impl Detected {
    pub(super) fn new(
        upstream: Arc<Upstream>,
        tool: ToolAgent,
        recipes: Vec<(&'static str, RecipeAgent)>,
    ) -> Self {
        Self { upstream, tool, recipes }
    }

    /// Refuses a recipe whose form the upstream has, but not all of its tools.
    pub(super) async fn check(
        &self,
        agent: &AgentName,
        tools: &[ToolInfo],
    ) -> Result<(), BindError> {
        let Some(recipe) = self.recipe(tools) else { return Ok(()) };
        let Err(Unready::Unfit(faults)) = recipe.look().await else { return Ok(()) };
        let (agent, recipe) = (agent.clone(), recipe.name().to_owned());
        Err(BindError::Unfit { agent, recipe, faults })
    }

    /// The recipe that serves, unless a tool does.
    fn recipe(&self, tools: &[ToolInfo]) -> Option<&RecipeAgent> {
        if pick(self.tool.candidates(), tools).is_some() {
            return None;
        }
        let has = |marker: &str| tools.iter().any(|it| it.name == marker);
        self.recipes.iter().find(|it| has(it.0)).map(|it| &it.1)
    }

    async fn attempt(&self, call: AttemptCall) -> Result<Value, Failure> {
        let tools = self.upstream.tools_for_call(call.timeout);
        let tools = call.cancelled.run_until_cancelled(tools).await.ok_or_else(cancelled)??;
        match self.recipe(&tools) {
            Some(recipe) => recipe.run(call).await,
            None => self.tool.run(call).await,
        }
    }
}

impl AgentBackend for Detected {
    fn run(&self, call: AttemptCall) -> BoxFuture<'_, Result<Value, Failure>> {
        Box::pin(self.attempt(call))
    }

    fn lane(&self) -> &str {
        self.tool.lane()
    }

    /// What any of them wants, for a recipe of the settings may stand for a shipped one.
    fn upstream_wish(&self) -> UpstreamWish {
        let wishes = self.recipes.iter().map(|it| it.1.upstream_wish());
        wishes.fold(UpstreamWish::None, |all, it| if it == UpstreamWish::None { all } else { it })
    }

    /// It may be another one at the next attempt, so all that it may be count.
    fn binding(&self) -> String {
        let recipes = self.recipes.iter().map(|it| it.1.binding());
        std::iter::once(self.tool.binding()).chain(recipes).collect::<Vec<_>>().join("\n")
    }
}
