//! Whether what a recipe asks for is there: tools and their arguments, by `tools/list`, and
//! programs.

use serde_json::{Map, Value};

use super::{
    super::command::CommandRunner,
    plan::{Place, Program, Recipe, Step},
};
use crate::{model::text, upstream::ToolInfo};

/// Compares what `recipe` calls at `place` with the `tools` there.
///
/// Answers the ids of the optional steps whose tools are missing.
///
/// # Errors
/// One sentence for each call that cannot succeed.
pub(super) fn fit(
    recipe: &Recipe,
    place: &Place,
    upstream: &str,
    tools: &[ToolInfo],
) -> Result<Vec<String>, Vec<String>> {
    if let (Place::Own, Some(gateway)) = (place, &recipe.gateway) {
        let needed = Needed { step: "gateway", tool: &gateway.tool, upstream };
        return needed.check(tools, &names(&gateway.args)).map(|()| Vec::new());
    }
    let (mut missing, mut faults) = (Vec::new(), Vec::new());
    for (step, call) in recipe.calls().filter(|it| it.1.place == *place) {
        if call.is_optional && find(tools, &call.tool).is_none() {
            missing.push(step.id.clone());
            continue;
        }
        let needed = Needed { step: &step.id, tool: &call.tool, upstream };
        faults.extend(needed.check(tools, &names(&call.args)).err().into_iter().flatten());
    }
    if faults.is_empty() { Ok(missing) } else { Err(faults) }
}

/// Looks for the programs that `recipe` runs; a sentence for each that is not there.
pub(super) fn fit_programs(recipe: &Recipe, runner: &CommandRunner) -> Vec<String> {
    let needed = recipe.programs().filter(|it| !it.1.is_optional);
    let look = |(step, program): (&Step, &Program)| {
        let found = runner.look(&program.command);
        found.err().map(|said| text::escape(&format!("step {} runs {said}", step.id)))
    };
    needed.filter_map(look).collect()
}

struct Needed<'a> {
    step: &'a str,
    tool: &'a str,
    upstream: &'a str,
}

impl Needed<'_> {
    fn check(&self, tools: &[ToolInfo], args: &[&str]) -> Result<(), Vec<String>> {
        let Self { step, tool, upstream } = self;
        let Some(info) = find(tools, tool) else {
            let meant = text::did_you_mean_key(tool, tools.iter().map(|it| it.name.as_str()));
            return Err(vec![format!(
                "step {step} calls {tool}, which upstream \"{upstream}\" does not have{meant}"
            )]);
        };
        let mut faults = Vec::new();
        for arg in unknown(&info.input_schema, args) {
            faults.push(format!(
                "step {step} gives {tool} the argument {arg}, which it does not take"
            ));
        }
        for arg in required(&info.input_schema).filter(|it| !args.contains(it)) {
            let arg = text::escape(&text::cut(arg, 80));
            faults.push(format!(
                "step {step} does not give {tool} the argument {arg}, which it needs"
            ));
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }
}

fn find<'t>(tools: &'t [ToolInfo], name: &str) -> Option<&'t ToolInfo> {
    tools.iter().find(|it| it.name == name)
}

fn names<T>(args: &[(String, T)]) -> Vec<&str> {
    args.iter().map(|it| it.0.as_str()).collect()
}

/// The arguments that the schema has no place for; a schema may leave room for any.
fn unknown<'a>(schema: &Map<String, Value>, args: &[&'a str]) -> Vec<&'a str> {
    let takes_any = schema.get("additionalProperties").is_some_and(|it| *it != Value::Bool(false));
    match schema.get("properties").and_then(Value::as_object) {
        Some(properties) if !takes_any => {
            args.iter().copied().filter(|it| !properties.contains_key(*it)).collect()
        }
        Some(_) | None => Vec::new(),
    }
}

fn required(schema: &Map<String, Value>) -> impl Iterator<Item = &str> {
    schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}
