//! What conditions, approvals and rules make of small graphs, as logs.

use expect_test::{Expect, expect};

use super::{
    Gate, GateAnswer, TaskPolicy,
    testing::{World, check_with},
};
use crate::model::{
    Failure, FailureCode, Millis, OnFailure, TaskIdx, TriggerRule, testing::reused_from,
};

fn task(at: usize) -> TaskIdx {
    TaskIdx::from_usize(at)
}

fn gated(gates: &[Gate]) -> TaskPolicy {
    TaskPolicy { gates: gates.iter().copied().collect(), ..TaskPolicy::default() }
}

fn rule(trigger: TriggerRule) -> TaskPolicy {
    TaskPolicy { trigger, ..TaskPolicy::default() }
}

/// Runs `text`, in which the second task has `gates`, and the last of them is answered after 5 ms.
#[track_caller]
fn check_gates(text: &str, gates: &[Gate], answer: GateAnswer, expected: &Expect) {
    let prepare = |world: &mut World| {
        world.set_limits(vec![(task(1), gated(gates))]);
        world.answers.insert((task(1), *gates.last().unwrap()), (Millis(5), answer));
    };
    check_with(text, OnFailure::SkipDependents, prepare, expected);
}

/// Runs `a b c <- d` where the last task has the rule, and the condition of `c` is not met.
#[track_caller]
fn check_rule(text: &str, trigger: TriggerRule, expected: &Expect) {
    let prepare = |world: &mut World| {
        world.set_limits(vec![(task(2), gated(&[Gate::Condition])), (task(3), rule(trigger))]);
        world
            .answers
            .insert((task(2), Gate::Condition), (Millis(0), GateAnswer::Omit("no".into())));
    };
    check_with(text, OnFailure::SkipDependents, prepare, expected);
}

#[test]
fn gates_are_passed_in_order_and_then_the_task_starts() {
    check_gates(
        "a\nb <- a",
        &[Gate::Approval, Gate::Condition, Gate::Reuse],
        GateAnswer::Pass,
        &expect![[r"
            0 start a#1
            10 ask b Condition
            11 ask b Reuse
            16 ask b Approval
            17 start b#1
            27 finish Success"]],
    );
}

#[test]
fn what_is_left_out_takes_along_what_needs_it_and_nothing_has_failed() {
    check_gates(
        "a\nb <- a\nc <- b\nd <- a",
        &[Gate::Condition],
        GateAnswer::Omit("nothing to do".into()),
        &expect![[r"
            0 start a#1
            10 ask b Condition
            10 start d#1
            15 omit b: nothing to do
            15 omit c because b
            20 finish Success"]],
    );
}

#[test]
fn a_result_that_is_known_counts_as_success() {
    check_gates(
        "a\nb <- a\nc <- b",
        &[Gate::Reuse],
        GateAnswer::Reuse(Box::new(reused_from())),
        &expect![[r"
            0 start a#1
            10 ask b Reuse
            15 reuse b
            15 start c#1
            25 finish Success"]],
    );
}

#[test]
fn what_fails_at_a_gate_fails_like_an_attempt() {
    check_gates(
        "a\nb <- a\nc <- b",
        &[Gate::Approval],
        GateAnswer::Fail(Failure::new(FailureCode::Rejected, "not so")),
        &expect![[r"
            0 start a#1
            10 ask b Approval
            15 fail b: not so
            15 skip c because b
            15 finish Partial"]],
    );
}

#[test]
fn an_approval_that_nobody_gives_ends_at_its_limit_and_holds_only_its_branch() {
    check_with(
        "a\nb <- a\nc <- b\nd",
        OnFailure::SkipDependents,
        |world| {
            let limits = gated(&[Gate::Approval]);
            let approval_timeout = Some(Millis(100));
            world.set_limits(vec![(task(1), TaskPolicy { approval_timeout, ..limits })]);
            world.answers.insert((task(1), Gate::Approval), (Millis(5_000), GateAnswer::Pass));
        },
        &expect![[r"
            0 start a#1
            0 start d#1
            10 ask b Approval
            110 fail b: nobody decided within 100 ms, its approval's timeout_seconds
            110 skip c because b
            110 finish Partial"]],
    );
}

#[test]
fn a_held_task_is_asked_about_again_after_a_crash_and_keeps_its_limit() {
    check_with(
        "a\nb <- a",
        OnFailure::SkipDependents,
        |world| {
            let limits = gated(&[Gate::Approval]);
            let approval_timeout = Some(Millis(100));
            world.set_limits(vec![(task(1), TaskPolicy { approval_timeout, ..limits })]);
            world.answers.insert((task(1), Gate::Approval), (Millis(5_000), GateAnswer::Pass));
            world.crash_after = vec![1];
        },
        &expect![[r"
            0 start a#1
            10 ask b Approval
            10 ask b Approval
            110 fail b: nobody decided within 100 ms, its approval's timeout_seconds
            110 finish Partial"]],
    );
}

#[test]
fn a_cancel_ends_what_is_held() {
    check_with(
        "a\nb",
        OnFailure::SkipDependents,
        |world| {
            world.set_limits(vec![(task(1), gated(&[Gate::Approval]))]);
            world.answers.insert((task(1), Gate::Approval), (Millis(5_000), GateAnswer::Pass));
            world.cancel_at = Some((Millis(20), None));
        },
        &expect![[r"
            0 ask b Approval
            0 start a#1
            20 finish Cancelled"]],
    );
}

#[test]
fn one_success_starts_at_the_first_and_not_without_any() {
    check_rule(
        "a\nb !fail\nc\nd <- a b c",
        TriggerRule::OneSuccess,
        &expect![[r"
            0 ask c Condition
            0 start a#1
            0 start b#1
            0 omit c: no
            10 start d#1
            20 finish Partial"]],
    );
    check_rule(
        "a !fail\nb !fail\nc\nd <- a b c",
        TriggerRule::OneSuccess,
        &expect![[r"
            0 ask c Condition
            0 start a#1
            0 start b#1
            0 omit c: no
            10 skip d because b
            10 finish Failure"]],
    );
}

#[test]
fn none_failed_bears_what_was_left_out_and_no_failure() {
    check_rule(
        "a\nb\nc\nd <- a b c",
        TriggerRule::NoneFailedMinOneSuccess,
        &expect![[r"
            0 ask c Condition
            0 start a#1
            0 start b#1
            0 omit c: no
            10 start d#1
            20 finish Success"]],
    );
    check_rule(
        "a\nb !fail\nc\nd <- a b c",
        TriggerRule::NoneFailedMinOneSuccess,
        &expect![[r"
            0 ask c Condition
            0 start a#1
            0 start b#1
            0 omit c: no
            10 skip d because b
            10 finish Partial"]],
    );
    check_rule(
        "a\nb\nc\nd <- c",
        TriggerRule::NoneFailedMinOneSuccess,
        &expect![[r"
            0 ask c Condition
            0 start a#1
            0 start b#1
            0 omit c: no
            0 omit d because c
            10 finish Success"]],
    );
}

#[test]
fn all_done_runs_whatever_became_of_the_others() {
    check_rule(
        "a !fail\nb <- a\nc\nd <- a b c",
        TriggerRule::AllDone,
        &expect![[r"
            0 ask c Condition
            0 start a#1
            0 omit c: no
            10 skip b because a
            10 start d#1
            20 finish Partial"]],
    );
}

#[test]
fn the_limit_of_an_approval_says_nothing_about_the_next_gate() {
    check_with(
        "a\nb <- a",
        OnFailure::SkipDependents,
        |world| {
            let limits = gated(&[Gate::Approval, Gate::Expansion]);
            let approval_timeout = Some(Millis(100));
            world.set_limits(vec![(task(1), TaskPolicy { approval_timeout, ..limits })]);
            world.answers.insert((task(1), Gate::Approval), (Millis(5), GateAnswer::Pass));
            world.answers.insert((task(1), Gate::Expansion), (Millis(500), GateAnswer::Join));
        },
        &expect![[r"
            0 start a#1
            10 ask b Approval
            15 ask b Expansion
            515 join b
            515 finish Success"]],
    );
}
