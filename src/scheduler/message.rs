//! What goes into the scheduler and what comes out.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    budget::Left,
    gate::{Gate, GateAnswer},
    grow::Growth,
};
use crate::model::{
    Attempt, AttemptResult, Budget, BudgetLimit, DispatchStatus, Failure, Millis, Reused, Spend,
    TaskIdx, Usage,
};

/// What the shell tells the scheduler.
#[derive(Clone, Debug)]
pub enum Input {
    /// These tasks succeeded in an earlier dispatch and need not run; said before `Start`.
    Keep {
        /// The tasks whose results are taken over.
        tasks: Vec<TaskIdx>,
    },
    /// Begin, or go on after a replay: attempts of a former process are started anew.
    Start,
    /// An attempt ended. A report about an attempt no longer running is ignored.
    AttemptEnded {
        /// The task tried.
        task: TaskIdx,
        /// Which try.
        attempt: Attempt,
        /// Its verdict.
        result: AttemptResult,
        /// What its agent says that it used.
        usage: Option<Usage>,
    },
    /// The agent of an attempt shows that it goes on. It moves the attempt's idle deadline and
    /// makes no event: after a replay every attempt is another one, so there is nothing to keep.
    Heartbeat {
        /// The task tried.
        task: TaskIdx,
        /// Which try.
        attempt: Attempt,
    },
    /// How many attempts may start now, in all and in lanes; lanes not named keep what they have.
    ///
    /// `u32::MAX` means that there is no limit from now on, as at first. Any other number is for
    /// now: what is not used at once lapses, and nothing starts until more is allowed. It makes no
    /// event of its own, since what it leads to is in the starts.
    Allow {
        /// In all.
        starts: u32,
        /// By lane.
        lanes: Vec<(u16, u32)>,
    },
    /// What was found out at a gate. An answer to what is no longer asked is ignored.
    Answer {
        /// The task that is held.
        task: TaskIdx,
        /// The gate that holds it.
        gate: Gate,
        /// What becomes of it.
        answer: GateAnswer,
    },
    /// There are more tasks. Those that a task becomes are an answer to [`Action::Ask`] with
    /// [`Gate::Expansion`], and are ignored if that is no longer asked.
    Grow {
        /// The task that becomes them, if one does.
        parent: Option<TaskIdx>,
        /// All tasks, the new ones last.
        growth: Arc<Growth>,
    },
    /// Nothing new shall start of these tasks and of what depends on them.
    Pause {
        /// The tasks; the whole dispatch if empty.
        tasks: Vec<TaskIdx>,
    },
    /// What was paused shall go on.
    Resume {
        /// The tasks, as they were paused; every pause is lifted if empty.
        tasks: Vec<TaskIdx>,
    },
    /// Another number of attempts may run at once from now on.
    SetWorkers {
        /// How many; 0 is ignored.
        workers_max: u32,
    },
    /// The dispatch has another budget from now on.
    SetBudget {
        /// All of it.
        budget: Budget,
    },
    /// A dispatch that the agent of `task` asked for has used so much more.
    Charge {
        /// The task.
        task: TaskIdx,
        /// Tokens and money.
        spend: Spend,
        /// How many tasks were started.
        tasks: u32,
    },
    /// What nested dispatches reserve, and what the budgets above leave. It is about now and makes
    /// no event.
    Fund {
        /// What dispatches that its agents asked for reserve.
        nested: Spend,
        /// What the budgets of the dispatches above leave; nothing if there is none.
        left: Option<Left>,
    },
    /// A dispatch that its agents asked for needs more than the budget leaves, and nothing that
    /// runs will change that.
    Overdraw {
        /// Which limit.
        what: BudgetLimit,
    },
    /// The caller wants no more of the whole dispatch.
    Cancel,
    /// The caller wants no more of these tasks, and so of what depends on them.
    CancelTasks {
        /// The tasks given up; those that have ended already are left alone.
        tasks: Vec<TaskIdx>,
    },
}

/// A fact. Facts are journaled in order and never change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A task counts as succeeded because of an earlier dispatch.
    TaskKept {
        /// The task taken over.
        task: TaskIdx,
    },
    /// A task has come to a gate, and the question is asked.
    GateReached {
        /// The task held.
        task: TaskIdx,
        /// What holds it.
        gate: Gate,
        /// When the question must have been answered.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Millis>,
    },
    /// A task goes on.
    GatePassed {
        /// The task held.
        task: TaskIdx,
        /// What held it.
        gate: Gate,
    },
    /// A task failed before it could start.
    GateFailed {
        /// The task held.
        task: TaskIdx,
        /// What held it.
        gate: Gate,
        /// Why it cannot run.
        failure: Failure,
    },
    /// A task counts as succeeded by a result that was found for it.
    TaskReused {
        /// The task that need not run.
        task: TaskIdx,
        /// Where the result was found.
        from: Box<Reused>,
    },
    /// All that a task became has ended, and it counts as succeeded.
    TaskJoined {
        /// The task that is one again.
        task: TaskIdx,
    },
    /// There are more tasks than before.
    TasksAdded {
        /// How many there are now.
        n_tasks: u32,
        /// The task that became them, if one did; it waits for them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        parent: Option<TaskIdx>,
    },
    /// An attempt holds a worker from now on.
    AttemptStarted {
        /// The task tried.
        task: TaskIdx,
        /// Which try.
        attempt: Attempt,
        /// When it must have ended.
        deadline: Millis,
        /// What the start was decided on.
        #[serde(default, skip_serializing_if = "Decision::is_unknown")]
        decision: Decision,
        /// When the task must have ended, over all its attempts; the same in each.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        total_deadline: Option<Millis>,
        /// What is reserved of the budget for it.
        #[serde(default, skip_serializing_if = "Spend::is_zero")]
        reserve: Spend,
    },
    /// An attempt gave its worker back.
    AttemptEnded {
        /// The task tried.
        task: TaskIdx,
        /// Which try.
        attempt: Attempt,
        /// Its verdict.
        result: AttemptResult,
        /// When the task is to be tried again; without it the task has ended.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_at: Option<Millis>,
        /// What its agent says that it used.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        usage: Option<Usage>,
    },
    /// The wait before a task's next attempt is over.
    RetryDue {
        /// The task to try again.
        task: TaskIdx,
    },
    /// A task passed its total deadline while it waited for its next attempt.
    TaskExpired {
        /// The task that failed.
        task: TaskIdx,
    },
    /// The process that ran an attempt is gone, and the attempt with it.
    AttemptInterrupted {
        /// The task tried.
        task: TaskIdx,
        /// Which try.
        attempt: Attempt,
    },
    /// A task is not needed and will never start.
    TaskOmitted {
        /// The task left out.
        task: TaskIdx,
        /// The task that was left out first, if it was another one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        because: Option<TaskIdx>,
        /// Why, where it was this one.
        #[serde(default, skip_serializing_if = "str::is_empty")]
        reason: Box<str>,
    },
    /// A task will never start.
    TaskSkipped {
        /// The task given up.
        task: TaskIdx,
        /// The task whose end is the reason: the first that failed or was cancelled.
        because: TaskIdx,
    },
    /// A dispatch that the task's agent asked for has used so much more.
    NestedSpent {
        /// The task.
        task: TaskIdx,
        /// Tokens and money.
        #[serde(default, skip_serializing_if = "Spend::is_zero")]
        spend: Spend,
        /// How many tasks were started.
        tasks: u32,
    },
    /// A limit of the budget does not let the dispatch go on.
    BudgetExceeded {
        /// Which.
        what: BudgetLimit,
    },
    /// The dispatch has another budget, which nothing exceeds yet.
    BudgetChanged {
        /// All of it.
        budget: Budget,
    },
    /// A task was given up because the budget is exceeded.
    TaskDropped {
        /// The task given up.
        task: TaskIdx,
        /// The limit that was exceeded.
        what: BudgetLimit,
    },
    /// The caller gave a task up before it ended.
    TaskCancelled {
        /// The task given up.
        task: TaskIdx,
    },
    /// Nothing new of the dispatch starts.
    DispatchPaused,
    /// Nothing is paused any more.
    DispatchResumed,
    /// Nothing new starts of these tasks and of what depends on them.
    TasksPaused {
        /// The tasks that were named, in order.
        tasks: Vec<TaskIdx>,
    },
    /// These tasks are no longer paused by name.
    TasksResumed {
        /// The tasks that were named, in order.
        tasks: Vec<TaskIdx>,
    },
    /// Another number of attempts may run at once from now on.
    WorkersChanged {
        /// How many; at least 1.
        workers_max: u32,
    },
    /// The caller gave the whole dispatch up while tasks were open.
    DispatchCancelled,
    /// Nothing is left to do.
    DispatchEnded {
        /// The verdict.
        status: DispatchStatus,
    },
}

/// Why an attempt started when it did. It explains and decides nothing: a replay ignores it.
#[expect(clippy::struct_excessive_bools, reason = "each is a reason of its own")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// How many tasks were ready, this one included; 0 in journals that do not say.
    pub n_ready: u32,
    /// How long the task had been ready.
    #[serde(default, skip_serializing_if = "is_none")]
    pub waited: Millis,
    /// The dependency whose end made the task ready; none for attempts after the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released_by: Option<TaskIdx>,
    /// The task whose end gave the worker back; none where one was free anyway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_from: Option<TaskIdx>,
    /// The task whose end gave back what this one claims; none where it did not wait for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim_from: Option<TaskIdx>,
    /// Whether tasks with longer paths stayed behind, because their agents had no room.
    #[serde(default, skip_serializing_if = "is_false")]
    pub overtakes: bool,
    /// Whether it was a limit beyond the dispatch that let it start only now.
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_allowed: bool,
    /// Whether it could start because a pause was lifted.
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_resumed: bool,
    /// Whether it was the budget that let it start only now.
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_funded: bool,
}

impl Decision {
    /// Whether nothing is known of it.
    pub fn is_unknown(&self) -> bool {
        self.n_ready == 0
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_none(span: &Millis) -> bool {
    span.0 == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// What the shell is asked to do, once the events before it are durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Hand the task to an agent.
    StartAttempt {
        /// The task to try.
        task: TaskIdx,
        /// Which try.
        attempt: Attempt,
        /// When it must have ended.
        deadline: Millis,
    },
    /// Find out what becomes of a held task, and say so by [`Input::Answer`]. Asked again after a
    /// replay.
    Ask {
        /// The task held.
        task: TaskIdx,
        /// What holds it.
        gate: Gate,
    },
    /// Stop an attempt whose result no longer counts.
    StopAttempt {
        /// The task tried.
        task: TaskIdx,
        /// Which try.
        attempt: Attempt,
    },
    /// Answer whoever waits for the dispatch.
    Finish {
        /// The verdict.
        status: DispatchStatus,
    },
}

/// Filled by the scheduler, emptied by the shell; reused to spare allocations.
#[derive(Debug, Default)]
pub struct Outbox {
    /// To be journaled, in order.
    pub events: Vec<Event>,
    /// To be done afterwards, in order.
    pub actions: Vec<Action>,
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(decision: Decision, expected: &Expect) {
        let (task, attempt, deadline) = (TaskIdx::from_usize(0), Attempt(1), Millis(9));
        let (total_deadline, reserve) = (None, Spend::default());
        let event =
            Event::AttemptStarted { task, attempt, deadline, decision, total_deadline, reserve };
        let json = serde_json::to_value(&event).unwrap();
        expected.assert_eq(&json.get("decision").map(ToString::to_string).unwrap_or_default());
        assert_eq!(serde_json::from_value::<Event>(json).unwrap(), event);
    }

    #[test]
    fn of_a_decision_stands_only_what_is_known() {
        check(Decision::default(), &expect![[""]]);
        check(Decision { n_ready: 3, ..Decision::default() }, &expect![[r#"{"n_ready":3}"#]]);
        let waited = Decision { n_ready: 3, waited: Millis(5), ..Decision::default() };
        check(waited, &expect![[r#"{"n_ready":3,"waited":5}"#]]);
        let late = Decision { overtakes: true, is_allowed: true, ..waited };
        let expected = &expect![[r#"{"n_ready":3,"waited":5,"overtakes":true,"is_allowed":true}"#]];
        check(late, expected);
    }
}
