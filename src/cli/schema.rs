//! `schema`: the JSON Schemas of the tools.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::Value;

use super::output::{Exit, Outcome, print_json};

/// Prints the schemas by name, or writes them to `dir`, one file each.
pub fn schema(schemas: &BTreeMap<String, Value>, dir: Option<&Path>) -> Outcome {
    let Some(dir) = dir else {
        print_json(schemas)?;
        return Ok(Exit::Success);
    };
    fs::create_dir_all(dir)?;
    for (name, schema) in schemas {
        let mut text = serde_json::to_string_pretty(schema)?;
        text.push('\n');
        fs::write(dir.join(format!("{name}.json")), text)?;
    }
    Ok(Exit::Success)
}
