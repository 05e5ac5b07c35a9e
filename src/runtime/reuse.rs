//! Looks for a result before a task runs, and keeps one after it ran.
//!
//! A result is found by what decided on it ([`Work`]), and counts only while the files that the
//! task left are as it left them. Where anything cannot be seen, the task runs.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::FutureExt as _;
use serde_json::{Map, Value};
use tokio::sync::Semaphore;

use super::{
    ancestors,
    attempt::{self, AttemptJob},
    batch::Batch,
    dispatcher::Dispatcher,
    files,
    gatekeeper::Found,
    live::Live,
    message::Message,
    work::{Earlier, Work, digest_of},
};
use crate::{
    confine::Workspaces,
    model::{Attempt, CacheMode, DispatchId, Millis, Reused, TaskIdx, TaskStatus},
    ports::{Digest, KnownResult, Remember, UpstreamWish, Write},
    scheduler::{Gate, GateAnswer},
};

/// How many results are looked for at once.
pub(super) const LOOKS_MAX: usize = 16;
/// How long one look may take; the task runs then.
const LOOK_TIMEOUT: Duration = Duration::from_secs(10);
/// How many outputs are read from the store at once.
const OUTPUTS_PAGE: usize = 64;

/// What is known of a task's work before it is done.
#[derive(Debug)]
pub(super) struct Prospect {
    work: Digest,
    named: Vec<String>,
    /// What the named files are.
    files: Vec<Digest>,
    to_be_written: Option<String>,
}

/// What others need to find a result.
#[derive(Debug)]
pub(super) struct Findable {
    work: Digest,
    evidence: Vec<Digest>,
}

impl Dispatcher {
    /// Has a result looked for; the answer comes back as `Message::Answer`, and never fails to.
    pub(super) fn look_for_result(&mut self, dispatch: DispatchId, task: TaskIdx) {
        let Some(job) = self.job(dispatch, (task, Attempt(0)), Millis(0)) else { return };
        let looks = Arc::clone(&self.looks);
        self.run_errand(async move {
            let found = AssertUnwindSafe(look(&job, &looks)).catch_unwind().await;
            let (answer, output) = match found.ok().flatten() {
                Some((from, output)) => (GateAnswer::Reuse(Box::new(from)), Some(output)),
                None => (GateAnswer::Pass, None),
            };
            let found = Found { task, gate: Gate::Reuse, answer, output };
            Message::Answer { dispatch, found }
        });
    }
}

impl Live {
    /// Keeps the result of an attempt, if it counts: it may be stale.
    pub(super) fn remember(
        &self,
        now: Millis,
        (task, attempt): (TaskIdx, Attempt),
        findable: Findable,
        batch: &mut Batch,
    ) {
        let row = &self.rows[task.as_usize()];
        if (row.status, row.attempts) != (TaskStatus::Success, attempt.0) {
            return;
        }
        let Findable { work, evidence } = findable;
        let result = Remember { dispatch: self.id, task, work, at: now, evidence };
        batch.writes.push(Write::Remember(Box::new(result)));
    }
}

/// Where the result was found, and the output as JSON text.
async fn look(job: &AttemptJob, looks: &Semaphore) -> Option<(Reused, String)> {
    let _place = looks.acquire().await.ok()?;
    within(find(job)).await
}

async fn find(job: &AttemptJob) -> Option<(Reused, String)> {
    let input = attempt::prepare(job, &mut None).await.ok()?;
    let prospect = prospect(job, &input).await?;
    let known = job.journal.known_result(prospect.work).await;
    let KnownResult { from, output, evidence } = known.ok()??;
    let files = files::written(prospect.to_be_written.as_deref(), &output);
    let is_there = matches(&evidence, &read(job, files, files::evidence).await?);
    is_there.then_some((from, output))
}

/// Whether the files are still as the task left them; what it did not leave may be there since.
fn matches(left: &[Digest], found: &[Digest]) -> bool {
    let is_same = |(left, found): (&Digest, &Digest)| *left == Digest::ABSENT || left == found;
    left.len() == found.len() && left.iter().zip(found).all(is_same)
}

/// Looks at what decides on a task's result, if the result is to be kept.
pub(super) async fn prospect_to_keep(
    job: &AttemptJob,
    input: &Map<String, Value>,
) -> Option<Prospect> {
    if job.document.cache_of(job.task) == CacheMode::Off {
        return None;
    }
    within(prospect(job, input)).await
}

/// Looks at what an attempt left, to keep its result. Nothing is kept where the files that it was
/// told of have changed meanwhile: nobody can say which text it saw.
pub(super) async fn findable(
    job: &AttemptJob,
    prospect: Option<Prospect>,
    output: &str,
) -> Option<Findable> {
    let Prospect { work, named, files, to_be_written } = prospect?;
    let written = files::written(to_be_written.as_deref(), output);
    within(async {
        let is_same = read(job, named, files::digests).await? == files;
        let evidence = read(job, written, files::evidence).await?;
        is_same.then_some(Findable { work, evidence })
    })
    .await
}

async fn within<T>(look: impl Future<Output = Option<T>>) -> Option<T> {
    tokio::time::timeout(LOOK_TIMEOUT, look).await.ok()?
}

async fn prospect(job: &AttemptJob, input: &Map<String, Value>) -> Option<Prospect> {
    let named = files::named(input)?;
    let files = read(job, named.clone(), files::digests).await?;
    let task = job.spec();
    let expected = match (&task.expect, &task.output_schema, job.document.must_write(job.task)) {
        (None, None, false) => String::new(),
        all => serde_json::to_string(&all).ok()?,
    };
    let work = Work {
        agent: task.agent.as_str(),
        binding: &job.backend.binding(),
        description: &task.description,
        input,
        expected: &expected,
        upstream: &upstream(job).await?,
        files: &files,
        of: job.results_of.as_deref(),
    };
    let work = work.digest();
    Some(Prospect { work, named, files, to_be_written: files::to_be_written(input) })
}

/// What the agent sees of the tasks before this one; where it sees nothing, what those answered
/// that this one names.
async fn upstream(job: &AttemptJob) -> Option<Vec<Earlier<'_>>> {
    let wish = job.backend.upstream_wish();
    if wish != UpstreamWish::None {
        let found = ancestors::found(job, wish, digest_of).await.ok()?.into_iter();
        let seen = found.map(|it| Earlier {
            output: Some(it.output),
            seen_as: Some((it.task_id.as_str(), it.is_direct)),
        });
        return Some(seen.collect());
    }
    let names = &job.spec().dependencies;
    let mut digests = Vec::with_capacity(names.len());
    for names in names.chunks(OUTPUTS_PAGE) {
        let places: Option<_> = names.iter().map(|it| job.document.place(it.as_str())).collect();
        let outputs = job.journal.outputs(job.dispatch, places?).await.ok()?;
        let digest = |it: Option<String>| it.as_deref().map(digest_of);
        digests.extend(outputs.into_iter().map(|it| Earlier { output: digest(it), seen_as: None }));
    }
    Some(digests)
}

async fn read(
    job: &AttemptJob,
    files: Vec<String>,
    digests: fn(&Workspaces, &[String]) -> Option<Vec<Digest>>,
) -> Option<Vec<Digest>> {
    if files.is_empty() {
        return Some(Vec::new());
    }
    let workspaces = job.workspaces.clone();
    tokio::task::spawn_blocking(move || digests(&workspaces, &files)).await.ok()?
}
