//! The agents that are programs, found by name.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    io::Read as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::sync::OnceCell;

use super::{
    agent::{CommandAgent, Parts},
    arguments::OutputSchema,
    memory::{MemoryGate, SystemMemory},
    process::Variables,
    settings::{CommandHost, CommandSetting},
    worktree::Home,
};
use crate::{
    model::{AgentName, text},
    ports::{BindError, Binding},
};

/// The largest schema that is read, in bytes; it has to fit into an argument.
const SCHEMA_BYTES_MAX: u64 = 64 << 10;

/// The agents that are programs; by default there are none.
#[derive(Clone, Debug, Default)]
pub struct Commands(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    host: CommandHost,
    by_name: BTreeMap<AgentName, CommandSetting>,
    memory: Arc<MemoryGate>,
    worktrees: Arc<OnceCell<Home>>,
}

impl Commands {
    /// Takes what the settings say; nothing is looked for before an agent is asked for.
    pub fn new(host: CommandHost, by_name: BTreeMap<AgentName, CommandSetting>) -> Self {
        let memory = MemoryGate::new(Box::new(SystemMemory));
        let worktrees = Arc::default();
        Self(Some(Arc::new(Inner { host, by_name, memory, worktrees })))
    }

    /// The program that is `agent`, where it is one and is installed.
    pub fn program_of(&self, agent: &AgentName) -> Option<PathBuf> {
        find_program(agent, self.0.as_ref()?.by_name.get(agent)?).ok()
    }

    /// Whether `agent` is a program, installed or not.
    pub fn has(&self, agent: &AgentName) -> bool {
        self.0.as_ref().is_some_and(|it| it.by_name.contains_key(agent))
    }

    /// Who serves `agent`; nothing where it is no program.
    pub fn bind(&self, agent: &AgentName) -> Option<Result<Binding, BindError>> {
        let inner = self.0.as_ref()?;
        let setting = inner.by_name.get(agent)?;
        Some(inner.bind(agent, setting))
    }
}

impl Inner {
    fn bind(&self, agent: &AgentName, setting: &CommandSetting) -> Result<Binding, BindError> {
        let path = find_program(agent, setting)?;
        let path = path.to_str().ok_or_else(|| unusable(agent, "its path is not UTF-8"))?;
        if !setting.dir.is_dir() {
            let shown = text::escape(&setting.dir.to_string_lossy());
            return Err(unusable(agent, &format!("its directory {shown} is not there")));
        }
        let parts = Parts {
            path: path.to_owned(),
            schema: setting
                .output_schema
                .as_deref()
                .map(|it| read_schema(agent, it))
                .transpose()?,
            setting: setting.clone(),
            host: self.host.clone(),
            memory: Arc::clone(&self.memory),
            worktrees: Arc::clone(&self.worktrees),
        };
        let backend = Arc::new(CommandAgent::new(agent, parts));
        Ok(Binding { backend, warnings: Vec::new() })
    }
}

/// Where the program stands: at its path, or in the first directory of its `PATH` that has it.
fn find_program(agent: &AgentName, setting: &CommandSetting) -> Result<PathBuf, BindError> {
    let name = setting.argv.first().map_or_else(|| setting.program.name(), String::as_str);
    find(name, &setting.variables).map_err(|place| BindError::NotInstalled {
        agent: agent.clone(),
        program: text::escape(name),
        place: text::escape(&text::cut(&place, 200)),
    })
}

/// Where a program stands that gets these variables; or why it is not to be found.
pub(super) fn find(name: &str, variables: &Variables) -> Result<PathBuf, String> {
    if name.contains('/') {
        let path = PathBuf::from(name);
        let is_there = path.is_absolute() && is_executable(&path);
        return if is_there { Ok(path) } else { Err("no such program is there".into()) };
    }
    let search = variables.0.iter().find(|it| it.0 == "PATH");
    let search = search.map_or_else(|| OsStr::new(""), |it| it.1.as_os_str());
    let mut places = std::env::split_paths(search).filter(|it| it.is_absolute());
    let found = places.find_map(|it| Some(it.join(name)).filter(|it| is_executable(it)));
    found.ok_or_else(|| format!("it is not on PATH ({})", search.to_string_lossy()))
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
}

fn read_schema(agent: &AgentName, path: &Path) -> Result<OutputSchema, BindError> {
    let shown = text::escape(&path.to_string_lossy());
    let refuse = |what: &str| unusable(agent, &format!("output_schema {shown} {what}"));
    let mut text = String::new();
    let is_file = path.metadata().is_ok_and(|it| it.is_file());
    let file = fs::File::open(path).ok().filter(|_| is_file);
    let file = file.ok_or_else(|| refuse("cannot be read"))?;
    let read = file.take(SCHEMA_BYTES_MAX + 1).read_to_string(&mut text);
    read.map_err(|it| refuse(&format!("cannot be read: {it}")))?;
    if text.len() as u64 > SCHEMA_BYTES_MAX {
        return Err(refuse(&format!("is larger than {} KiB", SCHEMA_BYTES_MAX >> 10)));
    }
    let schema: serde_json::Value =
        serde_json::from_str(&text).map_err(|it| refuse(&format!("is not JSON: {it}")))?;
    if !schema.is_object() {
        return Err(refuse("is no JSON schema: it must be an object"));
    }
    let path = path.to_str().ok_or_else(|| refuse("is no path in UTF-8"))?.to_owned();
    Ok(OutputSchema { path, text: schema.to_string() })
}

fn unusable(agent: &AgentName, problem: &str) -> BindError {
    BindError::Unusable { agent: agent.clone(), problem: problem.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Program, testing::setting},
        *,
    };

    fn on_path(dirs: &str) -> CommandSetting {
        let variables = Variables(vec![("PATH".into(), dirs.into())]);
        CommandSetting { variables, ..setting(Program::Gemini) }
    }

    fn find(setting: &CommandSetting) -> Result<PathBuf, String> {
        find_program(&AgentName::new("writer"), setting).map_err(|it| it.to_string())
    }

    #[test]
    fn a_program_is_looked_for_on_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("gemini");
        let path = format!("relative::/nowhere:{}", dir.path().display());
        fs::write(&file, "").unwrap();
        let expected = format!(
            "agent \"writer\" runs the program \"gemini\", which is not installed: it is not on \
             PATH ({path})"
        );
        assert_eq!(find(&on_path(&path)), Err(expected), "what cannot be executed is no program");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(find(&on_path(&path)), Ok(file.clone()));
        let named = |it: &str| CommandSetting { argv: vec![it.to_owned()], ..on_path("") };
        assert_eq!(find(&named(file.to_str().unwrap())), Ok(file));
        assert!(find(&named("/nowhere/gemini")).unwrap_err().contains("no such program"));
        assert!(find(&named("./gemini")).is_err());
    }

    #[test]
    fn a_schema_is_an_object_of_bounded_size() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("schema.json");
        let agent = AgentName::new("writer");
        let read = |text: &str| {
            fs::write(&path, text).unwrap();
            read_schema(&agent, &path).map(|it| it.text).map_err(|it| it.to_string())
        };
        assert_eq!(read("{\n \"type\": \"object\" }").as_deref(), Ok(r#"{"type":"object"}"#));
        assert!(read("[]").unwrap_err().ends_with("it must be an object"));
        assert!(read("{").unwrap_err().contains("is not JSON"));
        assert!(read(&" ".repeat(70_000)).unwrap_err().ends_with("is larger than 64 KiB"));
        assert!(read_schema(&agent, dir.path()).is_err());
    }
}
