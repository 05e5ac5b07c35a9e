//! Every recipe there is: those of the settings, and those that are shipped.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use serde_json::Value;

use super::{
    hooks::Hooks,
    plan::Recipe,
    read::{RecipeFault, read},
};
use crate::model::{AgentName, text};

/// The recipes by name; a recipe of the settings goes before a shipped one of the same name.
#[derive(Clone, Debug, Default)]
pub struct Recipes {
    own: BTreeMap<String, Arc<Recipe>>,
    hooks: Arc<Hooks>,
}

/// A shipped recipe, and when it is found by itself.
#[derive(Debug)]
pub(in crate::agents) struct Shipped {
    pub(in crate::agents) name: &'static str,
    /// Which agent it does the work of.
    pub(in crate::agents) agent: &'static str,
    /// The tool that tells that an upstream is of its form.
    pub(in crate::agents) marker: &'static str,
    yaml: &'static str,
}

/// The name that no recipe can have.
const HOOKS: &str = "hooks";
/// How many recipes may stand on each other's shoulders.
const EXTENDS_MAX: usize = 8;

macro_rules! shipped {
    ($name:literal, $agent:expr, $marker:literal) => {
        Shipped {
            name: $name,
            agent: $agent,
            marker: $marker,
            yaml: include_str!(concat!("shipped/", $name, ".yaml")),
        }
    };
}

/// In the order in which they are looked for (contract, section 5).
pub(in crate::agents) static SHIPPED: [Shipped; 7] = [
    shipped!("omninode_coder", AgentName::CODER, "assess_code_quality"),
    shipped!("omninode_debug", AgentName::DEBUG, "assess_code_quality"),
    shipped!("omninode_gateway_coder", AgentName::CODER, "archon_menu"),
    shipped!("omninode_gateway_debug", AgentName::DEBUG, "archon_menu"),
    shipped!("archon_coder", AgentName::CODER, "rag_search_knowledge_base"),
    shipped!("archon_debug", AgentName::DEBUG, "rag_search_knowledge_base"),
    shipped!("archon_research", AgentName::RESEARCH, "rag_search_knowledge_base"),
];

/// The shipped recipes as they are written.
static WRITTEN: LazyLock<BTreeMap<&str, Value>> = LazyLock::new(|| {
    let read = |it: &'static Shipped| Some((it.name, serde_saphyr::from_str(it.yaml).ok()?));
    SHIPPED.iter().filter_map(read).collect()
});

/// The shipped recipes, ready to run; read when the first is needed.
static READY: LazyLock<BTreeMap<&str, Arc<Recipe>>> = LazyLock::new(|| {
    let none = BTreeMap::new();
    let ready = |it: &'static Shipped| {
        let written = unfold(WRITTEN.get(it.name)?, &none, 0).ok()?;
        Some((it.name, Arc::new(read(it.name, &written).ok()?)))
    };
    SHIPPED.iter().filter_map(ready).collect()
});

impl Recipes {
    /// Reads the recipes of the settings, by name; what is named `hooks` are the hooks.
    ///
    /// # Errors
    /// Everything that is wrong with any of them.
    pub fn read(settings: &BTreeMap<String, Value>) -> Result<Self, Vec<RecipeFault>> {
        let (mut own, mut faults) = (BTreeMap::new(), Vec::new());
        let hooks = settings.get(HOOKS).map(Hooks::read).transpose();
        let hooks = hooks.map_err(|found| faults.extend(found)).ok().flatten();
        for (name, value) in settings.iter().filter(|it| it.0 != HOOKS) {
            let unfolded = unfold(value, settings, 0).map_err(|message| {
                let path = format!("recipes.{name}.extends");
                vec![RecipeFault { path, message }]
            });
            match unfolded.and_then(|it| read(name, &it)) {
                Ok(recipe) => {
                    own.insert(name.clone(), Arc::new(recipe));
                }
                Err(found) => faults.extend(found),
            }
        }
        if faults.is_empty() {
            Ok(Self { own, hooks: hooks.unwrap_or_default().into() })
        } else {
            Err(faults)
        }
    }

    /// The upstreams that recipes of the settings name, each with the recipe.
    pub fn upstreams(&self) -> impl Iterator<Item = (&str, &str)> {
        let of_recipes = self.own.iter().flat_map(|(name, recipe)| {
            let named = recipe.upstream().into_iter().chain(recipe.other_upstreams());
            named.map(|it| (name.as_str(), it))
        });
        of_recipes.chain(self.hooks.upstreams().map(|it| (HOOKS, it)))
    }

    /// The variables that recipes of the settings pass on to programs, each with the recipe.
    pub fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        self.own.iter().flat_map(|(name, recipe)| {
            let named = recipe.programs().flat_map(|it| &it.1.command.env);
            named.map(|it| (name.as_str(), it.as_str()))
        })
    }

    /// Whether there is a recipe of this name.
    pub fn has(&self, name: &str) -> bool {
        self.own.contains_key(name) || SHIPPED.iter().any(|it| it.name == name)
    }

    /// Every name there is.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.own.keys().map(String::as_str).chain(SHIPPED.iter().map(|it| it.name))
    }

    pub(in crate::agents) fn hooks(&self) -> &Arc<Hooks> {
        &self.hooks
    }

    pub(in crate::agents) fn get(&self, name: &str) -> Option<Arc<Recipe>> {
        self.own.get(name).or_else(|| READY.get(name)).cloned()
    }
}

/// Lays a recipe over the one that it extends; whole fields replace each other.
fn unfold(
    value: &Value,
    settings: &BTreeMap<String, Value>,
    depth: usize,
) -> Result<Value, String> {
    let Some(fields) = value.as_object().filter(|it| it.contains_key("extends")) else {
        return Ok(value.clone());
    };
    let name = fields["extends"].as_str().ok_or("must be the name of a recipe")?;
    if depth == EXTENDS_MAX {
        return Err(format!("goes on for more than {EXTENDS_MAX} recipes; is it a circle?"));
    }
    // A recipe that extends a shipped one of its own name means that one.
    let base = settings.get(name).filter(|it| *it != value).or_else(|| WRITTEN.get(name));
    let base = base.ok_or_else(|| {
        let known = settings.keys().map(String::as_str).chain(WRITTEN.keys().copied());
        let meant = text::did_you_mean_key(name, known);
        format!("there is no recipe {}{meant}", text::escape(name))
    })?;
    let base = unfold(base, settings, depth + 1)?;
    let mut whole = base.as_object().cloned().unwrap_or_default();
    let own = fields.iter().filter(|it| it.0 != "extends");
    whole.extend(own.map(|(name, it)| (name.clone(), it.clone())));
    Ok(Value::Object(whole))
}
