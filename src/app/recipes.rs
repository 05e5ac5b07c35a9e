//! Reads the recipes and the conditions of the settings, and says of each fault where it stands.

use crate::{
    agents::{RecipeFault, Recipes},
    config::{ConfigError, ConfigErrors, Environment, Settings, Source},
    model::{ARCHON, EMBEDDED, text},
    plan::Condition,
};

/// The names of upstreams that are always there.
const ALWAYS: [&str; 2] = [ARCHON, EMBEDDED];

/// Reads the recipes, and checks the names by which settings speak of them, and the conditions.
pub(super) fn read(settings: &Settings) -> Result<Recipes, ConfigErrors> {
    let mut faults: Vec<_> = conditions(settings).collect();
    match Recipes::read(&settings.recipes) {
        Ok(recipes) => {
            faults.extend(unknown_upstreams(settings, &recipes));
            faults.extend(unknown_recipes(settings, &recipes));
            faults.extend(kept_back(settings, &recipes));
            if faults.is_empty() { Ok(recipes) } else { Err(ConfigErrors(faults)) }
        }
        Err(of_recipes) => {
            faults.extend(of_recipes.iter().map(|it| error(settings, it)));
            Err(ConfigErrors(faults))
        }
    }
}

/// Conditions that could never be evaluated.
fn conditions(settings: &Settings) -> impl Iterator<Item = ConfigError> {
    settings.agents.iter().filter_map(|(agent, it)| {
        let condition = it.expect.as_ref()?.condition.as_deref()?;
        let faults = Condition::read_of_output(condition).err()?;
        let path = format!("agents.{agent}.expect.condition");
        let message = faults.first().map_or_else(String::new, |it| it.what.clone());
        Some(error(settings, &RecipeFault { path, message }))
    })
}

fn unknown_upstreams<'a>(
    settings: &'a Settings,
    recipes: &'a Recipes,
) -> impl Iterator<Item = ConfigError> {
    let known = settings.upstreams.keys().map(String::as_str);
    let known: Vec<_> = ALWAYS.into_iter().chain(known).collect();
    recipes.upstreams().filter_map(move |(recipe, upstream)| {
        if known.contains(&upstream) {
            return None;
        }
        let meant = text::did_you_mean_key(upstream, known.iter().copied());
        let path = format!("recipes.{recipe}");
        let message = format!("there is no upstream `{}`{meant}", text::escape(upstream));
        Some(error(settings, &RecipeFault { path, message }))
    })
}

fn unknown_recipes<'a>(
    settings: &'a Settings,
    recipes: &'a Recipes,
) -> impl Iterator<Item = ConfigError> {
    settings.agents.iter().filter_map(move |(agent, it)| {
        let recipe = it.recipe.as_deref().filter(|it| !recipes.has(it))?;
        let meant = text::did_you_mean_key(recipe, recipes.names());
        let message = format!("there is no recipe `{recipe}`{meant}");
        let path = format!("agents.{agent}.recipe");
        Some(error(settings, &RecipeFault { path, message }))
    })
}

fn kept_back<'a>(
    settings: &'a Settings,
    recipes: &'a Recipes,
) -> impl Iterator<Item = ConfigError> {
    let named = recipes.variables().filter(|it| !Environment::may_pass_on(it.1));
    named.map(|(recipe, name)| {
        let path = format!("recipes.{recipe}");
        let name = text::escape(name);
        let message = format!("env names {name}: what belongs to a session is not passed on");
        error(settings, &RecipeFault { path, message })
    })
}

/// The fault with the place in the files of what it is about.
fn error(settings: &Settings, fault: &RecipeFault) -> ConfigError {
    let is_about = |key: &str| {
        fault.path.strip_prefix(key).is_some_and(|it| it.is_empty() || it.starts_with('.'))
    };
    let place = settings.sources.iter().find(|it| is_about(it.0)).map(|it| it.1.clone());
    let place = place.unwrap_or(Source::BuiltIn);
    ConfigError { place, key: fault.path.clone(), message: fault.message.clone() }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::config::Flags;

    #[track_caller]
    fn check(settings: &str, expected: &Expect) {
        let dir = tempfile::TempDir::new().unwrap();
        let file = dir.path().join("config.yaml");
        std::fs::write(&file, settings).unwrap();
        let home = dir.path().to_string_lossy().into_owned();
        let environment = Environment::made_up(dir.path(), &file, &[("HOME", &home)]);
        let loaded = Settings::load(&environment, &Flags::default()).unwrap();
        let said = read(&loaded.settings).map_or_else(|it| it.to_string(), |_| "good".to_owned());
        expected.assert_eq(&said.replace(&*dir.path().to_string_lossy(), "@"));
    }

    #[test]
    fn faults_of_recipes_stand_with_their_file_and_line() {
        check("dispatcher: {max_workers: 2}\n", &expect!["good"]);
        check(
            "recipes:
  good: {steps: [{id: a, upstream: embedded, call: x}], output: {}}
  bad: {steps: [{id: a, upstream: archonn, call: x}], output: '{{ step.a }}'}
  hooks: {task_ended: {}}
",
            &expect![[r"
                @/config.yaml:4: recipes.hooks: unknown variant `task_ended`, expected one of `task_queued`, `task_started`, `task_success`, `task_failure`
                @/config.yaml:3: recipes.bad.output: unknown name `step`; did you mean `steps`?"]],
        );
        check(
            "recipes:
  good: {steps: [{id: a, generate: {with: command, argv: [x], env: [X, CLAUDECODE]}}], output: {}}
",
            &expect![[
                r"@/config.yaml:2: recipes.good: env names CLAUDECODE: what belongs to a session is not passed on"
            ]],
        );
        check(
            "recipes: {bad: {steps: []}}
agents:
  coder: {expect: {condition: 'output.n >'}}
  debug: {expect: {condition: '-output.n < 3'}}
",
            &expect![[r"
                @/config.yaml:3: agents.coder.expect.condition: does not parse at column 11: mismatched input '<EOF>' expecting expression
                @/config.yaml:1: recipes.bad: missing field `output`"]],
        );
        check(
            "recipes:
  good: {extends: archon_coder, upstream: archonn}
agents: {reviewer: {recipe: archon_code}, coder: {recipe: good}}
",
            &expect![[r"
                @/config.yaml:2: recipes.good: there is no upstream `archonn`; did you mean `archon`?
                @/config.yaml:3: agents.reviewer.recipe: there is no recipe `archon_code`; did you mean `archon_coder`?"]],
        );
    }
}
