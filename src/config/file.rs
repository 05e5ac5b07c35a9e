//! One file of settings as a layer: read within limits, every fault with its line.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use serde_json::{Map, Value};

use super::{
    check::check,
    error::{ConfigError, Source},
    keys::{Found, Key, Kind, Reach, canonical, check_inner_name, find, is_name},
    layer::{Entry, Merged},
    place::{Base, stays_beneath},
    yaml::{self, Field, Yaml},
};
use crate::model::{AgentName, text};

/// The largest file that is read, in bytes.
const BYTES_MAX: u64 = 256 << 10;

/// Whether a file has to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// Somebody named it.
    Required,
    /// It is looked for.
    Optional,
    /// It is looked for in a stranger's directory, where a link could lead anywhere.
    Stranger,
}

/// The layer of one file; what is wrong with it goes to `faults`.
pub(super) fn read(
    path: &Path,
    presence: Presence,
    base: &Base,
    faults: &mut Vec<ConfigError>,
) -> Vec<Entry> {
    let mut reading = Reading { path, base, faults, entries: Vec::new() };
    match read_text(path, presence) {
        Ok(None) => {}
        Ok(Some(text)) => match yaml::read(&text) {
            Ok(tree) => reading.document(&tree),
            Err(error) => reading.fault(error.line, "", error.message),
        },
        Err(message) => reading.fault(None, "", message),
    }
    reading.entries
}

/// Takes out of a workspace's layer what such a file may not say; `trusted` is what all the other
/// layers say together.
pub(super) fn confine(
    layer: Vec<Entry>,
    trusted: &Merged,
    workspace: &Path,
    faults: &mut Vec<ConfigError>,
) -> Vec<Entry> {
    let is_allowed = |it: &Entry| match refuse(it, trusted, workspace) {
        None => true,
        Some(message) => {
            faults.push(ConfigError::new(it.source.clone(), &it.written, message));
            false
        }
    };
    layer.into_iter().filter(is_allowed).collect()
}

struct Reading<'a> {
    path: &'a Path,
    base: &'a Base,
    faults: &'a mut Vec<ConfigError>,
    entries: Vec<Entry>,
}

impl Reading<'_> {
    fn document(&mut self, tree: &Yaml) {
        match tree {
            Yaml::Null => {}
            Yaml::Map(fields) => self.fields(&mut Vec::new(), fields),
            Yaml::Bool(_) | Yaml::Number(_) | Yaml::Text(_) | Yaml::List(_) => {
                self.fault(None, "", format!("must be a mapping, is {}", tree.kind()));
            }
        }
    }

    fn fields<'f>(&mut self, path: &mut Vec<&'f str>, fields: &'f [Field]) {
        for it in fields {
            path.push(&it.name);
            self.field(path, it);
            path.pop();
        }
    }

    fn field<'f>(&mut self, path: &mut Vec<&'f str>, field: &'f Field) {
        match (find(path), &field.value) {
            (Found::Unknown(nearest), _) => {
                self.fault(Some(field.line), &path.join("."), unknown(path, nearest));
            }
            (Found::Key(Key { kind: Kind::Tree, .. }), _) if !is_name(&field.name) => {
                let rule = "a name is 1 to 64 letters, digits, `_` and `-`";
                self.fault(Some(field.line), &path.join("."), rule);
            }
            (Found::Key(key), value) => match check_inner_name(key, &field.name) {
                Ok(()) => self.value(path, field.line, key, value),
                Err(rule) => self.fault(Some(field.line), &path.join("."), rule),
            },
            (Found::Section, _) if has_own_name(path) && !is_name(&field.name) => {
                let rule = "a name is 1 to 64 letters, digits, `_` and `-`";
                self.fault(Some(field.line), &path.join("."), rule);
            }
            (Found::Section, Yaml::Map(fields)) if !fields.is_empty() => self.fields(path, fields),
            // A name with nothing below it still says that there is such an agent or upstream, and
            // that an agent's tasks are tried again.
            (Found::Section, Yaml::Map(_) | Yaml::Null) if path.len() >= 2 => {
                self.entry(path, field.line, Value::Object(Map::new()));
            }
            (Found::Section, Yaml::Map(_) | Yaml::Null) => {}
            (Found::Section, other) => {
                let message = format!("must be a mapping, is {}", other.kind());
                self.fault(Some(field.line), &path.join("."), message);
            }
        }
    }

    fn value(&mut self, path: &[&str], line: u32, key: &Key, value: &Yaml) {
        match check(key.kind, value, self.base) {
            Ok(Some(value)) => self.entry(path, line, value),
            Ok(None) => {}
            Err(message) => self.fault(Some(line), &path.join("."), message),
        }
    }

    fn entry(&mut self, path: &[&str], line: u32, value: Value) {
        let (key, written) = (canonical(path), path.join("."));
        if self.entries.iter().any(|it| it.key == key) {
            let message = format!("says `{key}` once more, by another name; keep one");
            return self.fault(Some(line), &written, message);
        }
        let source = Source::File { path: self.path.to_owned(), line: Some(line) };
        self.entries.push(Entry { key, written, value, source });
    }

    fn fault(&mut self, line: Option<u32>, key: &str, message: impl Into<String>) {
        let place = Source::File { path: self.path.to_owned(), line };
        self.faults.push(ConfigError::new(place, key, message));
    }
}

/// Whether the last name of the path is one that the user chose.
fn has_own_name(path: &[&str]) -> bool {
    path.len() == 2 || matches!(path, ["server", "tokens", _])
}

fn unknown(path: &[&str], nearest: Option<&str>) -> String {
    match (path, nearest) {
        (["workspaces" | "workspace"], _) => {
            "unknown key; workspaces are named by `--workspace`".to_owned()
        }
        (_, Some(nearest)) => format!("unknown key; did you mean `{nearest}`?"),
        (_, None) => "unknown key".to_owned(),
    }
}

/// Why a workspace's file may not say this.
fn refuse(entry: &Entry, trusted: &Merged, workspace: &Path) -> Option<String> {
    let path: Vec<&str> = entry.key.split('.').collect();
    let reach = if let Found::Key(key) = find(&path) { Some(key.reach) } else { None };
    match (path.as_slice(), reach) {
        (["agents", name, ..], _) if !is_known_agent(name, trusted) => {
            Some(owner_only("a new agent"))
        }
        (
            ["upstreams", ..]
            | ["agents", _, "command", ..]
            | ["server", "tokens" | "oauth" | "tls", ..],
            _,
        )
        | (_, Some(Reach::Owner)) => Some(owner_only("it")),
        (_, Some(Reach::Lower)) => {
            let (standing, _) = trusted.get(&entry.key)?;
            (entry.value.as_u64() > standing.as_u64())
                .then(|| format!("a workspace's file may only lower it, and it is {standing}"))
        }
        (["dispatcher", "trace_dir"], _) => {
            let trace_dir = Path::new(entry.value.as_str()?);
            (!stays_beneath(workspace, trace_dir)).then(|| {
                "a workspace's file may name no place outside the workspace or behind a link"
                    .to_owned()
            })
        }
        (_, Some(Reach::Anyone) | None) => None,
    }
}

fn is_known_agent(name: &str, trusted: &Merged) -> bool {
    matches!(name, AgentName::CODER | AgentName::DEBUG)
        || trusted.names("agents").iter().any(|it| it == name)
}

fn owner_only(what: &str) -> String {
    format!(
        "a workspace's file may not set {what}; ~/.config/parallel-dispatch/config.yaml, \
         /etc/parallel-dispatch/config.yaml and --config may"
    )
}

/// The text of a file, or nothing if it need not be there and is not.
fn read_text(path: &Path, presence: Presence) -> Result<Option<String>, String> {
    let metadata = match presence {
        Presence::Stranger => path.symlink_metadata(),
        Presence::Required | Presence::Optional => path.metadata(),
    };
    let metadata = match metadata {
        Ok(it) => it,
        Err(error) if presence != Presence::Required && is_absent(&error) => return Ok(None),
        Err(error) => return Err(unreadable(&error)),
    };
    // A pipe or a device would never end, so only a regular file is opened.
    if !metadata.is_file() {
        return Err("is not a regular file".to_owned());
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|it| unreadable(&it))?;
    file.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|it| unreadable(&it))?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(format!("is larger than {} KiB", BYTES_MAX >> 10));
    }
    String::from_utf8(bytes).map(Some).map_err(|_| "is not UTF-8".to_owned())
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn unreadable(error: &io::Error) -> String {
    format!("cannot be read: {}", text::escape(&error.to_string()))
}
