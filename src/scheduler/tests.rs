//! What the scheduler does with small graphs, as logs; and with random ones, as invariants.

use expect_test::expect;

use super::{
    Event,
    testing::{check, check_decisions, check_with, simulate},
};
use crate::model::{Millis, OnFailure, TaskIdx};

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

#[test]
fn each_start_says_what_it_was_decided_on() {
    check_decisions(
        "a\nb <- a\nc <- a\nd <- a\ne <- d\nf",
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
fn a_journal_without_decisions_reads_back() {
    let json = r#"{"event":"attempt_started","task":3,"attempt":1,"deadline":9}"#;
    let event: Event = serde_json::from_str(json).unwrap();
    let Event::AttemptStarted { decision, .. } = &event else { panic!("{event:?}") };
    assert!(decision.is_unknown());
    assert_eq!(serde_json::to_string(&event).unwrap(), json);
}

#[test]
fn random_graphs_keep_the_invariants() {
    for seed in 1..=2_000 {
        simulate(seed);
    }
}
