//! An agent that is a recipe: looks whether its tools are there, and runs it.

use std::{collections::BTreeMap, sync::Arc};

use futures::{
    FutureExt as _,
    future::{BoxFuture, join_all},
};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::{
    time::{Instant, timeout},
    try_join,
};

use super::{
    super::{call::cancelled, command::CommandRunner, directory::BIND_TIMEOUT},
    act::Tools,
    fit::{fit, fit_programs},
    plan::{Place, Recipe},
    run::run,
};
use crate::{
    confine::Workspaces,
    model::{AgentName, Failure, FailureCode},
    ports::{AgentBackend, AttemptCall, UpstreamWish},
    upstream::{ToolInfo, Upstream, UpstreamError},
};

/// What stands in place of an upstream's name where a recipe calls nothing of its own.
const NO_UPSTREAM: &str = "recipe";

/// Runs a recipe with the tools of upstreams.
#[derive(Debug)]
pub(in crate::agents) struct RecipeAgent {
    recipe: Arc<Recipe>,
    links: Links,
    lane: String,
    /// Guards what the last look at the lists of tools came to; held for the moment of reading or
    /// replacing it.
    seen: Mutex<Option<Seen>>,
}

/// What a recipe reaches.
#[derive(Clone, Debug)]
pub(in crate::agents) struct Links {
    pub(in crate::agents) own: Arc<Upstream>,
    /// The others that the recipe names.
    pub(in crate::agents) others: BTreeMap<String, Arc<Upstream>>,
    pub(in crate::agents) workspaces: Workspaces,
    /// What runs programs.
    pub(in crate::agents) runner: CommandRunner,
}

/// Why a recipe cannot run now.
#[derive(Debug)]
pub(in crate::agents) enum Unready {
    /// Its upstream does not say what it has.
    Down(Failure),
    /// Its upstreams lack what it calls: a sentence each.
    Unfit(Vec<String>),
}

type Lists = Vec<Arc<[ToolInfo]>>;

#[derive(Clone, Debug)]
struct Seen {
    lists: Lists,
    /// The optional steps whose tools are not there.
    missing: Arc<[String]>,
}

impl Links {
    pub(super) fn find(&self, place: &Place) -> Option<&Arc<Upstream>> {
        match place {
            Place::Own => Some(&self.own),
            Place::Other(name) => self.others.get(name),
        }
    }
}

impl RecipeAgent {
    pub(in crate::agents) fn new(agent: &AgentName, recipe: Arc<Recipe>, links: Links) -> Self {
        let place = if recipe.calls_own() { links.own.name() } else { NO_UPSTREAM };
        let lane = format!("{place}/{agent}");
        Self { recipe, links, lane, seen: Mutex::default() }
    }

    /// The recipe's name.
    pub(in crate::agents) fn name(&self) -> &str {
        &self.recipe.name
    }

    /// Compares the recipe with the lists of tools, again only when one has changed.
    ///
    /// An upstream besides its own that does not answer is no hindrance; the step will tell.
    pub(in crate::agents) async fn look(&self) -> Result<(), Unready> {
        self.missing(None).await.map(|_| ())
    }

    /// Asks all for their lists at once: its own upstream, within an attempt, which ends at
    /// `until`, as often as for a call; the others once, and not for long.
    async fn missing(&self, until: Option<Instant>) -> Result<Arc<[String]>, Unready> {
        let own = async {
            if !self.recipe.calls_own() {
                return Ok(None);
            }
            let own = list(&self.links.own, until).await.map_err(|it| Unready::Down(it.into()))?;
            Ok(Some((Place::Own, Arc::clone(&self.links.own), own)))
        };
        let others = self.links.others.clone().into_iter().map(|(name, upstream)| async move {
            let list = timeout(BIND_TIMEOUT, upstream.tools()).await.ok()?.ok()?;
            Some((Place::Other(name), upstream, list))
        });
        let (own, others) = try_join!(own, join_all(others).map(Ok))?;
        let found = own.into_iter().chain(others.into_iter().flatten());
        let (mut lists, mut places) = (Vec::new(), Vec::new());
        for (place, upstream, list) in found {
            lists.push(list);
            places.push((place, upstream));
        }
        if let Some(seen) = self.seen.lock().as_ref().filter(|it| are_same(&it.lists, &lists)) {
            return Ok(Arc::clone(&seen.missing));
        }
        let mut faults = fit_programs(&self.recipe, &self.links.runner);
        let mut missing = Vec::new();
        for ((place, upstream), tools) in places.iter().zip(&lists) {
            match fit(&self.recipe, place, upstream.name(), tools) {
                Ok(steps) => missing.extend(steps),
                Err(found) => faults.extend(found),
            }
        }
        if !faults.is_empty() {
            return Err(Unready::Unfit(faults));
        }
        let missing: Arc<[String]> = missing.into();
        *self.seen.lock() = Some(Seen { lists, missing: Arc::clone(&missing) });
        Ok(missing)
    }

    async fn attempt(&self, call: AttemptCall) -> Result<Value, Failure> {
        let until = Instant::now() + call.timeout;
        let look = Box::pin(self.missing(Some(until)));
        let missing = call.cancelled.run_until_cancelled(look).await.ok_or_else(cancelled)?;
        let missing = missing.map_err(|it| it.into_failure(self.name()))?;
        let (recipe, links) = (&*self.recipe, &self.links);
        // What steps do listens by itself, and is noted when it has come to its end.
        Box::pin(run(&Tools { recipe, links, call: &call, until, missing })).await
    }
}

impl AgentBackend for RecipeAgent {
    fn run(&self, call: AttemptCall) -> BoxFuture<'_, Result<Value, Failure>> {
        Box::pin(self.attempt(call))
    }

    fn lane(&self) -> &str {
        &self.lane
    }

    fn upstream_wish(&self) -> UpstreamWish {
        if self.recipe.sees_deps { UpstreamWish::All } else { UpstreamWish::None }
    }

    /// The recipe, every place that it reaches and every program that it runs. What is in this
    /// process changes with the program.
    fn binding(&self) -> String {
        let others =
            self.links.others.values().map(|it| it.identity()).collect::<Vec<_>>().join(" ");
        let own = if self.recipe.calls_own() { self.links.own.identity() } else { String::new() };
        let digest = &self.recipe.digest;
        let programs = self.recipe.programs().map(|it| self.links.runner.describe(&it.1.command));
        let programs = programs.collect::<Vec<_>>().join("\n");
        let version = env!("CARGO_PKG_VERSION");
        format!("{}\n{own} {others}\n{digest}\n{programs}\n{version}", self.lane)
    }
}

impl Unready {
    fn into_failure(self, recipe: &str) -> Failure {
        match self {
            Self::Down(failure) => failure,
            Self::Unfit(faults) => {
                let message = format!("recipe {recipe} cannot run any more: {}", faults.join("; "));
                UpstreamError::new(FailureCode::UpstreamProtocol, &message).into()
            }
        }
    }
}

async fn list(
    upstream: &Upstream,
    until: Option<Instant>,
) -> Result<Arc<[ToolInfo]>, UpstreamError> {
    match until {
        None => upstream.tools().await,
        Some(until) => {
            upstream.tools_for_call(until.saturating_duration_since(Instant::now())).await
        }
    }
}

fn are_same(ours: &Lists, theirs: &Lists) -> bool {
    ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(it, other)| Arc::ptr_eq(it, other))
}
