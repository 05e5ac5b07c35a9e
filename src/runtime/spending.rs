//! What a dispatch may use and has used: in its rows, in its reports, and when that is changed.

use serde::{Deserialize, Serialize};

use super::{batch::Batch, document::Meta, live::Live};
use crate::{
    model::{
        Budget, BudgetLimit, BudgetReport, BudgetSpec, DispatchId, DispatchResult, DispatchStatus,
        Failure, FailureCode, Millis, Settlement, Spend, Spent, TaskStatus, TraceKind,
    },
    ports::{DispatchRow, RecordBody, RecordFilter, Snapshot, StoreError, StoredTask, TaskRow},
    scheduler::{Event, Input, Outbox, settlement},
};

/// How many records about budgets are read from the store at once.
const RECORDS_PAGE: usize = 1_000;

/// The budget of a dispatch as it stands in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredBudget {
    /// The limits that it was accepted with.
    pub(super) limits: Budget,
    /// What the dispatches that it retries had used.
    #[serde(default)]
    pub(super) before: Spent,
}

/// Keeps a task's accounts by what happens to it.
pub(super) fn account(row: &mut TaskRow, event: &Event) {
    if let Event::AttemptStarted { reserve, .. } = event {
        if !reserve.is_zero() || row.usage.is_some() {
            row.usage.get_or_insert_default().reserve(*reserve);
        }
        return;
    }
    if let Event::NestedSpent { spend, tasks, .. } = *event {
        let usage = row.usage.get_or_insert_default();
        usage.nested += spend;
        usage.nested_tasks = usage.nested_tasks.saturating_add(tasks);
        return;
    }
    if row.status != TaskStatus::Running {
        return;
    }
    // Whatever else happens to a task that runs ends its attempt.
    let (said, how) = if let Event::AttemptEnded { usage, result, .. } = event {
        (*usage, settlement(result.as_ref().err().map(|it| it.code)))
    } else {
        (None, Settlement::Ran)
    };
    if said.is_some() || row.usage.is_some() {
        row.usage.get_or_insert_default().settle(said, how);
    }
}

/// Ends a task's row because the budget is exceeded.
pub(super) fn drop_task(row: &mut TaskRow, now: Millis, what: BudgetLimit) {
    let what = what.as_str();
    let (status, outcome) = if row.status == TaskStatus::Running {
        (TaskStatus::Cancelled, "stopped")
    } else if row.attempts > 0 {
        (TaskStatus::Error, "not tried again")
    } else {
        (TaskStatus::Skipped, "not started")
    };
    let message = format!("{outcome}: the dispatch's budget of {what} is used up");
    row.status = status;
    row.failure = Some(Failure::new(FailureCode::BudgetExceeded, message));
    row.ended_at = Some(now);
}

/// What a dispatch used, its reserves apart; `before` is what it took over.
pub(super) fn spent(
    row: &DispatchRow,
    tasks: &[StoredTask],
    before: Spent,
    now: Millis,
) -> (Spent, Spend) {
    let mut spent = before;
    let mut reserved = Spend::default();
    let is_kept = |it: &StoredTask| it.row.usage.as_ref().is_some_and(|it| it.is_kept);
    let own = tasks.iter().filter(|it| it.row.attempts > 0 && !is_kept(it));
    for it in own {
        spent.tasks = spent.tasks.saturating_add(1);
        if let Some(usage) = &it.row.usage {
            spent.spend += usage.spent + usage.nested;
            spent.tasks = spent.tasks.saturating_add(usage.nested_tasks);
            reserved += usage.reserved;
        }
    }
    let wall = row.ended_at.unwrap_or(now).since(row.created_at);
    spent.wall = Millis(spent.wall.0.saturating_add(wall.0));
    (spent, reserved)
}

/// The budget in force, and the limit that is exceeded.
pub(super) fn in_force(
    snapshot: &dyn Snapshot,
    dispatch: DispatchId,
    first: Budget,
) -> Result<(Budget, Option<BudgetLimit>), StoreError> {
    let kinds = vec![TraceKind::BudgetExceeded, TraceKind::BudgetChanged];
    let mut filter = RecordFilter { kinds, limit: RECORDS_PAGE, ..RecordFilter::default() };
    let (mut limits, mut exceeded) = (first, None);
    loop {
        let records = snapshot.records(dispatch, &filter)?;
        let Some(last) = records.last() else { return Ok((limits, exceeded)) };
        filter.after = last.seq;
        for it in &records {
            if let RecordBody::Scheduler(Event::BudgetExceeded { what }) = it.body {
                exceeded = Some(what);
            } else if let RecordBody::Scheduler(Event::BudgetChanged { budget }) = it.body {
                (limits, exceeded) = (budget, None);
            }
        }
    }
}

/// What results say of the budget, where there is one.
pub(super) fn budget_report(
    snapshot: &dyn Snapshot,
    (row, tasks): (&DispatchRow, &[StoredTask]),
    meta: &Meta,
    now: Millis,
) -> Result<Option<BudgetReport>, StoreError> {
    let Some(StoredBudget { limits, before }) = meta.budget else { return Ok(None) };
    let (limits, exceeded) = in_force(snapshot, row.dispatch, limits)?;
    let (spent, reserved) = spent(row, tasks, before, now);
    Ok(Some(BudgetReport {
        limits: limits.to_spec(),
        spent: spent.into(),
        reserved: reserved.into(),
        exceeded,
    }))
}

/// What to do about an exceeded budget.
pub(super) fn next_step(result: &DispatchResult) -> Option<String> {
    let what = result.budget.as_ref()?.exceeded?.as_str();
    let id = result.dispatch_id;
    match result.status {
        DispatchStatus::Running => Some(format!(
            "its budget of {what} is used up: raise it with control_dispatch {{\"dispatch_id\": \
             \"{id}\", \"action\": \"set_budget\", \"budget\": {{\"{what}\": …}}}}, or \
             cancel_dispatch"
        )),
        DispatchStatus::Success => None,
        DispatchStatus::Partial | DispatchStatus::Failure | DispatchStatus::Cancelled => {
            Some(format!(
                "its budget of {what} is used up, and a retry goes on with it: retry_dispatch \
                 {{\"dispatch_id\": \"{id}\", \"budget\": {{\"{what}\": …}}}} gives another one"
            ))
        }
    }
}

impl Live {
    /// Changes limits of the budget; those that `change` does not name stay. A dispatch without one
    /// has one from now on, of which all counts as used that it has used so far.
    pub(super) fn set_budget(
        &mut self,
        now: Millis,
        change: &BudgetSpec,
        out: &mut Outbox,
        batch: &mut Batch,
    ) {
        let budget = self.scheduler.budget().unwrap_or_default().changed(change);
        if self.meta.budget.is_none() {
            // Reports look for what changed only where there is a budget.
            let first = StoredBudget { limits: budget, before: Spent::default() };
            self.change_meta(batch, |it| it.budget = Some(first));
        }
        self.handle(now, Input::SetBudget { budget }, out, batch);
    }
}
