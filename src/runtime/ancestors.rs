//! What all those tasks answered that a task depends on, for agents that build on it.

use serde_json::Value;

use super::attempt::AttemptJob;
use crate::{
    model::{Failure, FailureCode, TaskIdx},
    ports::UpstreamOutput,
};

/// How many outputs are read from the store at once.
const OUTPUTS_PAGE: usize = 64;
/// The most bytes of outputs that an agent gets in this way.
const OUTPUTS_BYTES_MAX: usize = 64 << 20;

/// The outputs of the tasks that the job's task depends on, directly or through others, each
/// behind those that it depends on itself. Tasks without an output are left out.
pub(super) async fn outputs(job: &AttemptJob) -> Result<Vec<UpstreamOutput>, Failure> {
    let ancestors = ancestors(job);
    let (mut found, mut n_bytes) = (Vec::new(), 0);
    for page in ancestors.chunks(OUTPUTS_PAGE) {
        let outputs = job.journal.outputs(job.dispatch, page.to_vec()).await.map_err(|it| {
            Failure::new(FailureCode::Interrupted, format!("failed to read upstream outputs: {it}"))
        })?;
        for (task, json) in page.iter().zip(outputs) {
            let Some(json) = json else { continue };
            n_bytes += json.len();
            if n_bytes > OUTPUTS_BYTES_MAX {
                let message = format!("upstream outputs exceed {} MiB", OUTPUTS_BYTES_MAX >> 20);
                return Err(Failure::new(FailureCode::UpstreamLimit, message));
            }
            let task_id = job.document.tasks[task.as_usize()].task_id.clone();
            let output = serde_json::from_str::<Value>(&json).unwrap_or_default();
            found.push(UpstreamOutput { task_id, output });
        }
    }
    Ok(found)
}

/// Goes down to what depends on nothing and comes back up; without recursion, for chains are long.
fn ancestors(job: &AttemptJob) -> Vec<TaskIdx> {
    let dependencies = |task: TaskIdx| {
        let names = &job.document.tasks[task.as_usize()].dependencies;
        names.iter().rev().filter_map(|it| job.document.place(it.as_str())).collect::<Vec<_>>()
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
