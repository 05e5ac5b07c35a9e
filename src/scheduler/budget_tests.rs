//! What budgets do to small graphs, as logs.

use expect_test::{Expect, expect};

use super::{
    Funds, SpendEstimate, TaskPolicy,
    testing::{World, check_with, policy, scripted},
};
use crate::{
    model::{Budget, Millis, OnExceeded, OnFailure, RetrySpec, Spend, Spent},
    plan::testing::parse,
};

#[track_caller]
fn check(text: &str, budget: Budget, prepare: impl FnOnce(&mut World), expected: &Expect) {
    let fund = |it: &mut World| {
        it.fund(Funds { budget: Some(budget), ..it.policy.funds });
        prepare(it);
    };
    check_with(text, OnFailure::SkipDependents, fund, expected);
}

fn tokens(tokens: u64, on_exceeded: OnExceeded) -> Budget {
    Budget { tokens: Some(tokens), on_exceeded, ..Budget::default() }
}

fn expect_tokens(world: &mut World, tokens: u64) {
    let expected = SpendEstimate { tokens: Some(tokens), cost: None };
    world.limit(TaskPolicy { expected, ..TaskPolicy::default() });
}

#[test]
fn what_does_not_fit_waits_until_what_runs_has_settled() {
    check(
        "a !use 10\nb !use 10\nc !use 10",
        tokens(100, OnExceeded::HandBack),
        |it| expect_tokens(it, 60),
        &expect![[r"
            0 start a#1
            10 start b#1
            20 start c#1
            30 finish Success"]],
    );
}

#[test]
fn a_limit_that_is_reached_hands_back_what_has_not_started() {
    check(
        "a !use 30\nb !use 30\nc <- a\nd",
        tokens(50, OnExceeded::HandBack),
        |_| (),
        &expect![[r"
            0 start a#1
            0 start b#1
            10 exceed tokens
            10 drop c
            10 drop d
            10 finish Partial"]],
    );
}

#[test]
fn what_was_used_is_the_estimate_of_what_comes() {
    check(
        "a !use 30\nb !use 30 <- a\nc !use 30 <- b\nd <- c",
        tokens(100, OnExceeded::HandBack),
        |_| (),
        &expect![[r"
            0 start a#1
            10 start b#1
            20 start c#1
            30 exceed tokens
            30 drop d
            30 finish Partial"]],
    );
}

#[test]
fn a_paused_dispatch_goes_on_when_its_budget_is_raised() {
    check(
        "a !use 30\nb !use 30 <- a\nc",
        tokens(30, OnExceeded::Pause),
        |it| it.budget_at = Some((Millis(500), tokens(90, OnExceeded::Pause))),
        &expect![[r"
            0 start a#1
            0 start c#1
            10 exceed tokens
            500 start b#1
            510 finish Success"]],
    );
}

#[test]
fn a_dispatch_that_had_no_budget_knows_what_it_used_before() {
    check_with(
        "a !use 30\nb !use 30 <- a\nc <- b",
        OnFailure::SkipDependents,
        |it| it.budget_at = Some((Millis(15), tokens(50, OnExceeded::HandBack))),
        &expect![[r"
            0 start a#1
            10 start b#1
            20 exceed tokens
            20 drop c
            20 finish Partial"]],
    );
}

#[test]
fn a_pause_outlives_the_process() {
    check(
        "a !use 30\nb !use 30 <- a\nc",
        tokens(30, OnExceeded::Pause),
        |it| {
            it.budget_at = Some((Millis(500), tokens(90, OnExceeded::Pause)));
            it.crash_after = vec![1, 2, 3];
        },
        &expect![[r"
            0 start a#1
            0 start c#1
            10 exceed tokens
            500 start b#1
            500 start c#2
            510 finish Success"]],
    );
}

#[test]
fn the_budget_that_fails_stops_what_runs() {
    check(
        "a !hang\nb !use 60\nc\nd <- a",
        tokens(50, OnExceeded::Fail),
        |_| (),
        &expect![[r"
            0 start a#1
            0 start b#1
            10 exceed tokens
            10 drop a
            10 drop c
            10 drop d
            10 stop a#1
            10 finish Partial"]],
    );
}

#[test]
fn time_runs_out_at_its_deadline() {
    let wall = |on_exceeded| Budget { wall: Some(Millis(25)), on_exceeded, ..Budget::default() };
    let text = "a\nb <- a\nc <- b\nd <- c\nx !hang";
    check(
        text,
        wall(OnExceeded::HandBack),
        |_| (),
        &expect![[r"
        0 start a#1
        0 start x#1
        10 start b#1
        20 start c#1
        25 exceed wall_seconds
        25 drop d
        1000 stop x#1
        1000 finish Partial"]],
    );
    check(
        text,
        wall(OnExceeded::Fail),
        |_| (),
        &expect![[r"
        0 start a#1
        0 start x#1
        10 start b#1
        20 start c#1
        25 exceed wall_seconds
        25 drop c
        25 drop d
        25 drop x
        25 stop c#1
        25 stop x#1
        25 finish Partial"]],
    );
}

#[test]
fn tasks_are_counted_once_however_often_they_are_tried() {
    check(
        "a !fail timeout 2\nb <- a\nc <- b",
        Budget { tasks: Some(2), ..Budget::default() },
        |it| {
            let retry = RetrySpec { backoff_ms: 0, ..RetrySpec::default() };
            it.limit(TaskPolicy { retry: (&retry).into(), ..TaskPolicy::default() });
        },
        &expect![[r"
            0 start a#1
            10 start a#2
            20 start a#3
            30 start b#1
            40 exceed tasks
            40 drop c
            40 finish Partial"]],
    );
}

#[test]
fn what_earlier_dispatches_used_counts() {
    check(
        "a\nb\nc",
        tokens(50, OnExceeded::HandBack),
        |it| {
            let before =
                Spent { spend: Spend { tokens: 50, ..Spend::default() }, ..Spent::default() };
            it.fund(Funds { before, ..it.policy.funds });
        },
        &expect![[r"
            0 exceed tokens
            0 drop a
            0 drop b
            0 drop c
            0 finish Failure"]],
    );
}

#[test]
fn what_is_handed_back_is_not_tried_again() {
    check(
        "a !fail timeout 1\nb !use 60\nc",
        tokens(50, OnExceeded::HandBack),
        |it| {
            let retry = RetrySpec { backoff_ms: 500, ..RetrySpec::default() };
            it.limit(TaskPolicy { retry: (&retry).into(), ..TaskPolicy::default() });
        },
        &expect![[r"
            0 start a#1
            0 start b#1
            10 start c#1
            10 exceed tokens
            10 drop a
            20 finish Partial"]],
    );
}

#[test]
fn an_agent_that_does_not_say_counts_as_expected_unless_it_was_never_at_work() {
    let settled = |text: &str| {
        let mut world = World::new(parse(text), policy(2, OnFailure::SkipDependents));
        let budget = Some(tokens(1_000, OnExceeded::HandBack));
        world.fund(Funds { budget, ..Funds::default() });
        expect_tokens(&mut world, 40);
        world.run(scripted(text));
        world.scheduler.spend().0.tokens
    };
    assert_eq!(settled("a"), 40);
    assert_eq!(settled("a !use 7"), 7);
    assert_eq!(settled("a !fail"), 40);
    assert_eq!(settled("a !hang"), 40);
    assert_eq!(settled("a !fail upstream_unavailable 1"), 0);
}
