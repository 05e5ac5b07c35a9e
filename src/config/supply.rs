//! Values that come from the environment or a private file, and are read when they are needed.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    fmt,
    fs::OpenOptions,
    io::{self, Read as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, Serializer};

use super::place::Base;
use crate::model::{redact, text};

/// What belongs to the editor's session that started this program, and to nobody else.
const NEVER_PASSED: [&str; 1] = ["CLAUDE_CODE_MESSAGING_TOKEN"];
/// What a child process gets of the environment without being told, if it is set.
const ALWAYS_PASSED: [&str; 10] =
    ["HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "TZ", "USER"];
/// The largest file of a secret, in bytes.
const FILE_BYTES_MAX: u64 = 64 << 10;
/// What is shown in the place of a text that may be a secret.
const HIDDEN: &str = "(hidden)";

/// A text that may refer to secrets by `${env:NAME}` and `${file:/path}`.
///
/// Whatever shows it shows the references; what stands beside them may be a secret itself.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct SecretText(Vec<Part>);

/// Why a value cannot be had now. It names the reference and never the value.
#[derive(Debug, thiserror::Error)]
pub enum SupplyError {
    /// There is no such variable.
    #[error("the environment variable {0} is not set")]
    NotSet(String),
    /// Neither a header nor a variable of a child can be made of it.
    #[error("{0} does not hold text")]
    NotText(String),
    /// The file cannot be opened or read.
    #[error("{path} cannot be read: {cause}", path = .0.display(), cause = .1)]
    Unreadable(PathBuf, io::Error),
    /// Not a file, or a very large one.
    #[error("{path} is not a regular file of at most 64 KiB", path = .0.display())]
    NotAFile(PathBuf),
    /// Others than its owner may read or write the file.
    #[error("{} is open to others (mode {:04o}); chmod 600 it", .0.display(), .1)]
    TooOpen(PathBuf, u32),
}

#[derive(Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Env(String),
    File(PathBuf),
}

type Variables<'a> = &'a dyn Fn(&str) -> Option<OsString>;

impl SecretText {
    /// Reads a text; the error is the end of a sentence: "must …".
    pub(super) fn parse(text: &str, base: &Base) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let (reference, tail) = after.split_once('}').ok_or("must close each `${` by `}`")?;
            parts.extend(literal(before));
            parts.push(Part::parse(reference, base)?);
            rest = tail;
        }
        parts.extend(literal(rest));
        Ok(Self(parts))
    }

    /// The text with every path made whole.
    pub(super) fn canonical(&self) -> String {
        self.0.iter().map(Part::to_string).collect()
    }

    /// Reads what it refers to, now.
    pub fn resolve(&self) -> Result<String, SupplyError> {
        self.resolve_with(&|name| env::var_os(name))
    }

    /// Whatever may be a secret is taken out of every text from then on.
    fn resolve_with(&self, variables: Variables<'_>) -> Result<String, SupplyError> {
        let resolve = |it: &Part| {
            let value = it.resolve(variables)?;
            match it {
                Part::Literal(_) => redact::remember_if_secret("", &value),
                Part::Env(name) => redact::remember_if_secret(name, &value),
                Part::File(_) => redact::remember(&value),
            }
            Ok(value)
        };
        self.0.iter().map(resolve).collect()
    }
}

/// The environment of a child process: what every program needs, what is passed on by name, and
/// what is set.
pub fn child_environment(
    passed: &[String],
    set: &BTreeMap<String, SecretText>,
) -> Result<BTreeMap<String, String>, SupplyError> {
    let passed = ALWAYS_PASSED.into_iter().chain(passed.iter().map(String::as_str));
    let passed = passed.filter(|it| !NEVER_PASSED.contains(it));
    let read = |name: &str| Some((name.to_owned(), env::var_os(name)?.into_string().ok()?));
    let mut variables: BTreeMap<String, String> = passed.filter_map(read).collect();
    for (name, value) in set {
        variables.insert(name.clone(), value.resolve()?);
    }
    for (name, value) in &variables {
        redact::remember_named(name, value);
    }
    Ok(variables)
}

/// Why `name` is no variable that may be read or passed on, as the end of a sentence.
pub(super) fn check_variable(name: &str) -> Result<(), String> {
    let is_inner = |it: u8| it.is_ascii_alphanumeric() || it == b'_';
    let is_name = (1..=128).contains(&name.len())
        && name.bytes().all(is_inner)
        && !name.starts_with(|it: char| it.is_ascii_digit());
    if !is_name {
        let shown = text::escape(&text::cut(name, 60));
        return Err(format!("must name variables by letters, digits and `_`, names \"{shown}\""));
    }
    if NEVER_PASSED.contains(&name) {
        return Err(format!("must not name {name}, which belongs to the editor's session"));
    }
    Ok(())
}

impl TryFrom<String> for SecretText {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text, &Base { dir: PathBuf::new(), home: None })
    }
}

impl fmt::Display for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for it in &self.0 {
            match it {
                Part::Literal(_) => f.write_str(HIDDEN)?,
                Part::Env(_) | Part::File(_) => it.fmt(f)?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for SecretText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Part {
    fn parse(reference: &str, base: &Base) -> Result<Self, String> {
        if let Some(name) = reference.strip_prefix("env:") {
            check_variable(name)?;
            return Ok(Self::Env(name.to_owned()));
        }
        match reference.strip_prefix("file:") {
            Some(path) if path.starts_with('/') || path.starts_with("~/") => {
                Ok(Self::File(base.resolve(path)?))
            }
            Some(_) => Err("must name the file of a secret by its absolute path".to_owned()),
            None => Err("must refer to secrets as ${env:NAME} or ${file:/path}".to_owned()),
        }
    }

    fn resolve(&self, variables: Variables<'_>) -> Result<String, SupplyError> {
        match self {
            Self::Literal(text) => Ok(text.clone()),
            Self::Env(name) => {
                let value = variables(name).ok_or_else(|| SupplyError::NotSet(name.clone()))?;
                value.into_string().map_err(|_| SupplyError::NotText(name.clone()))
            }
            Self::File(path) => read_private(path),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(text) => f.write_str(text),
            Self::Env(name) => write!(f, "${{env:{name}}}"),
            Self::File(path) => write!(f, "${{file:{}}}", path.display()),
        }
    }
}

fn literal(text: &str) -> Option<Part> {
    (!text.is_empty()).then(|| Part::Literal(text.to_owned()))
}

/// The text of a file of at most 64 KiB that only its owner may read, without line breaks at the
/// end.
pub fn read_private(path: &Path) -> Result<String, SupplyError> {
    let unreadable = |it| SupplyError::Unreadable(path.to_owned(), it);
    let not_a_file = || SupplyError::NotAFile(path.to_owned());
    // A named pipe without a writer would hold the open up for ever.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
        return Err(not_a_file());
    }
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(SupplyError::TooOpen(path.to_owned(), mode));
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(unreadable)?;
    let text = String::from_utf8(bytes);
    let mut text = text.map_err(|_| SupplyError::NotText(path.display().to_string()))?;
    text.truncate(text.trim_end_matches(['\r', '\n']).len());
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn parse(text: &str) -> Result<SecretText, String> {
        SecretText::parse(text, &Base { dir: "/w".into(), home: Some("/home/me".into()) })
    }

    #[test]
    fn references_are_shown_and_what_stands_beside_them_is_not() {
        let text = parse("Bearer ${env:TOKEN}.${file:~/x/../y}").unwrap();
        assert_eq!(text.canonical(), "Bearer ${env:TOKEN}.${file:/home/me/x/../y}");
        assert_eq!(format!("{text:?}"), "(hidden)${env:TOKEN}(hidden)${file:/home/me/x/../y}");
        assert_eq!(parse("s3cret").unwrap().to_string(), "(hidden)");
        assert_eq!(serde_json::to_string(&parse("s3cret").unwrap()).unwrap(), "\"(hidden)\"");
    }

    #[test]
    fn what_refers_to_nothing_is_refused() {
        for wrong in [
            "${env:TOKEN",
            "${TOKEN}",
            "${env:}",
            "${env:A-B}",
            "${env:1A}",
            "${env:CLAUDE_CODE_MESSAGING_TOKEN}",
            "${file:secret}",
            "${file:}",
        ] {
            assert!(parse(wrong).unwrap_err().starts_with("must "), "{wrong}");
        }
    }

    #[test]
    fn variables_are_read_when_they_are_needed() {
        let text = parse("a ${env:TOKEN} ${env:TOKEN}").unwrap();
        let resolved = text.resolve_with(&|name| Some(format!("<{name}>").into()));
        assert_eq!(resolved.unwrap(), "a <TOKEN> <TOKEN>");
        let error = text.resolve_with(&|_| None).unwrap_err();
        assert_eq!(error.to_string(), "the environment variable TOKEN is not set");
    }

    #[test]
    fn a_file_that_others_may_read_is_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        fs::write(&path, "s3cret\r\n\n").unwrap();
        let text = parse(&format!("Bearer ${{file:{}}}", path.display())).unwrap();
        let set_mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        for mode in [0o600, 0o400] {
            set_mode(mode);
            assert_eq!(text.resolve().unwrap(), "Bearer s3cret");
        }
        for mode in [0o640, 0o604, 0o620, 0o601] {
            set_mode(mode);
            let error = text.resolve().unwrap_err().to_string();
            assert!(error.contains("open to others") && !error.contains("s3cret"), "{error}");
        }
        let dir = parse(&format!("${{file:{}}}", dir.path().display())).unwrap();
        assert!(matches!(dir.resolve(), Err(SupplyError::NotAFile(_))));
        let gone = parse("${file:/nowhere/at/all}").unwrap();
        assert!(matches!(gone.resolve(), Err(SupplyError::Unreadable(..))));
    }

    #[test]
    fn a_child_gets_what_it_needs_and_what_is_named() {
        let set = BTreeMap::from([("COLOR".to_owned(), parse("never").unwrap())]);
        let environment = child_environment(&["CARGO_MANIFEST_DIR".to_owned()], &set).unwrap();
        let known = ALWAYS_PASSED.into_iter().chain(["COLOR", "CARGO_MANIFEST_DIR"]);
        let known: Vec<_> = known.collect();
        assert!(environment.keys().all(|it| known.contains(&it.as_str())), "{environment:?}");
        assert_eq!(environment["COLOR"], "never");
        assert!(environment.contains_key("PATH"));
        assert_eq!(
            environment.get("CARGO_MANIFEST_DIR"),
            option_env!("CARGO_MANIFEST_DIR").map(str::to_owned).as_ref()
        );
    }
}
