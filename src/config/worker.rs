//! What the settings say of agents whose workers pull, and what of it goes together.

use serde::{Deserialize, Serialize};

use super::{error::ConfigError, layer::Merged};

/// How often a worker that pulls is to show up unless the settings say otherwise, in seconds.
const HEARTBEAT_SECONDS: f64 = 300.0;

/// How an agent's tasks get to those who do them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Worker {
    /// Workers claim them.
    Pull,
}

/// Fills in how often workers are to show up, and refuses agents that somebody else serves, too.
pub(super) fn check(
    merged: &mut Merged,
    faults: &mut Vec<ConfigError>,
    warnings: &mut Vec<String>,
) {
    for agent in merged.names("agents") {
        let key = |field: &str| format!("agents.{agent}.{field}");
        let heartbeat = key("heartbeat_seconds");
        if merged.get(&key("worker")).is_none() {
            if let Some((_, source)) = merged.get(&heartbeat) {
                let message = "is only for agents with `worker: pull`";
                faults.push(ConfigError::new(source.clone(), &heartbeat, message));
            }
            continue;
        }
        let inner = key("");
        let others = |it: &str| {
            let field = it.strip_prefix(&inner).unwrap_or_default();
            ["tool", "upstream", "recipe", "allow"].contains(&field)
                || field.split('.').next() == Some("command")
        };
        for (other, _, source) in merged.iter().filter(|it| others(it.0)) {
            let message =
                "cannot go with `worker: pull`: workers do the agent's tasks, and nobody else";
            faults.push(ConfigError::new(source.clone(), other, message));
        }
        let built_in = || (HEARTBEAT_SECONDS.into(), super::error::Source::BuiltIn);
        merged.fill(&heartbeat, built_in);
        warnings.extend(short_of_time(merged, &agent));
    }
}

/// An attempt that ends before a heartbeat is due is probably not what was meant.
fn short_of_time(merged: &Merged, agent: &str) -> Option<String> {
    let seconds = |key: &str| Some((key.to_owned(), merged.get(key)?.0.as_f64()?));
    let (_, heartbeat) = seconds(&format!("agents.{agent}.heartbeat_seconds"))?;
    let own = seconds(&format!("agents.{agent}.timeout_seconds"));
    let (key, timeout) = own.or_else(|| seconds("dispatcher.timeout_seconds"))?;
    (timeout <= heartbeat).then(|| {
        format!(
            "{key} is {timeout} s, waiting for a worker included, and workers of agent {agent} \
             show up every {heartbeat} s: set agents.{agent}.timeout_seconds to more"
        )
    })
}
