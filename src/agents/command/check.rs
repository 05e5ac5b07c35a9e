//! The checks of the settings: commands whose exit code says whether work is good.

use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
    time::Duration,
};

use futures::future::BoxFuture;
use tokio::time::Instant;

use super::{
    directory::find,
    process::{GuardProgram, Limits, Run, Variables},
};
use crate::{
    model::{redact, text},
    ports::{CheckCall, CheckOutcome, Checks},
};

/// How many lines of the end of the output are shown.
const LINES_MAX: usize = 20;
/// The most characters of the output that are shown.
const SHOWN_CHARS_MAX: usize = 800;

/// What the settings say of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckSetting {
    /// The program, and its arguments.
    pub argv: Vec<String>,
    /// Where it runs.
    pub dir: PathBuf,
    /// How long it may take, if that is less than the task has.
    pub timeout: Option<Duration>,
    /// The variables that it gets.
    pub variables: Variables,
}

/// The checks of the settings, by name.
#[derive(Debug)]
pub struct CheckCommands {
    guard: GuardProgram,
    by_name: BTreeMap<String, CheckSetting>,
}

impl CheckCommands {
    /// Takes what the settings say; nothing is looked for before a check is run.
    pub fn new(guard: GuardProgram, by_name: BTreeMap<String, CheckSetting>) -> Self {
        Self { guard, by_name }
    }

    async fn check(&self, call: CheckCall) -> CheckOutcome {
        let failed = |detail: String| CheckOutcome { ok: false, detail };
        let Some(setting) = self.by_name.get(&call.name) else {
            return failed("the settings have no such check".to_owned());
        };
        let name = setting.argv.first().map_or("", String::as_str);
        let program = match find(name, &setting.variables) {
            Ok(program) => program.to_string_lossy().into_owned(),
            Err(place) => return failed(format!("{name} is not installed: {place}")),
        };
        let arguments = setting.argv.iter().skip(1).cloned();
        let run = Run {
            guard: &self.guard,
            argv: std::iter::once(program).chain(arguments).collect(),
            dir: setting.dir.clone(),
            writable: None,
            variables: setting.variables.clone(),
            input: String::new(),
        };
        let timeout = setting.timeout.map_or(call.timeout, |it| it.min(call.timeout));
        let deadline = Instant::now() + timeout;
        let limits = Limits { cancelled: call.cancelled, deadline };
        let mut tail = VecDeque::with_capacity(LINES_MAX);
        let ended = run.run(&limits, |_| (), |line| keep(&mut tail, line)).await;
        match ended {
            Ok(ended) => {
                let said = shown(tail, &ended.stderr);
                let (ok, code) = (ended.code == 0, ended.code);
                CheckOutcome { ok, detail: format!("it ended with exit code {code}{said}") }
            }
            Err(failure) => failed(failure.message.into()),
        }
    }
}

impl Checks for CheckCommands {
    fn run(&self, call: CheckCall) -> BoxFuture<'_, CheckOutcome> {
        Box::pin(self.check(call))
    }
}

fn keep(tail: &mut VecDeque<String>, line: &[u8]) {
    if tail.len() == LINES_MAX {
        tail.pop_front();
    }
    let end = &line[..line.len().min(SHOWN_CHARS_MAX)];
    tail.push_back(String::from_utf8_lossy(end).into_owned());
}

/// The end of what was said, without secrets: of standard output, or of standard error where there
/// was nothing else.
fn shown(tail: VecDeque<String>, stderr: &str) -> String {
    let stdout = Vec::from(tail).join("\n");
    let said = if stdout.trim().is_empty() { stderr.trim() } else { stdout.trim() };
    if said.is_empty() {
        return String::new();
    }
    let n_chars = said.chars().count();
    let end: String = said.chars().skip(n_chars.saturating_sub(SHOWN_CHARS_MAX)).collect();
    format!(": {}", text::escape_lines(&redact::redact(&end)))
}
