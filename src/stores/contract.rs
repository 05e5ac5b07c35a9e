//! What every store must do: one suite, run against each of them.

mod callers;
mod commits;
mod ownership;
mod tasks;
mod upkeep;

use std::sync::Arc;

use uuid::Uuid;

use crate::{
    model::{
        AgentName, Attempt, Budget, BudgetLimit, DispatchId, DispatchStatus, Failure, FailureCode,
        MicroUsd, Millis, PlanId, SpanId, Spend, TaskId, TaskIdx, TaskStatus, Timestamp, TraceKind,
        UpstreamCall, Usage, testing::reused_from,
    },
    ports::{
        Accept, Committed, DispatchRow, Epoch, Journal, KeyedDispatch, OwnerId, Record, RecordBody,
        RecordFilter, StoreError, StoredTask, TaskRow, Tenure, Upkeep, Write,
    },
    scheduler::{Decision, Event},
};

/// Runs the suite against the store that `$open` makes, next to what must outlive it.
macro_rules! journal_contract {
    ($open:expr) => {
        $crate::stores::contract::journal_contract! {
            @each $open;
            an_accepted_dispatch_reads_back_whole
            what_is_unknown_reads_as_nothing
            records_come_in_order_and_in_pages
            records_are_filtered_by_kind_and_task
            every_kind_of_record_reads_back
            recent_dispatches_come_newest_first_and_in_pages
            a_taken_key_refuses_the_dispatch_and_its_writes_only
            a_key_given_twice_in_one_commit_is_taken_by_the_first
            a_gap_in_the_records_undoes_the_whole_commit
            a_repeated_record_is_refused
            writes_about_what_is_unknown_are_refused
            a_dispatch_is_accepted_once
            counters_follow_the_tasks
            task_rows_read_back_whole
            outputs_come_in_the_order_asked
            an_output_is_replaced_by_a_later_attempt
            a_dispatch_that_grows_has_its_new_tasks_behind_the_others
            an_adopted_dispatch_has_its_new_owner_in_the_next_epoch
            one_of_two_adopters_wins
            what_went_on_or_ended_is_not_adopted
            a_stale_owner_writes_nothing
            leases_are_told_of_owners_of_open_dispatches_only
            an_ended_dispatch_is_no_longer_open
            requests_wait_for_the_owner
            a_refused_request_says_why
            plans_read_back
            a_dispatch_stays_with_its_caller
            lists_of_one_caller_hold_nobody_elses
            a_plan_stays_with_its_caller
            concurrent_commits_are_all_answered_and_readable
            a_large_output_reads_back
            a_document_and_what_reports_need_of_it_are_replaced
            an_empty_commit_is_answered
            changes_are_heard_of_once_and_none_is_missed
            what_ended_first_comes_first
            a_forgotten_dispatch_is_gone_with_its_key
            sweeping_leaves_what_is_kept
            sweeping_forgets_processes_that_are_long_gone
            the_size_of_a_dispatch_grows_with_what_is_written
            durations_add_up_by_kind
            the_durations_of_a_refused_commit_do_not_count
            only_so_many_kinds_of_an_agent_are_kept
            a_result_is_found_by_its_work
            a_later_result_of_the_same_work_takes_its_place
            a_result_goes_with_its_dispatch
            only_so_many_results_are_kept
            a_result_that_its_owner_did_not_write_is_not_found
            a_row_says_where_its_result_was_taken_from
        }
    };
    (@each $open:expr; $($name:ident)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let (_space, store) = $open;
                let store = std::sync::Arc::new(store);
                let upkeep = std::sync::Arc::clone(&store);
                $crate::stores::contract::$name(store, upkeep).await;
            }
        )+
    };
}
pub(super) use callers::{
    a_dispatch_stays_with_its_caller, a_plan_stays_with_its_caller,
    lists_of_one_caller_hold_nobody_elses,
};
pub(super) use commits::{
    an_empty_commit_is_answered, concurrent_commits_are_all_answered_and_readable,
};
pub(super) use journal_contract;
pub(super) use ownership::{
    a_refused_request_says_why, a_stale_owner_writes_nothing,
    an_adopted_dispatch_has_its_new_owner_in_the_next_epoch, an_ended_dispatch_is_no_longer_open,
    changes_are_heard_of_once_and_none_is_missed,
    leases_are_told_of_owners_of_open_dispatches_only, one_of_two_adopters_wins,
    requests_wait_for_the_owner, what_went_on_or_ended_is_not_adopted,
};
pub(super) use tasks::{
    a_dispatch_that_grows_has_its_new_tasks_behind_the_others,
    a_document_and_what_reports_need_of_it_are_replaced, a_large_output_reads_back,
    an_output_is_replaced_by_a_later_attempt, counters_follow_the_tasks,
    outputs_come_in_the_order_asked, task_rows_read_back_whole,
};
pub(super) use upkeep::{
    a_forgotten_dispatch_is_gone_with_its_key, plans_read_back,
    sweeping_forgets_processes_that_are_long_gone, sweeping_leaves_what_is_kept,
    the_size_of_a_dispatch_grows_with_what_is_written, what_ended_first_comes_first,
};

pub(super) use super::{duration_contract::*, reuse_contract::*};

pub(super) type Store = Arc<dyn Journal>;
pub(super) type Maintained = Arc<dyn Upkeep>;

pub(super) const OWNER: OwnerId = OwnerId(Uuid::from_u128(7));
const OTHER: OwnerId = OwnerId(Uuid::from_u128(8));

pub(super) fn id(number: u128) -> DispatchId {
    DispatchId::new(Uuid::from_u128(number))
}

pub(super) fn task(number: usize) -> TaskIdx {
    TaskIdx::from_usize(number)
}

pub(super) fn accept(number: u128, n_tasks: usize) -> Accept {
    let name = |it| (TaskId::new(&format!("task-{it}")), AgentName::new("coder"));
    Accept {
        dispatch: id(number),
        owner: OWNER,
        at: Millis(1_000),
        document: format!(r#"{{"number":{number}}}"#),
        meta: "{}".to_owned(),
        tasks: (0..n_tasks).map(name).collect(),
        idempotency: None,
        caller: None,
    }
}

pub(super) fn ended(number: u128, status: DispatchStatus, at: Millis) -> Write {
    Write::End { dispatch: id(number), status, at, critical_path: Millis(7) }
}

pub(super) fn accepted(number: u128, n_tasks: usize) -> Write {
    Write::Accept(Box::new(accept(number, n_tasks)))
}

fn accepted_with_key(number: u128, key: &str) -> Write {
    let idempotency = Some((key.to_owned(), [9; 32]));
    Write::Accept(Box::new(Accept { idempotency, ..accept(number, 1) }))
}

pub(super) fn record(number: u128, seq: u64, body: RecordBody) -> Write {
    Write::Record { dispatch: id(number), record: Record { seq, at: Millis(seq), body } }
}

pub(super) fn started(at: usize) -> RecordBody {
    let deadline = Millis(9_000);
    RecordBody::Scheduler(Event::AttemptStarted {
        task: task(at),
        attempt: Attempt(1),
        deadline,
        total_deadline: None,
        decision: Decision::default(),
        reserve: Spend::default(),
    })
}

pub(super) fn kept(at: usize) -> RecordBody {
    RecordBody::Scheduler(Event::TaskKept { task: task(at) })
}

pub(super) fn row(status: TaskStatus) -> TaskRow {
    TaskRow {
        status,
        attempts: 1,
        started_at: None,
        ended_at: None,
        failure: None,
        caused_by: None,
        reused: None,
        approval: None,
        usage: None,
        evidence: None,
    }
}

pub(super) fn moved(number: u128, at: usize, status: TaskStatus) -> Write {
    Write::Task { dispatch: id(number), task: task(at), row: row(status) }
}

pub(super) fn output(number: u128, at: usize, json: &str) -> Write {
    Write::Output { dispatch: id(number), task: task(at), json: json.to_owned() }
}

pub(super) async fn commit(store: &Store, writes: Vec<Write>) {
    assert_eq!(store.commit(writes.into()).await, Ok(Committed::default()));
}

pub(super) async fn refuse(store: &Store, writes: Vec<Write>) {
    let answer = store.commit(writes.into()).await;
    assert!(matches!(answer, Err(StoreError::Corrupt(_))), "{answer:?}");
}

pub(super) async fn seqs(store: &Store, number: u128, filter: RecordFilter) -> Vec<u64> {
    let records = store.records(id(number), filter).await.unwrap();
    records.iter().map(|it| it.seq).collect()
}

pub(super) fn everything() -> RecordFilter {
    RecordFilter { limit: usize::MAX, ..RecordFilter::default() }
}

fn tenure(owner: OwnerId, epoch: u32, last_seq: u64) -> Tenure {
    Tenure { owner, epoch: Epoch(epoch), last_seq }
}

fn adopted(number: u128, found: Tenure, owner: OwnerId) -> Write {
    Write::Adopt { dispatch: id(number), found, owner }
}

fn claimed(number: u128, owner: OwnerId, epoch: u32) -> Write {
    Write::Claim { dispatch: id(number), owner, epoch: Epoch(epoch) }
}

fn numbers(rows: &[DispatchRow]) -> Vec<u128> {
    let number = |it: &DispatchRow| u128::from_be_bytes(*it.dispatch.as_bytes());
    rows.iter().map(number).collect()
}

pub(super) async fn an_accepted_dispatch_reads_back_whole(store: Store, _: Maintained) {
    commit(&store, vec![accepted(1, 2), record(1, 1, kept(0))]).await;
    let row = DispatchRow {
        dispatch: id(1),
        tenure: Tenure { owner: OWNER, epoch: Epoch::FIRST, last_seq: 1 },
        status: DispatchStatus::Running,
        created_at: Millis(1_000),
        ended_at: None,
        n_tasks: 2,
        n_successful: 0,
        n_unsuccessful: 0,
        critical_path: Millis(0),
        meta: "{}".to_owned(),
        caller: None,
    };
    assert_eq!(store.dispatch(id(1)).await, Ok(Some(row.clone())));
    assert_eq!(store.document(id(1)).await, Ok(Some(r#"{"number":1}"#.to_owned())));
    let tasks = store.tasks(id(1)).await.unwrap();
    let pending = StoredTask {
        task: task(1),
        task_id: TaskId::new("task-1"),
        agent: AgentName::new("coder"),
        row: TaskRow { attempts: 0, ..self::row(TaskStatus::Pending) },
    };
    assert_eq!((tasks.len(), &tasks[1]), (2, &pending));
    assert_eq!(store.overview(id(1)).await, Ok(Some((row, tasks))));
    assert_eq!(store.outputs(id(1), vec![task(0)]).await, Ok(vec![None]));
}

pub(super) async fn what_is_unknown_reads_as_nothing(store: Store, _: Maintained) {
    commit(&store, vec![accepted(1, 1)]).await;
    let nobody = id(2);
    assert_eq!(store.dispatch(nobody).await, Ok(None));
    assert_eq!(store.overview(nobody).await, Ok(None));
    assert_eq!(store.document(nobody).await, Ok(None));
    assert_eq!(store.tasks(nobody).await, Ok(Vec::new()));
    assert_eq!(store.outputs(nobody, vec![task(0), task(1)]).await, Ok(vec![None, None]));
    assert_eq!(store.outputs(id(1), vec![task(99)]).await, Ok(vec![None]));
    assert_eq!(store.records(nobody, everything()).await, Ok(Vec::new()));
    assert_eq!(store.by_idempotency_key("key".to_owned()).await, Ok(None));
    assert_eq!(store.plan(PlanId::new(Uuid::from_u128(2))).await, Ok(None));
}

pub(super) async fn records_come_in_order_and_in_pages(store: Store, _: Maintained) {
    commit(&store, vec![accepted(1, 1), accepted(2, 1)]).await;
    for seq in 1..=5 {
        commit(&store, vec![record(1, seq, kept(0)), record(2, seq, kept(0))]).await;
    }
    assert_eq!(seqs(&store, 1, everything()).await, [1, 2, 3, 4, 5]);
    assert_eq!(seqs(&store, 1, RecordFilter { limit: 2, ..everything() }).await, [1, 2]);
    let second = RecordFilter { after: 2, limit: 2, ..everything() };
    assert_eq!(seqs(&store, 1, second).await, [3, 4]);
    let none = RecordFilter { after: u64::MAX, ..everything() };
    assert!(seqs(&store, 1, none).await.is_empty());
    assert!(seqs(&store, 1, RecordFilter::default()).await.is_empty());
}

pub(super) async fn records_are_filtered_by_kind_and_task(store: Store, _: Maintained) {
    let bodies = [kept(0), started(1), started(0), kept(1)];
    let records = (1..).zip(bodies).map(|(seq, body)| record(1, seq, body));
    commit(&store, [accepted(1, 2)].into_iter().chain(records).collect()).await;
    let of_task = |at| RecordFilter { task: Some(task(at)), ..everything() };
    assert_eq!(seqs(&store, 1, of_task(0)).await, [1, 3]);
    assert_eq!(seqs(&store, 1, of_task(1)).await, [2, 4]);
    let of_kind = |kinds: &[TraceKind]| RecordFilter { kinds: kinds.to_vec(), ..everything() };
    assert_eq!(seqs(&store, 1, of_kind(&[TraceKind::AttemptStarted])).await, [2, 3]);
    let two = [TraceKind::TaskKept, TraceKind::AttemptStarted];
    assert_eq!(seqs(&store, 1, of_kind(&two)).await, [1, 2, 3, 4]);
    assert!(seqs(&store, 1, of_kind(&[TraceKind::DispatchEnded])).await.is_empty());
    let both = RecordFilter { task: Some(task(1)), limit: 1, ..of_kind(&two) };
    assert_eq!(seqs(&store, 1, both).await, [2]);
}

fn failed_call() -> UpstreamCall {
    UpstreamCall {
        upstream: "archon".to_owned(),
        tool: "coder".to_owned(),
        at: Timestamp(Millis(1_795_232_640_123)),
        duration_ms: 5,
        ok: false,
        error: Some("größer als erlaubt".to_owned()),
        code: Some(FailureCode::UpstreamLimit),
        span_id: Some(SpanId::new(&[7; 8])),
        request_bytes: 1,
        response_bytes: u64::from(u32::MAX) + 1,
        usage: None,
    }
}

pub(super) async fn every_kind_of_record_reads_back(store: Store, _: Maintained) {
    let (task, attempt) = (task(0), Attempt(3));
    let failure = Failure::new(FailureCode::Timeout, "it took \"too\" long\n");
    let status = DispatchStatus::Failure;
    let decision = Decision {
        claim_from: Some(task),
        n_ready: 12,
        waited: Millis(u64::MAX),
        released_by: Some(task),
        worker_from: Some(task),
        overtakes: true,
        is_allowed: true,
        is_resumed: true,
        is_funded: true,
    };
    let scheduler = [
        Event::TaskKept { task },
        Event::TaskReused { task, from: Box::new(reused_from()) },
        Event::AttemptStarted {
            task,
            attempt,
            deadline: Millis(u64::MAX),
            total_deadline: Some(Millis(7)),
            decision,
            reserve: Spend { tokens: u64::MAX, cost: MicroUsd(1) },
        },
        Event::AttemptEnded { task, attempt, result: Ok(()), retry_at: None, usage: None },
        Event::AttemptEnded {
            task,
            attempt,
            result: Err(failure),
            retry_at: Some(Millis(9)),
            usage: Some(Usage { input_tokens: Some(3), ..Usage::default() }),
        },
        Event::BudgetExceeded { what: BudgetLimit::CostUsd },
        Event::BudgetChanged { budget: Budget { tokens: Some(9), ..Budget::default() } },
        Event::TaskDropped { task, what: BudgetLimit::Tasks },
        Event::AttemptInterrupted { task, attempt },
        Event::TaskSkipped { task, because: task },
        Event::TaskCancelled { task },
        Event::DispatchCancelled,
        Event::TasksPaused { tasks: vec![task] },
        Event::WorkersChanged { workers_max: 7 },
        Event::DispatchEnded { status },
    ];
    let missing = vec!["rag:x is not there".to_owned()];
    let others = [
        RecordBody::Accepted { n_tasks: 1, max_workers: 5 },
        RecordBody::UpstreamCall { task, attempt, call: failed_call() },
        RecordBody::ApprovalDecided { task, decision: "go".to_owned(), note: String::new() },
        RecordBody::ContextGathered { n_asked: 2, n_gathered: 1, missing, duration_ms: 4 },
    ];
    let bodies = scheduler.map(RecordBody::Scheduler).into_iter().chain(others);
    let at = Millis(u64::MAX);
    let records: Vec<Record> =
        (1..).zip(bodies).map(|(seq, body)| Record { seq, at, body }).collect();
    let write = |record: &Record| Write::Record { dispatch: id(1), record: record.clone() };
    commit(&store, [accepted(1, 1)].into_iter().chain(records.iter().map(write)).collect()).await;
    assert_eq!(store.records(id(1), everything()).await, Ok(records));
}

pub(super) async fn recent_dispatches_come_newest_first_and_in_pages(store: Store, _: Maintained) {
    for number in [3, 1, 4, 2] {
        commit(&store, vec![accepted(number, 1)]).await;
    }
    assert_eq!(numbers(&store.recent(None, None, 10).await.unwrap()), [4, 3, 2, 1]);
    assert_eq!(numbers(&store.recent(None, None, 2).await.unwrap()), [4, 3]);
    assert_eq!(numbers(&store.recent(None, Some(id(3)), 2).await.unwrap()), [2, 1]);
    assert_eq!(numbers(&store.recent(None, Some(id(1)), 2).await.unwrap()), [0; 0]);
}

pub(super) async fn a_taken_key_refuses_the_dispatch_and_its_writes_only(
    store: Store,
    _: Maintained,
) {
    commit(&store, vec![accepted_with_key(1, "key")]).await;
    let writes = vec![
        accepted_with_key(2, "key"),
        record(2, 1, kept(0)),
        output(2, 0, "{}"),
        accepted_with_key(3, "other key"),
        record(1, 1, kept(0)),
    ];
    assert_eq!(
        store.commit(writes.into()).await,
        Ok(Committed { refused: vec![id(2)], ..Committed::default() })
    );
    assert_eq!(store.dispatch(id(2)).await, Ok(None));
    assert!(store.dispatch(id(3)).await.unwrap().is_some());
    assert_eq!(seqs(&store, 1, everything()).await, [1]);
    let keyed = Some(KeyedDispatch { dispatch: id(1), digest: [9; 32] });
    assert_eq!(store.by_idempotency_key("key".to_owned()).await, Ok(keyed));
}

pub(super) async fn a_key_given_twice_in_one_commit_is_taken_by_the_first(
    store: Store,
    _: Maintained,
) {
    let writes = vec![accepted_with_key(1, "key"), accepted_with_key(2, "key")];
    assert_eq!(
        store.commit(writes.into()).await,
        Ok(Committed { refused: vec![id(2)], ..Committed::default() })
    );
    assert_eq!(numbers(&store.recent(None, None, 9).await.unwrap()), [1]);
}

pub(super) async fn a_gap_in_the_records_undoes_the_whole_commit(store: Store, _: Maintained) {
    commit(&store, vec![accepted(1, 1), record(1, 1, kept(0))]).await;
    let writes = vec![
        accepted_with_key(2, "key"),
        output(1, 0, "{}"),
        moved(1, 0, TaskStatus::Success),
        record(1, 2, kept(0)),
        record(1, 4, kept(0)),
    ];
    refuse(&store, writes).await;
    assert_eq!(store.dispatch(id(2)).await, Ok(None));
    assert_eq!(store.by_idempotency_key("key".to_owned()).await, Ok(None));
    assert_eq!(store.outputs(id(1), vec![task(0)]).await, Ok(vec![None]));
    assert_eq!(store.dispatch(id(1)).await.unwrap().unwrap().n_successful, 0);
    assert_eq!(store.tasks(id(1)).await.unwrap()[0].row.status, TaskStatus::Pending);
    assert_eq!(seqs(&store, 1, everything()).await, [1]);
    commit(&store, vec![record(1, 2, kept(0))]).await;
}

pub(super) async fn a_repeated_record_is_refused(store: Store, _: Maintained) {
    commit(&store, vec![accepted(1, 1), record(1, 1, kept(0))]).await;
    refuse(&store, vec![record(1, 1, kept(0))]).await;
    refuse(&store, vec![record(1, 0, kept(0))]).await;
    refuse(&store, vec![record(1, u64::MAX, kept(0))]).await;
}

pub(super) async fn writes_about_what_is_unknown_are_refused(store: Store, _: Maintained) {
    commit(&store, vec![accepted(1, 1)]).await;
    refuse(&store, vec![record(2, 1, kept(0))]).await;
    refuse(&store, vec![moved(2, 0, TaskStatus::Running)]).await;
    refuse(&store, vec![output(2, 0, "{}")]).await;
    let lost = store.commit(vec![adopted(2, tenure(OWNER, 1, 0), OTHER)].into()).await;
    assert_eq!(lost, Ok(Committed { lost: vec![id(2)], ..Committed::default() }));
    let fenced = store.commit(vec![claimed(2, OWNER, 1)].into()).await;
    assert_eq!(fenced, Ok(Committed { fenced: vec![id(2)], ..Committed::default() }));
    let status = DispatchStatus::Success;
    refuse(&store, vec![ended(2, status, Millis(1))]).await;
    refuse(&store, vec![moved(1, 1, TaskStatus::Running)]).await;
    refuse(&store, vec![output(1, 1, "{}")]).await;
    let row = TaskRow { caused_by: Some(task(1)), ..row(TaskStatus::Skipped) };
    refuse(&store, vec![Write::Task { dispatch: id(1), task: task(0), row }]).await;
}

pub(super) async fn a_dispatch_is_accepted_once(store: Store, _: Maintained) {
    commit(&store, vec![accepted(1, 1), record(1, 1, kept(0))]).await;
    refuse(&store, vec![accepted(1, 5)]).await;
    refuse(&store, vec![accepted(2, 5), accepted(2, 5)]).await;
    assert_eq!(store.dispatch(id(1)).await.unwrap().unwrap().n_tasks, 1);
    assert_eq!(store.dispatch(id(2)).await, Ok(None));
}
