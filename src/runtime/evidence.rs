//! Looks whether what is expected of a task holds, after its agent has said that it is done.

use std::{sync::Arc, time::Duration};

use serde_json::{Map, Value};

use super::{
    attempt::AttemptJob,
    files,
    gatekeeper::{Seen, evaluate},
    options::AgentExpect,
};
use crate::{
    model::{Evidence, EvidenceKind, ExpectSpec, Failure, FailureCode, TaskSpec, text},
    plan::{Condition, OutputSchema},
    ports::{CheckCall, Digest},
};

/// How long a look at files or at a schema may take.
const LOOK_TIMEOUT: Duration = Duration::from_secs(30);
/// The most characters of a detail.
const DETAIL_CHARS_MAX: usize = 1_000;
/// The most complaints that a failure's message repeats.
const SHOWN_MAX: usize = 3;

/// The files that are to change, and how they stood before the attempt.
#[derive(Debug)]
pub(super) struct Baseline(Vec<(String, Option<Digest>)>);

/// What an agent answered, which many look at.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) output: Arc<Value>,
    /// The same as JSON text.
    pub(super) json: String,
}

/// Adds what an agent's settings expect of everything that it does. Which file it must have written
/// is not known before an attempt at it has its input.
pub(super) fn add(task: &mut TaskSpec, agent: &AgentExpect) {
    let AgentExpect { checks, condition, output_path: _ } = agent;
    if checks.is_empty() && condition.is_none() {
        return;
    }
    let expect = task.expect.get_or_insert_default();
    let new = checks.iter().filter(|it| !expect.checks.contains(it)).cloned().collect::<Vec<_>>();
    expect.checks.extend(new);
    expect.condition = expect.condition.take().or_else(|| condition.clone());
}

/// Looks at the files that an attempt with this input is to change.
pub(super) async fn baseline(job: &AttemptJob, input: &Map<String, Value>) -> Baseline {
    let expect = job.spec().expect.as_ref();
    let mut changed = expect.map(|it| it.changed.clone()).unwrap_or_default();
    if job.document.must_write(job.task)
        && let Some(it) = files::to_be_written(input).filter(|it| !changed.contains(it))
    {
        changed.push(it);
    }
    let before = look(job, &changed).await;
    Baseline(changed.into_iter().zip(before).collect())
}

/// What is found of what is expected; nothing if nothing is. The cheap looks come first, and what
/// a command costs is spared where they already fail. `input` is what the agent got, if that is
/// not what the document says.
pub(super) async fn gather(
    job: &AttemptJob,
    Baseline(before): Baseline,
    (input, outcome): (Option<&Map<String, Value>>, &Outcome),
) -> Vec<Evidence> {
    let task = job.spec();
    let mut found = Vec::new();
    if let Some(schema) = &task.output_schema {
        found.push(check_schema(schema, &outcome.output).await);
    }
    let nothing = ExpectSpec::default();
    let expect = task.expect.as_deref().unwrap_or(&nothing);
    let there = look(job, &expect.files).await;
    found.extend(expect.files.iter().zip(there).map(|(path, it)| of_file(path, it)));
    let (changed, before): (Vec<_>, Vec<_>) = before.into_iter().unzip();
    let pairs = before.into_iter().zip(look(job, &changed).await);
    found.extend(changed.iter().zip(pairs).map(|(path, it)| of_change(path, it)));
    if let Some(source) = &expect.condition {
        let (input, output) = (input.cloned(), Some(outcome.json.clone()));
        let seen = Seen { tasks: Vec::new(), output, input };
        found.push(check_condition(job, source, seen).await);
    }
    for name in &expect.checks {
        if found.iter().any(|it| !it.ok) {
            let detail = "not run, since something else is not as expected";
            found.push(evidence(EvidenceKind::Check, name, Err(detail.to_owned())));
        } else {
            found.push(run_check(job, name).await);
        }
    }
    found
}

/// The failure of an attempt after which something is not as expected.
pub(super) fn failure(found: &[Evidence]) -> Option<Failure> {
    let failed: Vec<&Evidence> = found.iter().filter(|it| !it.ok).collect();
    let shown = failed.iter().take(SHOWN_MAX).map(|it| {
        let detail = it.detail.as_deref().unwrap_or("not as expected");
        format!("{} {}: {detail}", it.kind.as_str(), text::cut(&it.subject, 200))
    });
    let shown = shown.collect::<Vec<_>>().join("; ");
    let (n, of) = (failed.len(), found.len());
    let message = format!("{n} of {of} pieces of evidence are missing: {shown}");
    (n > 0).then(|| Failure::new(FailureCode::CheckFailed, message))
}

fn evidence(kind: EvidenceKind, subject: &str, found: Result<(), String>) -> Evidence {
    let detail = found.err().map(|it| text::cut(&it, DETAIL_CHARS_MAX));
    Evidence { kind, subject: subject.to_owned(), ok: detail.is_none(), detail }
}

/// The digests of files; `None` of one that cannot be read.
async fn look(job: &AttemptJob, files: &[String]) -> Vec<Option<Digest>> {
    if files.is_empty() {
        return Vec::new();
    }
    let (workspaces, paths) = (job.workspaces.clone(), files.to_vec());
    let looking = tokio::task::spawn_blocking(move || files::each(&workspaces, &paths));
    let found = tokio::time::timeout(LOOK_TIMEOUT, looking).await;
    found.ok().and_then(Result::ok).unwrap_or_else(|| vec![None; files.len()])
}

fn of_file(path: &str, found: Option<Digest>) -> Evidence {
    let found = match found {
        Some(Digest::ABSENT) => Err("it is not there".to_owned()),
        Some(_) => Ok(()),
        None => Err("it cannot be read".to_owned()),
    };
    evidence(EvidenceKind::File, path, found)
}

fn of_change(path: &str, found: (Option<Digest>, Option<Digest>)) -> Evidence {
    let found = match found {
        (_, Some(Digest::ABSENT)) => Err("it is not there".to_owned()),
        (Some(before), Some(after)) if before != after => Ok(()),
        (Some(_), Some(_)) => Err("it is as it was before".to_owned()),
        (None, _) | (_, None) => Err("it cannot be read".to_owned()),
    };
    evidence(EvidenceKind::Changed, path, found)
}

async fn check_schema(schema: &Value, output: &Arc<Value>) -> Evidence {
    let (schema, output) = (schema.clone(), Arc::clone(output));
    let checking = tokio::task::spawn_blocking(move || OutputSchema::read(&schema)?.check(&output));
    let found = match tokio::time::timeout(LOOK_TIMEOUT, checking).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => Err(format!("the look broke off: {error}")),
        Err(_) => Err("the look took too long".to_owned()),
    };
    evidence(EvidenceKind::Schema, "output_schema", found)
}

async fn check_condition(job: &AttemptJob, source: &str, seen: Seen) -> Evidence {
    let found = match Condition::read_of_output(source) {
        Ok(it) => evaluate(it, seen, (Arc::clone(&job.document), job.task)).await,
        Err(_) => Err(Failure::new(FailureCode::ConditionError, "it cannot be read")),
    };
    let found = match found {
        Ok(true) => Ok(()),
        Ok(false) => Err("it is false".to_owned()),
        Err(failure) => Err(failure.message.into()),
    };
    evidence(EvidenceKind::Condition, source, found)
}

async fn run_check(job: &AttemptJob, name: &str) -> Evidence {
    let timeout = Duration::from_millis(job.deadline.since(job.clock.now()).0);
    let cancelled = job.cancelled.clone();
    let checked = job.checks.run(CheckCall { name: name.to_owned(), timeout, cancelled }).await;
    let mut found = evidence(EvidenceKind::Check, name, Err(text::escape_lines(&checked.detail)));
    found.ok = checked.ok;
    found
}
