//! What the scheduler does with small graphs, as logs; and with random ones, as invariants.

use expect_test::expect;

use super::{
    Decision, Event, REQUEUES_MAX, RetryPolicy, TaskPolicy,
    random::simulate,
    testing::{check, check_decisions, check_with, run},
};
use crate::model::{Attempt, Failure, FailureCode, Millis, OnFailure, RetrySpec, TaskIdx};

#[test]
fn a_task_starts_the_moment_its_own_dependencies_are_done() {
    check(
        "a\nb <- a\nc <- a\nd <- b c",
        OnFailure::SkipDependents,
        &expect![[r"
            0 start a#1
            10 start b#1
            10 start c#1
            20 start d#1
            30 finish Success"]],
    );
}

#[test]
fn the_longest_remaining_path_goes_first() {
    check(
        "short\nother\nhead\ntail <- head",
        OnFailure::SkipDependents,
        &expect![[r"
            0 start head#1
            0 start short#1
            10 start other#1
            10 start tail#1
            20 finish Success"]],
    );
}

#[test]
fn a_failure_skips_what_waits_for_it_and_nothing_else() {
    check(
        "a !fail\nb <- a\nc <- b\nd",
        OnFailure::SkipDependents,
        &expect![[r"
            0 start a#1
            0 start d#1
            10 skip b because a
            10 skip c because a
            10 finish Partial"]],
    );
}

#[test]
fn fail_fast_stops_what_runs_and_skips_the_rest() {
    check(
        "a !fail\nb !hang\nc\nd <- b",
        OnFailure::FailFast,
        &expect![[r"
            0 start b#1
            0 start a#1
            10 skip c because a
            10 skip d because a
            10 stop b#1
            10 finish Failure"]],
    );
}

#[test]
fn continue_runs_what_waits_for_a_failure() {
    check(
        "a !fail\nb <- a",
        OnFailure::Continue,
        &expect![[r"
            0 start a#1
            10 start b#1
            20 finish Partial"]],
    );
}

#[test]
fn a_hung_attempt_is_stopped_at_its_deadline() {
    check(
        "a !hang\nb <- a",
        OnFailure::SkipDependents,
        &expect![[r"
            0 start a#1
            1000 skip b because a
            1000 stop a#1
            1000 finish Failure"]],
    );
}

#[test]
fn a_cancel_stops_what_runs_and_starts_nothing() {
    check_with(
        "a !hang\nb <- a\nc !hang\nd !hang",
        OnFailure::SkipDependents,
        |it| it.cancel_at = Some((Millis(5), None)),
        &expect![[r"
            0 start a#1
            0 start c#1
            5 stop a#1
            5 stop c#1
            5 finish Cancelled"]],
    );
}

#[test]
fn a_cancelled_task_takes_what_waits_for_it_along() {
    check_with(
        "a !hang\nb <- a\nc",
        OnFailure::SkipDependents,
        |it| it.cancel_at = Some((Millis(5), Some(TaskIdx::from_usize(0)))),
        &expect![[r"
            0 start a#1
            0 start c#1
            5 skip b because a
            5 stop a#1
            10 finish Partial"]],
    );
}

#[test]
fn kept_tasks_do_not_run_again() {
    check_with(
        "a\nb <- a\nc <- b",
        OnFailure::SkipDependents,
        |it| it.kept = vec![TaskIdx::from_usize(0), TaskIdx::from_usize(1)],
        &expect![[r"
            0 start c#1
            10 finish Success"]],
    );
}

#[test]
fn a_crash_runs_the_interrupted_attempt_again_and_no_finished_one() {
    check_with(
        "a\nb <- a",
        OnFailure::SkipDependents,
        |it| it.crash_after = vec![1],
        &expect![[r"
            0 start a#1
            10 start b#1
            10 start b#2
            20 finish Success"]],
    );
}

/// Up to `attempts_max` attempts with a wait of 100 ms between them, after whatever failure.
fn retries(attempts_max: u32) -> TaskPolicy {
    let on = RetrySpec::CODES.into_iter().collect();
    let retry = RetryPolicy { attempts_max, backoff: Millis(100), backoff_max: Millis(100), on };
    TaskPolicy { retry, ..TaskPolicy::default() }
}

#[test]
fn a_failed_task_is_tried_again_and_holds_no_worker_meanwhile() {
    check_with(
        "a !fail timeout 2\nb <- a\nc\nd",
        OnFailure::FailFast,
        |it| it.limit(retries(3)),
        &expect![[r"
            0 start a#1
            0 start c#1
            10 start d#1
            106 start a#2
            178 start a#3
            188 start b#1
            198 finish Success"]],
    );
}

#[test]
fn the_last_failure_is_final() {
    check_with(
        "a !fail timeout 9\nb <- a",
        OnFailure::SkipDependents,
        |it| it.limit(retries(2)),
        &expect![[r"
            0 start a#1
            106 start a#2
            116 skip b because a
            116 finish Failure"]],
    );
}

#[test]
fn what_the_upstream_turns_away_does_not_count_up_to_a_limit() {
    check_with(
        "a !fail rate_limited 3",
        OnFailure::SkipDependents,
        |it| it.limit(retries(1)),
        &expect![[r"
            0 start a#1
            106 start a#2
            178 start a#3
            281 start a#4
            291 finish Success"]],
    );
    let log = run("a !fail rate_limited 99", OnFailure::SkipDependents, |it| it.limit(retries(1)));
    let starts = log.iter().filter(|it| it.contains(" start ")).count();
    assert_eq!(starts, 1 + REQUEUES_MAX as usize);
}

#[test]
fn an_agent_without_progress_is_stopped() {
    let limits = TaskPolicy { idle_timeout: Some(Millis(30)), ..TaskPolicy::default() };
    check_with(
        "a !hang\nb !beat",
        OnFailure::SkipDependents,
        |it| it.limit(limits),
        &expect![[r"
            0 start a#1
            0 start b#1
            30 stop a#1
            70 stop b#1
            70 finish Failure"]],
    );
}

#[test]
fn the_total_time_ends_attempts_and_waits() {
    let limits = TaskPolicy { total_timeout: Some(Millis(150)), ..retries(9) };
    check_with(
        "a !hang",
        OnFailure::SkipDependents,
        |it| it.limit(limits),
        &expect![[r"
        0 start a#1
        150 stop a#1
        150 finish Failure"]],
    );
    check_with(
        "a !fail timeout 9",
        OnFailure::SkipDependents,
        |it| it.limit(limits),
        &expect![[r"
        0 start a#1
        106 start a#2
        116 finish Failure"]],
    );
}

#[test]
fn a_task_that_waits_is_cancelled_and_given_up() {
    check_with(
        "a !fail timeout 9\nb <- a",
        OnFailure::SkipDependents,
        |it| {
            it.limit(retries(9));
            it.cancel_at = Some((Millis(20), None));
        },
        &expect![[r"
            0 start a#1
            20 finish Cancelled"]],
    );
    check_with(
        "a !fail timeout 9\nb !fail agent_error 9\nc",
        OnFailure::FailFast,
        |it| {
            let on = [FailureCode::Timeout].into_iter().collect();
            let retry = RetryPolicy { on, ..retries(2).retry };
            it.limit(TaskPolicy { retry, ..TaskPolicy::default() });
        },
        &expect![[r"
            0 start a#1
            0 start b#1
            10 start c#1
            10 stop c#1
            10 finish Failure"]],
    );
}

#[test]
fn a_retry_that_waits_for_a_worker_is_given_up_as_begun() {
    check_with(
        "a !fail agent_error 9\nb !hang\nc !hang",
        OnFailure::FailFast,
        |it| {
            let on = [FailureCode::AgentError].into_iter().collect();
            let retry = RetryPolicy { on, ..retries(2).retry };
            it.limit(TaskPolicy { retry, ..TaskPolicy::default() });
        },
        &expect![[r"
            0 start a#1
            0 start b#1
            10 start c#1
            1000 stop b#1
            1000 stop c#1
            1000 finish Failure"]],
    );
}

#[test]
fn a_wait_goes_on_after_a_crash() {
    check_with(
        "a !fail timeout 1\nb <- a",
        OnFailure::SkipDependents,
        |it| {
            it.limit(retries(2));
            it.crash_after = vec![1];
        },
        &expect![[r"
            0 start a#1
            106 start a#2
            116 start b#1
            126 finish Success"]],
    );
}

#[test]
fn an_old_journal_is_read() {
    let read = |json: &str| serde_json::from_str::<Event>(json).unwrap();
    let started = read(r#"{"event":"attempt_started","task":0,"attempt":1,"deadline":5}"#);
    let Event::AttemptStarted { total_deadline: None, .. } = started else { panic!("{started:?}") };
    let ended = read(
        r#"{"event":"attempt_ended","task":0,"attempt":1,"result":{"Err":{"code":"timeout","message":"m"}}}"#,
    );
    let Event::AttemptEnded { result: Err(failure), retry_at: None, .. } = ended else {
        panic!("{ended:?}")
    };
    assert_eq!(failure, Failure::new(FailureCode::Timeout, "m"));
}

/// How many random dispatches are simulated; `SIMULATION_SEEDS=100000 cargo test --release --lib
/// random_graphs` does more.
const N_SEEDS: &str = match option_env!("SIMULATION_SEEDS") {
    Some(n) => n,
    None => "1000",
};

#[test]
fn each_start_says_what_it_was_decided_on() {
    check_decisions(
        "a\nb <- a\nc <- a\nd <- a\ne <- d\nf",
        &[],
        &expect![[r"
            a: of 2 ready
            f: of 1 ready
            d: of 3 ready, released by a, worker of a
            b: of 2 ready, released by a, worker of f
            c: of 1 ready, waited 10, released by a, worker of b
            e: of 1 ready, released by d, worker of d"]],
    );
}

#[test]
fn two_workers_that_come_free_at_once_go_to_two_tasks() {
    check_decisions(
        "a !hang\nb !hang\nc\nd",
        &[],
        &expect![[r"
        a: of 4 ready
        b: of 3 ready
        c: of 2 ready, waited 1000, worker of b
        d: of 1 ready, waited 1000, worker of a"]],
    );
}

#[test]
fn a_crash_does_not_hide_how_long_a_task_waited() {
    check_decisions(
        "a\nb\nc <- a\nd <- b\ne",
        &[2],
        &expect![[r"
        a: of 3 ready
        b: of 2 ready
        c: of 2 ready, released by a, worker of a
        d: of 2 ready, released by b, worker of b
        c: of 3 ready, worker of d
        d: of 2 ready, worker of c
        e: of 1 ready, waited 20, worker of c"]],
    );
}

#[test]
fn a_journal_without_decisions_reads_back() {
    let json = r#"{"event":"attempt_started","task":3,"attempt":1,"deadline":9}"#;
    let event: Event = serde_json::from_str(json).unwrap();
    let Event::AttemptStarted { decision, .. } = &event else { panic!("{event:?}") };
    assert!(decision.is_unknown());
    assert_eq!(serde_json::to_string(&event).unwrap(), json);
}

#[test]
fn a_decision_is_written_as_far_as_it_says_something() {
    let mut decision = Decision { n_ready: 2, ..Decision::default() };
    assert_eq!(serde_json::to_string(&decision).unwrap(), r#"{"n_ready":2}"#);
    (decision.waited, decision.is_allowed) = (Millis(5), true);
    let event = Event::AttemptStarted {
        task: TaskIdx::from_usize(3),
        attempt: Attempt(1),
        deadline: Millis(9),
        decision,
        total_deadline: None,
        reserve: crate::model::Spend::default(),
    };
    let json = serde_json::to_string(&event).unwrap();
    let said = r#""decision":{"n_ready":2,"waited":5,"is_allowed":true}"#;
    assert!(json.contains(said), "{json}");
    assert_eq!(serde_json::from_str::<Event>(&json).unwrap(), event);
}

#[test]
fn random_graphs_keep_the_invariants() {
    for seed in 1..=N_SEEDS.parse().unwrap() {
        simulate(seed);
    }
}
