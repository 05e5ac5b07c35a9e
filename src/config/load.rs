//! The layers brought together, what is missing filled in, and what contradicts itself refused.

use std::{fmt, path::PathBuf};

use serde_json::{Value, json};

use super::{
    command, derive,
    environment::{Environment, Flags, Role},
    error::{ConfigError, ConfigErrors, Source},
    file::{self, Presence},
    keys::{Found, Kind, find},
    layer::{Merged, flatten},
    place::Base,
    server::{self, Server},
    settings::{ARCHON_URL, ArchonSetting, Dispatcher, Limits, Logging, Mcp, Settings},
    supply::SecretText,
    telemetry::{self, Telemetry},
    worker,
};
use crate::model::{ARCHON, AgentName, text};

/// The settings in force, and how they came to be.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings in force.
    pub settings: Settings,
    /// Each value with its source, sorted by key.
    pub explain: Vec<Explained>,
    /// What was mended, or looks like a mistake.
    pub warnings: Vec<String>,
}

/// One value with its source. Shows as `dispatcher.max_workers = 10  (built in)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Explained {
    /// The key, its sections joined by dots.
    pub key: String,
    /// The value in force.
    pub value: Value,
    /// The layer that set it.
    pub source: Source,
}

impl Settings {
    /// Reads every layer and lays the stronger over the weaker.
    pub fn load(environment: &Environment, flags: &Flags) -> Result<Loaded, ConfigErrors> {
        Loading::new(environment, flags).load()
    }
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = match (&self.value, self.value.as_f64()) {
            (Value::String(it), _) => text::escape(it),
            (_, Some(number)) => number.to_string(),
            (other, None) => text::escape(&other.to_string()),
        };
        write!(f, "{} = {value}  ({})", self.key, self.source)
    }
}

struct Loading<'a> {
    environment: &'a Environment,
    flags: &'a Flags,
    merged: Merged,
    workspaces: Vec<(PathBuf, Source)>,
    faults: Vec<ConfigError>,
    warnings: Vec<String>,
}

impl<'a> Loading<'a> {
    fn new(environment: &'a Environment, flags: &'a Flags) -> Self {
        Self {
            environment,
            flags,
            merged: Merged::default(),
            workspaces: Vec::new(),
            faults: Vec::new(),
            warnings: Vec::new(),
        }
    }

    fn load(mut self) -> Result<Loaded, ConfigErrors> {
        let parent = self.environment.parent(&mut self.faults);
        self.find_workspaces();
        self.lay_layers();
        self.derive_places();
        derive::upstreams(&mut self.merged, &mut self.faults);
        server::derive(&mut self.merged, &mut self.faults);
        self.check_agents();
        self.check_checks();
        command::check(&self.merged, &mut self.faults);
        worker::check(&mut self.merged, &mut self.faults, &mut self.warnings);
        self.cap_workers();
        if !self.faults.is_empty() {
            return Err(ConfigErrors(self.faults));
        }
        let trace = self.environment.trace();
        let mut loaded = self.finish()?;
        (loaded.settings.parent, loaded.settings.trace) = (parent, trace);
        Ok(loaded)
    }

    /// Flags, else Claude Code's project, else the working directory.
    fn find_workspaces(&mut self) {
        let base = self.environment.base();
        self.workspaces = if !self.flags.workspaces.is_empty() {
            let source = Source::Flag("--workspace");
            let whole = |it: &PathBuf| (base.dir.join(it).components().collect(), source.clone());
            self.flags.workspaces.iter().map(whole).collect()
        } else if let Some(dir) = self.environment.get("CLAUDE_PROJECT_DIR") {
            let whole = base.dir.join(dir).components().collect();
            vec![(whole, Source::Environment("CLAUDE_PROJECT_DIR"))]
        } else {
            vec![(base.dir, Source::BuiltIn)]
        };
        for (dir, source) in &self.workspaces {
            let shown = text::escape(&dir.to_string_lossy());
            if !dir.is_dir() {
                let message = format!("the workspace {shown} is not a directory");
                self.faults.push(ConfigError::new(source.clone(), "", message));
            } else if dir.parent().is_none() {
                self.warnings
                    .push(format!("the workspace is {shown}, so agents may touch any file"));
            }
        }
    }

    /// Where relative paths in files begin.
    fn base(&self) -> Base {
        let dir = self.workspaces.first().map(|it| it.0.clone()).unwrap_or_default();
        Base { dir, ..self.environment.base() }
    }

    fn lay_layers(&mut self) {
        let (environment, base) = (self.environment, self.base());
        let faults = &mut self.faults;
        let mut weaker = vec![built_in(self.flags.role)];
        weaker.push(file::read(environment.system_file(), Presence::Optional, &base, faults));
        if let Some(path) = environment.user_file() {
            weaker.push(file::read(&path, Presence::Optional, &base, faults));
        }
        let theirs = base.dir.join(".parallel-dispatch.yaml");
        let theirs = file::read(&theirs, Presence::Stranger, &base, faults);
        let mut stronger = Vec::new();
        if let Some(path) = named_file(environment, self.flags) {
            stronger.push(file::read(&path, Presence::Required, &base, faults));
        }
        stronger.push(telemetry::entries(environment, &mut self.warnings));
        stronger.push(environment.entries(faults));
        stronger.push(environment.flag_entries(self.flags, faults));

        let mut trusted = Merged::default();
        weaker.iter().chain(&stronger).for_each(|it| trusted.lay(it));
        weaker.push(file::confine(theirs, &trusted, &base.dir, faults));
        weaker.iter().chain(&stronger).for_each(|it| self.merged.lay(it));
    }

    /// The state directory, and the trace root, which may lie in it.
    fn derive_places(&mut self) {
        if self.merged.get("state_dir").is_none() {
            match state_home(self.environment) {
                Some((dir, source)) => {
                    let dir = dir.join("parallel-dispatch").to_string_lossy().into_owned();
                    self.merged.fill("state_dir", || (dir.into(), source));
                }
                None => self.faults.push(ConfigError::new(
                    Source::BuiltIn,
                    "state_dir",
                    "there is no home directory to keep state in; set PARALLEL_DISPATCH_STATE_DIR",
                )),
            }
        }
        let role = self.flags.role;
        let state_dir = self.merged.get("state_dir").map(|it| PathBuf::from(as_text(it.0)));
        let here = self.environment.current_dir().to_owned();
        let parent = if role == Role::Run { Some(here) } else { state_dir };
        let trace_dir = parent.unwrap_or_default().join("traces").to_string_lossy().into_owned();
        self.merged.fill("dispatcher.trace_dir", || (trace_dir.into(), Source::BuiltIn));
    }

    /// An agent's upstream must be one of the upstreams.
    fn check_agents(&mut self) {
        let upstreams = self.merged.names("upstreams");
        for agent in self.merged.names("agents") {
            let recipe = self.merged.get(&format!("agents.{agent}.recipe"));
            if let (Some(_), Some((_, source))) =
                (recipe, self.merged.get(&format!("agents.{agent}.tool")))
            {
                let message = "says what `recipe` says too; keep one of the two";
                let key = format!("agents.{agent}.tool");
                self.faults.push(ConfigError::new(source.clone(), &key, message));
            }
            self.check_allow(&agent);
            let key = format!("agents.{agent}.upstream");
            let Some((name, source)) = self.merged.get(&key) else {
                continue;
            };
            let name = as_text(name);
            if upstreams.iter().any(|it| it == name) {
                continue;
            }
            let hint = match text::nearest(name, upstreams.iter().map(String::as_str)) {
                Some(nearest) => format!("; did you mean `{nearest}`?"),
                None => format!("; there is {}", upstreams.join(", ")),
            };
            let message = format!("there is no upstream `{name}`{hint}");
            self.faults.push(ConfigError::new(source.clone(), &key, message));
        }
    }

    /// Every other agent is bound to what it calls, whatever it would be allowed; and so is `tool`
    /// once the settings say what it is.
    fn check_allow(&mut self, agent: &str) {
        let key = format!("agents.{agent}.allow");
        let Some((_, source)) = self.merged.get(&key) else { return };
        let bound = ["tool", "recipe"]
            .into_iter()
            .find(|it| self.merged.get(&format!("agents.{agent}.{it}")).is_some());
        let message = match bound {
            _ if agent != AgentName::TOOL => "is only for the agent `tool`".to_owned(),
            Some(field) => format!("does nothing beside `{field}`; keep one of the two"),
            None => return,
        };
        self.faults.push(ConfigError::new(source.clone(), &key, message));
    }

    /// A check needs a command, and an agent's checks must be among them.
    fn check_checks(&mut self) {
        let checks = self.merged.names("checks");
        for name in &checks {
            let key = format!("checks.{name}.argv");
            if self.merged.get(&key).is_none() {
                let section = format!("checks.{name}.");
                let said = self.merged.iter().find(|it| it.0.starts_with(&section));
                let place = said.map_or(Source::BuiltIn, |it| it.2.clone());
                let message = "is missing: a check needs a command";
                self.faults.push(ConfigError::new(place, &key, message));
            }
        }
        for agent in self.merged.names("agents") {
            let key = format!("agents.{agent}.expect.checks");
            let Some((Value::Array(named), source)) = self.merged.get(&key) else { continue };
            let is_known = |it: &&Value| checks.iter().any(|known| known == as_text(it));
            if let Some(unknown) = named.iter().find(|it| !is_known(it)) {
                let message = format!("there is no check `{}`", text::escape(as_text(unknown)));
                self.faults.push(ConfigError::new(source.clone(), &key, message));
            }
        }
    }

    fn cap_workers(&mut self) {
        let limit = self.merged.get("limits.max_workers").map(|it| it.0.clone());
        let (Some(limit), Some((workers, source))) =
            (limit, self.merged.get("dispatcher.max_workers"))
        else {
            return;
        };
        if workers.as_u64() > limit.as_u64() {
            self.warnings.push(format!(
                "dispatcher.max_workers is {workers} ({source}), above limits.max_workers, and \
                 counts as {limit}"
            ));
            self.merged.adjust("dispatcher.max_workers", limit);
        }
    }

    fn finish(self) -> Result<Loaded, ConfigErrors> {
        let mut settings: Settings =
            serde_json::from_value(self.merged.to_value()).map_err(|error| {
                let message = format!("the table of keys and the settings disagree: {error}");
                ConfigErrors(vec![ConfigError::new(Source::BuiltIn, "", message)])
            })?;
        let is_said = |key: &str| self.merged.get(key).is_some_and(|it| *it.1 != Source::BuiltIn);
        if is_said("upstreams.archon.url") || is_said("upstreams.archon.command") {
            settings.archon = ArchonSetting::Configured;
        }
        let is_read_later = |key: &str| {
            key.starts_with("recipes.")
                || key.ends_with(".recipe")
                || key.ends_with(".expect.condition")
        };
        let sources = self.merged.iter().filter(|it| is_read_later(it.0));
        settings.sources = sources.map(|it| (it.0.to_owned(), it.2.clone())).collect();
        let mut explain: Vec<Explained> = self.merged.iter().map(Explained::of).collect();
        explain.extend(self.workspaces.iter().map(explain_workspace));
        settings.workspaces = self.workspaces.into_iter().map(|it| it.0).collect();
        Ok(Loaded { settings, explain, warnings: self.warnings })
    }
}

impl Explained {
    fn of((key, value, source): (&str, &Value, &Source)) -> Self {
        let path: Vec<&str> = key.split('.').collect();
        let is_secret = matches!(find(&path), Found::Key(it) if it.kind == Kind::Secret);
        let hidden = || serde_json::from_value::<SecretText>(value.clone());
        let value = match is_secret.then(hidden) {
            Some(text) => text.map(|it| it.to_string()).unwrap_or_default().into(),
            None => without_query(value),
        };
        Self { key: key.to_owned(), value, source: source.clone() }
    }
}

/// What is shown of an address: its query may hold a key.
fn without_query(value: &Value) -> Value {
    match value.as_str().and_then(|it| it.split_once('?')) {
        Some((address, _)) if address.starts_with("http://") || address.starts_with("https://") => {
            format!("{address}?(hidden)").into()
        }
        _ => value.clone(),
    }
}

fn explain_workspace((dir, source): &(PathBuf, Source)) -> Explained {
    let value = dir.to_string_lossy().into_owned().into();
    Explained { key: "workspace".to_owned(), value, source: source.clone() }
}

fn built_in(role: Role) -> Vec<super::layer::Entry> {
    let mut entries = flatten(&json!({
        "dispatcher": Dispatcher::default(),
        "mcp": Mcp::default(),
        "logging": Logging::default(),
        "limits": Limits::default(),
        "server": Server::default(),
        "telemetry": Telemetry::default(),
        "upstreams": { ARCHON: { "url": ARCHON_URL } },
    }));
    // The trace root depends on the command and on the state directory, which is not known yet.
    entries.retain(|it| it.key != "dispatcher.trace_dir");
    for it in entries.iter_mut().filter(|it| it.key == "logging.level" && role != Role::Serve) {
        it.value = "warn".into();
    }
    entries
}

fn named_file(environment: &Environment, flags: &Flags) -> Option<PathBuf> {
    let said = || environment.get("PARALLEL_DISPATCH_CONFIG").map(PathBuf::from);
    let path = flags.config.clone().or_else(said)?;
    Some(environment.current_dir().join(path))
}

fn state_home(environment: &Environment) -> Option<(PathBuf, Source)> {
    if let Some(dir) = environment.get_dir("XDG_STATE_HOME") {
        return Some((dir, Source::Environment("XDG_STATE_HOME")));
    }
    let home = environment.get_dir("HOME")?;
    Some((home.join(".local/state"), Source::BuiltIn))
}

fn as_text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
