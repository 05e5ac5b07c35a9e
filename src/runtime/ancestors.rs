//! What all those tasks answered that a task depends on, for agents that build on it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::attempt::AttemptJob;
use crate::{
    model::{Failure, FailureCode, TaskId, TaskIdx},
    ports::{UpstreamOutput, UpstreamWish},
};

/// How many outputs are read from the store at once.
const OUTPUTS_PAGE: usize = 64;
/// The most bytes of outputs that an agent gets in this way.
const OUTPUTS_BYTES_MAX: usize = 64 << 20;

/// The outputs of the tasks that the job's task depends on, as far as the agent wants them. Tasks
/// without an output are left out.
pub(super) async fn outputs(
    job: &AttemptJob,
    wish: UpstreamWish,
) -> Result<Vec<UpstreamOutput>, Failure> {
    let found = found(job, wish, |json| serde_json::from_str::<Value>(json).unwrap_or_default());
    let found = found.await?.into_iter();
    let shown = found.map(|Found { task_id, is_direct, output }| UpstreamOutput {
        task_id: task_id.clone(),
        output,
        is_direct,
    });
    Ok(shown.collect())
}

/// What an agent is shown of one task before it, as `T`.
pub(super) struct Found<'j, T> {
    pub(super) task_id: &'j TaskId,
    pub(super) is_direct: bool,
    pub(super) output: T,
}

/// The same outputs, of whose JSON texts `read` makes something.
pub(super) async fn found<T>(
    job: &AttemptJob,
    wish: UpstreamWish,
    read: impl Fn(&str) -> T,
) -> Result<Vec<Found<'_, T>>, Failure> {
    if wish == UpstreamWish::None {
        return Ok(Vec::new());
    }
    let direct = dependencies(job, job.task);
    let is_direct: BTreeSet<TaskIdx> = direct.iter().copied().collect();
    let ancestors = if wish == UpstreamWish::All { ancestors(job) } else { direct };
    let (mut found, mut n_bytes) = (Vec::new(), 0);
    for page in ancestors.chunks(OUTPUTS_PAGE) {
        let outputs = job.journal.outputs(job.dispatch, page.to_vec()).await.map_err(|it| {
            Failure::new(FailureCode::Interrupted, format!("failed to read upstream outputs: {it}"))
        })?;
        for (task, json) in page.iter().zip(outputs) {
            let Some(json) = json else { continue };
            n_bytes += json.len();
            if n_bytes > OUTPUTS_BYTES_MAX && wish == UpstreamWish::Direct {
                return Ok(found);
            }
            if n_bytes > OUTPUTS_BYTES_MAX {
                let message = format!("upstream outputs exceed {} MiB", OUTPUTS_BYTES_MAX >> 20);
                return Err(Failure::new(FailureCode::UpstreamLimit, message));
            }
            let task_id = &job.document.tasks[task.as_usize()].task_id;
            let is_direct = is_direct.contains(task);
            found.push(Found { task_id, is_direct, output: read(&json) });
        }
    }
    Ok(found)
}

fn dependencies(job: &AttemptJob, task: TaskIdx) -> Vec<TaskIdx> {
    let names = &job.document.tasks[task.as_usize()].dependencies;
    names.iter().filter_map(|it| job.document.place(it.as_str())).collect()
}

/// Goes down to what depends on nothing and comes back up; without recursion, for chains are long.
fn ancestors(job: &AttemptJob) -> Vec<TaskIdx> {
    let dependencies = |task: TaskIdx| {
        let mut places = dependencies(job, task);
        places.reverse();
        places
    };
    let mut is_seen = vec![false; job.document.tasks.len()];
    let mut in_order = Vec::new();
    let mut way = vec![(job.task, dependencies(job.task))];
    while let Some((task, to_visit)) = way.last_mut() {
        match to_visit.pop() {
            Some(next) if is_seen[next.as_usize()] => {}
            Some(next) => {
                is_seen[next.as_usize()] = true;
                way.push((next, dependencies(next)));
            }
            None => {
                in_order.push(*task);
                way.pop();
            }
        }
    }
    in_order.pop();
    in_order
}
