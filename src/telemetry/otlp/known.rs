//! What the settings say of those that spans name: where upstreams are, and whose models agents
//! use.

use std::collections::BTreeMap;

use reqwest::Url;

use crate::config::{CommandProgram, Settings};

/// By the names in the settings.
#[derive(Clone, Debug, Default)]
pub struct Known {
    servers: BTreeMap<String, Place>,
    models: BTreeMap<String, Model>,
}

/// Host and port.
type Place = (String, Option<u16>);

/// The models behind an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Model {
    /// Whose they are, in the words of OpenTelemetry's conventions.
    pub(super) provider: &'static str,
    /// Which one is asked for, where the settings say it.
    pub(super) name: Option<String>,
}

impl Known {
    /// Reads the settings.
    pub fn of(settings: &Settings) -> Self {
        let servers = settings.upstreams.iter();
        let servers =
            servers.filter_map(|(name, it)| Some((name.clone(), place(it.url.as_ref()?)?)));
        let commands = settings.agents.iter();
        let commands = commands.filter_map(|(name, it)| Some((name, it.command.as_ref()?)));
        let models = commands.filter_map(|(name, it)| {
            let model = Model { provider: provider(it.program)?, name: it.model.clone() };
            Some((name.clone(), model))
        });
        Self { servers: servers.collect(), models: models.collect() }
    }

    /// Host and port of an upstream.
    pub(super) fn server(&self, upstream: &str) -> Option<(&str, Option<u16>)> {
        self.servers.get(upstream).map(|(host, port)| (host.as_str(), *port))
    }

    /// What is behind an agent, where it is known: that of upstreams, workers and other programs is
    /// their own business.
    pub(super) fn model(&self, agent: &str) -> Option<&Model> {
        self.models.get(agent)
    }
}

fn place(url: &str) -> Option<Place> {
    let url = Url::parse(url).ok()?;
    Some((url.host_str()?.to_owned(), url.port_or_known_default()))
}

fn provider(program: CommandProgram) -> Option<&'static str> {
    match program {
        CommandProgram::Claude => Some("anthropic"),
        CommandProgram::Codex => Some("openai"),
        CommandProgram::Gemini => Some("gcp.gemini"),
        CommandProgram::Custom => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_addresses() {
        let expected = |host: &str, port| Some((host.to_owned(), Some(port)));
        assert_eq!(place("https://h/mcp"), expected("h", 443));
        assert_eq!(place("http://[::1]:7/mcp"), expected("[::1]", 7));
        assert_eq!(place("no"), None);
    }
}
