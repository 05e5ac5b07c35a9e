//! What faces look up by name: newest things, ids by how they begin, plans, one task, agents.

use std::sync::Arc;

use futures::future::join_all;
use uuid::Uuid;

use super::{
    AgentOptions,
    handle::DispatcherHandle,
    query::{self, ResultQuery},
};
use crate::{
    model::{
        AgentName, AgentReport, DispatchId, DispatchResult, DispatchStatus, ErrorCode, Millis,
        PlanId, PlanReport, Refusal, TaskId, TaskResult, TracePage, View, text,
    },
    plan::InputKind,
    ports::{Journal, StoreError},
};

/// How many ids one look-up answers.
const FOUND_MAX: usize = 100;
/// How many of the newest dispatches are compared.
const NEWEST_MAX: usize = 50;
/// How many events are read at once.
const EVENTS_MAX: usize = 1_000;

/// The newest dispatches and the newest plan; another value means that lists of them have changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Newest {
    dispatches: Vec<(DispatchId, DispatchStatus)>,
    plan: Option<PlanId>,
}

/// What begins as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The names; at most 100.
    pub names: Vec<String>,
    /// How many there are, if that is known.
    pub total: Option<usize>,
}

impl Newest {
    pub(super) async fn read(journal: &Arc<dyn Journal>) -> Result<Self, StoreError> {
        let rows = journal.recent(None, None, NEWEST_MAX).await?;
        let plans = journal.recent_plans(None, None, 1).await?;
        Ok(Self {
            dispatches: rows.iter().map(|it| (it.dispatch, it.status)).collect(),
            plan: plans.first().map(|it| it.0),
        })
    }
}

/// The refusal of a plan that is not there.
pub(super) fn unknown_plan(plan: PlanId) -> Refusal {
    let message = format!("there is no plan {plan}");
    let hint = "make one with plan_tasks, or pass tasks";
    Refusal::of(ErrorCode::UnknownPlan, "/plan_id", &message, hint)
}

impl Found {
    fn new(names: impl Iterator<Item = String>) -> Self {
        let mut names: Vec<_> = names.take(FOUND_MAX + 1).collect();
        let total = (names.len() <= FOUND_MAX).then_some(names.len());
        names.truncate(FOUND_MAX);
        Self { names, total }
    }
}

impl DispatcherHandle {
    /// The newest dispatches and the newest plan, to be compared.
    pub async fn newest(&self) -> Result<Newest, Refusal> {
        Newest::read(&self.dependencies.journal).await.map_err(|it| query::refuse(&it))
    }

    /// The newest plans, with the times at which they were made.
    pub async fn recent_plans(&self, limit: usize) -> Result<Vec<(PlanId, Millis)>, Refusal> {
        let plans = self.dependencies.journal.recent_plans(None, None, limit).await;
        plans.map_err(|it| query::refuse(&it))
    }

    /// The dispatches whose ids begin with `prefix`, newest first.
    pub async fn dispatches_like(&self, prefix: &str) -> Result<Found, Refusal> {
        let Some(prefix) = Prefix::read(prefix) else { return Ok(Found::new(std::iter::empty())) };
        let before = prefix.end().map(DispatchId::new);
        let rows = self.dependencies.journal.recent(None, before, FOUND_MAX + 1).await;
        let rows = rows?;
        Ok(Found::new(prefix.only(rows.iter().map(|it| it.dispatch.to_string()))))
    }

    /// The plans whose ids begin with `prefix`, newest first.
    pub async fn plans_like(&self, prefix: &str) -> Result<Found, Refusal> {
        let Some(prefix) = Prefix::read(prefix) else { return Ok(Found::new(std::iter::empty())) };
        let before = prefix.end().map(PlanId::new);
        let plans = self.dependencies.journal.recent_plans(None, before, FOUND_MAX + 1).await;
        let plans = plans?;
        Ok(Found::new(prefix.only(plans.iter().map(|it| it.0.to_string()))))
    }

    /// The tasks of a dispatch whose ids begin with `prefix`, in document order.
    pub async fn tasks_like(&self, dispatch: DispatchId, prefix: &str) -> Result<Found, Refusal> {
        let (_, tasks) = query::overview(&self.dependencies.journal, dispatch).await?;
        let names = tasks.iter().map(|it| it.task_id.as_str()).filter(|it| it.starts_with(prefix));
        let total = Some(names.clone().count());
        Ok(Found { total, ..Found::new(names.map(str::to_owned)) })
    }

    /// What a stored plan means now: its estimates are of today.
    pub async fn stored_plan(&self, plan: PlanId) -> Result<PlanReport, Refusal> {
        let checked = self.planned(plan).await?;
        Ok(self.plan_report(plan, checked).await)
    }

    /// Refuses a plan that is not there; whether it could still be dispatched is not looked at.
    pub async fn check_plan(&self, plan: PlanId) -> Result<(), Refusal> {
        let stored = self.dependencies.journal.plan(plan).await?;
        stored.map(|_| ()).ok_or_else(|| unknown_plan(plan))
    }

    /// Whether a dispatch runs, or how it ended.
    pub async fn status(&self, dispatch: DispatchId) -> Result<DispatchStatus, Refusal> {
        let row = query::dispatch_row(&self.dependencies.journal, dispatch).await?;
        Ok(row.status)
    }

    /// Where a dispatch and its tasks stand, without outputs; as many tasks as fit `chars_max`
    /// characters of JSON text.
    pub async fn bounded_result(
        &self,
        dispatch: DispatchId,
        chars_max: usize,
    ) -> Result<DispatchResult, Refusal> {
        let (view, first) = (View::Summary, ResultQuery::page(dispatch));
        self.answer(ResultQuery { view, chars_max, ..first }).await
    }

    /// One task with its whole output, which is cut if the task would be longer than `chars_max`
    /// characters of JSON text.
    pub async fn task_result(
        &self,
        dispatch: DispatchId,
        task: &TaskId,
        chars_max: usize,
    ) -> Result<TaskResult, Refusal> {
        let tasks = Some(vec![task.clone()]);
        let query = ResultQuery { tasks, chars_max, ..ResultQuery::page(dispatch) };
        let mut result = self.answer(query).await?;
        result.results.pop().ok_or_else(|| query::no_task(task, "ask again"))
    }

    /// What happened to one task, oldest first, up to about `chars_max` characters of JSON text.
    pub async fn task_trace(
        &self,
        dispatch: DispatchId,
        task: &TaskId,
        chars_max: usize,
    ) -> Result<TracePage, Refusal> {
        let journal = &self.dependencies.journal;
        let (mut whole, mut chars, mut after) = (TracePage::default(), 0, 0);
        loop {
            let (task, kinds, part) = (Some(task.clone()), Vec::new(), (after, EVENTS_MAX));
            let page = query::trace_page(journal, dispatch, task, kinds, part).await?;
            chars += serde_json::to_string(&page).map_or(0, |it| it.chars().count());
            whole.events.extend(page.events);
            (whole.dispatch_id, whole.next_cursor) = (page.dispatch_id, page.next_cursor);
            let next = whole.next_cursor.as_ref().and_then(|it| it.parse().ok());
            match next {
                Some(next) if chars < chars_max => after = next,
                _ => return Ok(whole),
            }
        }
    }

    /// The agents that documents may name, and who serves each now.
    pub async fn agent_reports(&self) -> Vec<AgentReport> {
        join_all(self.options.agents.iter().map(|(name, it)| self.agent_report(name, it))).await
    }

    async fn agent_report(&self, name: &AgentName, options: &AgentOptions) -> AgentReport {
        let bound = self.dependencies.agents.bind(name).await;
        let (served_by, warnings, problem) = match bound {
            Ok(it) => (Some(it.backend.lane().to_owned()), it.warnings, None),
            Err(error) => (None, Vec::new(), Some(format!("{error}: {}", error.hint()))),
        };
        AgentReport {
            name: name.clone(),
            description: describe(options.input).to_owned(),
            is_available: served_by.is_some(),
            served_by: served_by.map(|it| text::escape(&it)),
            problem: problem.map(|it| text::escape(&it)),
            warnings,
            timeout_seconds: options.timeout_seconds.unwrap_or(self.options.timeout_seconds),
        }
    }
}

/// What an agent is for, as far as its kind says it.
fn describe(input: InputKind) -> &'static str {
    match input {
        InputKind::Coder => {
            "writes code: input_data has contract_description, node_type and output_path"
        }
        InputKind::Debug => {
            "investigates: input_data has problem_description, and may have affected_files and \
             error_traces"
        }
        InputKind::Tool => {
            "calls a tool that agents.tool.allow names: input_data has upstream, tool and arguments"
        }
        InputKind::Free => "takes any input_data",
    }
}

/// The beginning of a UUID as it is written: ids that share it lie beside each other.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Prefix(String);

impl Prefix {
    /// Reads what somebody typed; none if no UUID begins so.
    fn read(typed: &str) -> Option<Self> {
        let is_fine = |(at, it): (usize, char)| match at {
            8 | 13 | 18 | 23 => it == '-',
            _ => it.is_ascii_hexdigit(),
        };
        let is_fine = typed.len() <= 36 && typed.char_indices().all(is_fine);
        is_fine.then(|| Self(typed.to_ascii_lowercase()))
    }

    /// The UUID after all those that begin so, if there is one.
    fn end(&self) -> Option<Uuid> {
        let digits: String = self.0.chars().filter(|it| *it != '-').collect();
        let last = u128::from_str_radix(&format!("{digits:f<32}"), 16).ok()?;
        last.checked_add(1).map(Uuid::from_u128)
    }

    /// Of ids that come newest first from [`Self::end`], those that begin so.
    fn only(&self, ids: impl Iterator<Item = String>) -> impl Iterator<Item = String> {
        ids.take_while(|it| it.starts_with(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix_is_the_first_id_that_does_not_begin_so() {
        let end = |typed: &str| Prefix::read(typed).unwrap().end().map(|it| it.to_string());
        assert_eq!(end("01a1fc9F-89").as_deref(), Some("01a1fc9f-8a00-0000-0000-000000000000"));
        let whole = "01a1fc9e-89fa-72a4-9bad-541041093f73";
        assert_eq!(end(whole).as_deref(), Some("01a1fc9e-89fa-72a4-9bad-541041093f74"));
        assert_eq!((end(""), end("ffff")), (None, None));
    }

    #[test]
    fn what_no_id_begins_with_is_no_prefix() {
        for typed in ["x", "01a1fc9e8", "01a1fc9e-89fa-72a4-9bad-541041093f731", "01a1-", "é"] {
            assert_eq!(Prefix::read(typed), None, "{typed:?}");
        }
    }
}
