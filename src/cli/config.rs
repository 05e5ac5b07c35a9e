//! `config`: the settings in force.

use serde_json::{Map, Value};

use super::output::{Exit, Outcome, print, print_json, say};
use crate::config::{Explained, Loaded};

/// Prints the settings as JSON, or one a line with the layer it came from; then a default that is
/// another for one of the named commands has a line for each.
pub fn config(loaded: &Loaded, of_commands: &[(&str, Loaded)], explain: bool) -> Outcome {
    for it in &loaded.warnings {
        say(&format!("warning: {it}"));
    }
    if explain {
        let lines: Vec<_> = loaded.explain.iter().flat_map(|it| lines(it, of_commands)).collect();
        print(&lines.join("\n"))?;
        return Ok(Exit::Success);
    }
    let flat = loaded.explain.iter().map(|it| (it.key.clone(), it.value.clone()));
    print_json(&Value::Object(flat.collect::<Map<_, _>>()))?;
    Ok(Exit::Success)
}

fn lines(explained: &Explained, of_commands: &[(&str, Loaded)]) -> Vec<String> {
    let differs = |(command, loaded): &(&str, Loaded)| {
        let own = loaded.explain.iter().find(|it| it.key == explained.key)?;
        (own != explained).then(|| format!("{own}  for {command}"))
    };
    std::iter::once(explained.to_string()).chain(of_commands.iter().filter_map(differs)).collect()
}
