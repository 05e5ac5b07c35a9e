//! Which resources hold more than an answer says.

use rmcp::model::Resource;

use super::uri::ResourceUri;
use crate::model::{
    ClaimAnswer, DispatchId, DispatchResult, HandedIn, LeaseReport, PlanReport, TaskId, TaskResult,
    TaskStatus, TraceContext, TracePage,
};

/// The most links of one answer.
const LINKS_MAX: usize = 20;

/// Something that tools answer.
pub(in crate::mcp) trait Linked {
    /// The resources that hold more of it, most useful first; at most 20.
    fn links(&self) -> Vec<Resource> {
        Vec::new()
    }

    /// The trace that whoever is answered goes on with.
    fn trace(&self) -> Option<&TraceContext> {
        None
    }
}

impl Linked for ClaimAnswer {
    fn trace(&self) -> Option<&TraceContext> {
        self.task.as_ref()?.trace.as_ref()
    }
}

impl Linked for HandedIn {}

impl Linked for LeaseReport {}

impl Linked for DispatchResult {
    /// The dispatch, and the tasks whose outputs were cut or left out.
    fn links(&self) -> Vec<Resource> {
        let is_elsewhere = |it: &&TaskResult| {
            it.output_truncated || (it.status == TaskStatus::Success && it.output.is_null())
        };
        let tasks = self.results.iter().filter(is_elsewhere);
        let tasks = tasks.map(|it| task(self.dispatch_id, &it.task_id));
        std::iter::once(dispatch(self.dispatch_id)).chain(tasks).take(LINKS_MAX).collect()
    }
}

impl Linked for PlanReport {
    fn links(&self) -> Vec<Resource> {
        let uri = ResourceUri::Plan(self.plan_id).to_string();
        vec![Resource::new(uri, "plan").with_mime_type("text/markdown")]
    }
}

impl Linked for TracePage {
    /// The traces of the tasks that a page which is not the last one is about.
    fn links(&self) -> Vec<Resource> {
        let Some(id) = self.dispatch_id.filter(|_| self.next_cursor.is_some()) else {
            return Vec::new();
        };
        let mut tasks: Vec<&TaskId> = Vec::new();
        for task in self.events.iter().filter_map(|it| it.task_id.as_ref()) {
            if tasks.len() < LINKS_MAX && !tasks.contains(&task) {
                tasks.push(task);
            }
        }
        tasks.into_iter().map(|it| trace(id, it)).collect()
    }
}

fn dispatch(id: DispatchId) -> Resource {
    let uri = ResourceUri::Dispatch(id).to_string();
    Resource::new(uri, "dispatch").with_mime_type("application/json")
}

fn task(id: DispatchId, task: &TaskId) -> Resource {
    let uri = ResourceUri::Task(id, task.clone()).to_string();
    Resource::new(uri, format!("output of {task}")).with_mime_type("application/json")
}

fn trace(id: DispatchId, task: &TaskId) -> Resource {
    let uri = ResourceUri::Trace(id, task.clone()).to_string();
    Resource::new(uri, format!("trace of {task}")).with_mime_type("application/json")
}
