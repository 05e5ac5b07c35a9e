//! `config`: the settings in force.

use serde_json::{Map, Value};

use super::output::{Exit, Outcome, print, print_json, say};
use crate::config::Loaded;

/// Prints the settings as JSON, or one a line with the layer it came from.
pub fn config(loaded: &Loaded, explain: bool) -> Outcome {
    for it in &loaded.warnings {
        say(&format!("warning: {it}"));
    }
    if explain {
        let lines: Vec<_> = loaded.explain.iter().map(ToString::to_string).collect();
        print(&lines.join("\n"))?;
        return Ok(Exit::Success);
    }
    let flat = loaded.explain.iter().map(|it| (it.key.clone(), it.value.clone()));
    print_json(&Value::Object(flat.collect::<Map<_, _>>()))?;
    Ok(Exit::Success)
}
