//! What the process was started with: environment variables, working directory, flags.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

use serde_json::Number;

use super::{
    check::check,
    command::{PASSED_ON, may_be_passed_on},
    error::{ConfigError, Source},
    keys::{Found, Kind, find},
    layer::Entry,
    place::Base,
    yaml::Yaml,
};
use crate::model::{ParentTask, TraceContext, redact};

/// The only variables that are ever looked at; the rest may hold secrets.
const VARIABLES: [&str; 25] = [
    "ARCHON_MCP_URL",
    "CLAUDE_PROJECT_DIR",
    "DISPATCH_DEBUG",
    "HOME",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_SDK_DISABLED",
    "OTEL_SERVICE_NAME",
    "OTEL_TRACES_EXPORTER",
    "PARALLEL_DISPATCH_CONFIG",
    "PARALLEL_DISPATCH_MAX_WORKERS",
    ParentTask::VARIABLE,
    "PARALLEL_DISPATCH_STATE_DIR",
    "PARALLEL_DISPATCH_TIMEOUT",
    "PARALLEL_DISPATCH_TRACE_DIR",
    "PATH",
    TraceContext::TRACEPARENT_VARIABLE,
    TraceContext::TRACESTATE_VARIABLE,
    "XDG_CONFIG_HOME",
    "XDG_STATE_HOME",
];

/// The variables that set one key each.
const KEYED: [(&str, &str); 5] = [
    ("ARCHON_MCP_URL", "upstreams.archon.url"),
    ("PARALLEL_DISPATCH_MAX_WORKERS", "dispatcher.max_workers"),
    ("PARALLEL_DISPATCH_STATE_DIR", "state_dir"),
    ("PARALLEL_DISPATCH_TIMEOUT", "dispatcher.timeout_seconds"),
    ("PARALLEL_DISPATCH_TRACE_DIR", "dispatcher.trace_dir"),
];

/// What the process was started with, captured once.
#[derive(Clone, Debug)]
pub struct Environment {
    variables: BTreeMap<&'static str, String>,
    not_utf8: Vec<&'static str>,
    current_dir: PathBuf,
    system_file: PathBuf,
}

/// What the command line said; what is absent was not said.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// Which command it is: some defaults differ.
    pub role: Role,
    /// `--state-dir`.
    pub state_dir: Option<PathBuf>,
    /// `--trace-dir`.
    pub trace_dir: Option<PathBuf>,
    /// `--workspace`, as often as it stood there.
    pub workspaces: Vec<PathBuf>,
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--max-workers`.
    pub max_workers: Option<u32>,
    /// `--timeout-seconds`.
    pub timeout_seconds: Option<f64>,
    /// `--enable-context`.
    pub enable_context: Option<bool>,
}

/// Which command the settings are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// `serve`.
    Serve,
    /// `run`.
    Run,
    /// Any other command.
    #[default]
    Other,
}

impl Environment {
    /// Captures the process's own.
    ///
    /// # Errors
    /// When the working directory is gone or unreadable.
    pub fn capture() -> io::Result<Self> {
        let mut captured = Self {
            variables: BTreeMap::new(),
            not_utf8: Vec::new(),
            current_dir: env::current_dir()?,
            system_file: PathBuf::from("/etc/parallel-dispatch/config.yaml"),
        };
        for name in VARIABLES {
            match env::var_os(name).map(OsString::into_string) {
                Some(Ok(value)) => drop(captured.variables.insert(name, value)),
                Some(Err(_)) => captured.not_utf8.push(name),
                None => {}
            }
        }
        Ok(captured)
    }

    /// Makes one up: for tests, which must not depend on the machine.
    pub fn made_up(current_dir: &Path, system_file: &Path, variables: &[(&str, &str)]) -> Self {
        let value_of = |name| variables.iter().find(|it| it.0 == name).map(|it| it.1.to_owned());
        Self {
            variables: VARIABLES.iter().filter_map(|it| Some((*it, value_of(*it)?))).collect(),
            not_utf8: Vec::new(),
            current_dir: current_dir.to_owned(),
            system_file: system_file.to_owned(),
        }
    }

    /// Where the process is to crash, which tests of debug builds say.
    pub fn failpoint() -> Option<String> {
        let named = env::var_os("PARALLEL_DISPATCH_FAILPOINT").filter(|_| cfg!(debug_assertions));
        named?.into_string().ok()
    }

    /// Whether a variable of this name may be passed on to a program.
    pub fn may_pass_on(name: &str) -> bool {
        may_be_passed_on(name)
    }

    /// The variables that a program gets which is started for a task: a few that are always passed
    /// on, and those that are named. What belongs to the editor's session is not among them.
    pub fn passed_on(names: &[String]) -> Vec<(String, OsString)> {
        let names = PASSED_ON.into_iter().chain(names.iter().map(String::as_str));
        let mut found = Vec::new();
        for name in names.filter(|it| may_be_passed_on(it)) {
            if let Some(value) = env::var_os(name)
                && !found.iter().any(|(known, _)| known == name)
            {
                redact::remember_named(name, &value.to_string_lossy());
                found.push((name.to_owned(), value));
            }
        }
        found
    }

    /// The working directory.
    pub fn current_dir(&self) -> &Path {
        &self.current_dir
    }

    /// The user's home directory.
    pub fn home(&self) -> Option<PathBuf> {
        self.get("HOME").map(PathBuf::from)
    }

    /// Where on PATH a program of that name stands.
    pub fn find_command(&self, name: &str) -> Option<PathBuf> {
        let places = env::split_paths(self.get("PATH")?).map(|it| it.join(name));
        places.into_iter().find(|it| it.is_file())
    }

    /// The value of a variable; an empty one counts as not set.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|it| !it.is_empty())
    }

    /// The task on whose behalf the process dispatches.
    pub(super) fn parent(&self, faults: &mut Vec<ConfigError>) -> Option<ParentTask> {
        let name = ParentTask::VARIABLE;
        let parsed: Result<ParentTask, _> = self.get(name)?.parse();
        parsed
            .map_err(|it| {
                faults.push(ConfigError::new(Source::Environment(name), "", it.to_string()));
            })
            .ok()
    }

    /// The trace that the process was started in; what is none counts as none.
    pub(super) fn trace(&self) -> Option<TraceContext> {
        let state = self.get(TraceContext::TRACESTATE_VARIABLE);
        TraceContext::read(self.get(TraceContext::TRACEPARENT_VARIABLE)?, state)
    }

    /// A directory that the XDG rules name: one that is not absolute is to be ignored.
    pub(super) fn get_dir(&self, name: &str) -> Option<PathBuf> {
        self.get(name).map(PathBuf::from).filter(|it| it.is_absolute())
    }

    pub(super) fn system_file(&self) -> &Path {
        &self.system_file
    }

    /// The user's file of settings, if there is a home for it.
    pub(super) fn user_file(&self) -> Option<PathBuf> {
        let home = || self.get_dir("HOME").map(|it| it.join(".config"));
        let dir = self.get_dir("XDG_CONFIG_HOME").or_else(home)?;
        Some(dir.join("parallel-dispatch/config.yaml"))
    }

    /// Where paths of variables and flags begin.
    pub(super) fn base(&self) -> Base {
        Base { dir: self.current_dir.clone(), home: self.get_dir("HOME") }
    }

    /// The layer of the variables.
    pub(super) fn entries(&self, faults: &mut Vec<ConfigError>) -> Vec<Entry> {
        for name in &self.not_utf8 {
            faults.push(ConfigError::new(Source::Environment(name), "", "is not UTF-8"));
        }
        let mut entries = Vec::new();
        for (name, key) in KEYED {
            let Some(text) = self.get(name) else {
                continue;
            };
            entries.extend(self.entry(Source::Environment(name), key, text, faults));
        }
        entries.extend(self.debug_entry(faults));
        entries
    }

    /// The layer of the flags.
    pub(super) fn flag_entries(&self, flags: &Flags, faults: &mut Vec<ConfigError>) -> Vec<Entry> {
        let path = |it: &Option<PathBuf>| it.as_ref().map(|it| it.to_str().map(str::to_owned));
        let workers = flags.max_workers.map(|it| Some(it.to_string()));
        let timeout = flags.timeout_seconds.map(|it| Some(it.to_string()));
        let context = flags.enable_context.map(|it| Some(it.to_string()));
        let said = [
            ("--state-dir", "state_dir", path(&flags.state_dir)),
            ("--trace-dir", "dispatcher.trace_dir", path(&flags.trace_dir)),
            ("--max-workers", "dispatcher.max_workers", workers),
            ("--timeout-seconds", "dispatcher.timeout_seconds", timeout),
            ("--enable-context", "dispatcher.enable_context", context),
        ];
        let mut entries = Vec::new();
        for (name, key, text) in said {
            let source = Source::Flag(name);
            match text {
                None => {}
                Some(None) => faults.push(ConfigError::new(source, key, "is not UTF-8")),
                Some(Some(text)) => entries.extend(self.entry(source, key, &text, faults)),
            }
        }
        entries
    }

    /// The value that a text gives a key.
    pub(super) fn entry(
        &self,
        source: Source,
        key: &str,
        text: &str,
        faults: &mut Vec<ConfigError>,
    ) -> Option<Entry> {
        let path: Vec<&str> = key.split('.').collect();
        let Found::Key(known) = find(&path) else {
            debug_assert!(false, "`{key}` is in the table of keys");
            return None;
        };
        match check(known.kind, &to_yaml(known.kind, text), &self.base()) {
            Ok(value) => {
                Some(Entry { key: key.to_owned(), written: key.to_owned(), value: value?, source })
            }
            Err(message) => {
                faults.push(ConfigError::new(source, key, message));
                None
            }
        }
    }

    fn debug_entry(&self, faults: &mut Vec<ConfigError>) -> Option<Entry> {
        let source = Source::Environment("DISPATCH_DEBUG");
        match self.get("DISPATCH_DEBUG")? {
            "1" | "true" => self.entry(source, "logging.level", "debug", faults),
            "0" | "false" => None,
            _ => {
                faults.push(ConfigError::new(source, "logging.level", "must be 1 or 0"));
                None
            }
        }
    }
}

/// The text of a variable as the value that its key wants, or as a text, which it then refuses.
fn to_yaml(kind: Kind, text: &str) -> Yaml {
    let wants_number = matches!(kind, Kind::Whole(..) | Kind::Seconds);
    let number = text.trim().parse::<Number>().ok().filter(|_| wants_number);
    let boolean = text.trim().parse::<bool>().ok().filter(|_| kind == Kind::Bool);
    match (number, boolean) {
        (Some(number), _) => Yaml::Number(number),
        (None, Some(boolean)) => Yaml::Bool(boolean),
        (None, None) => Yaml::Text(text.to_owned()),
    }
}
