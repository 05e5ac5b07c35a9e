//! What becomes of small graphs whose tasks become many, or that get more tasks, as logs.

use expect_test::{Expect, expect};

use super::{
    Gate, TaskPolicy,
    testing::{World, check_with},
};
use crate::model::{Millis, OnFailure, TaskIdx, TriggerRule};

fn task(at: usize) -> TaskIdx {
    TaskIdx::from_usize(at)
}

/// Runs `text`, whose second task becomes so many each time that it is asked.
#[track_caller]
fn check(
    text: &str,
    parts: &[usize],
    join: TriggerRule,
    prepare: impl FnOnce(&mut World),
    expected: &Expect,
) {
    let prepare = |world: &mut World| {
        let gates = [Gate::Expansion].into_iter().collect();
        world.set_limits(vec![(task(1), TaskPolicy { join, gates, ..TaskPolicy::default() })]);
        world.expansions.insert(task(1), parts.to_vec());
        prepare(world);
    };
    check_with(text, OnFailure::SkipDependents, prepare, expected);
}

#[test]
fn a_task_becomes_many_and_then_one_again() {
    check(
        "a\nb <- a\nc <- b",
        &[3],
        TriggerRule::AllSuccess,
        |_| (),
        &expect![[r"
        0 start a#1
        10 ask b Expansion
        11 expand b up to 6 tasks
        11 start b.5#1
        11 start b.4#1
        21 start b.3#1
        31 ask b Expansion
        32 join b
        32 start c#1
        42 finish Success"]],
    );
}

#[test]
fn a_task_that_becomes_none_is_joined_at_once() {
    check(
        "a\nb <- a\nc <- b",
        &[],
        TriggerRule::AllSuccess,
        |_| (),
        &expect![[r"
        0 start a#1
        10 ask b Expansion
        11 join b
        11 start c#1
        21 finish Success"]],
    );
}

#[test]
fn a_task_may_become_many_again_and_again() {
    check(
        "a\nb <- a\nc <- b",
        &[1, 1],
        TriggerRule::AllSuccess,
        |_| (),
        &expect![[r"
        0 start a#1
        10 ask b Expansion
        11 expand b up to 4 tasks
        11 start b.3#1
        21 ask b Expansion
        22 expand b up to 5 tasks
        22 start b.4#1
        32 ask b Expansion
        33 join b
        33 start c#1
        43 finish Success"]],
    );
}

#[test]
fn a_part_that_fails_ends_the_whole_unless_all_that_counts_is_the_end() {
    check(
        "a\nb <- a\nc <- b",
        &[2],
        TriggerRule::AllSuccess,
        |it| it.failing = vec![3],
        &expect![[r"
            0 start a#1
            10 ask b Expansion
            11 expand b up to 5 tasks
            11 start b.4#1
            11 start b.3#1
            21 skip b because b.3
            21 skip c because b.3
            21 finish Partial"]],
    );
    check(
        "a\nb <- a\nc <- b",
        &[2],
        TriggerRule::AllDone,
        |it| it.failing = vec![3],
        &expect![[r"
            0 start a#1
            10 ask b Expansion
            11 expand b up to 5 tasks
            11 start b.4#1
            11 start b.3#1
            21 ask b Expansion
            22 join b
            22 start c#1
            32 finish Partial"]],
    );
}

#[test]
fn what_a_task_became_is_given_up_with_it() {
    check(
        "a\nb <- a\nc <- b\nd ~99 !hang",
        &[3],
        TriggerRule::AllSuccess,
        |it| it.cancel_at = Some((Millis(15), Some(task(1)))),
        &expect![[r"
            0 start d#1
            0 start a#1
            10 ask b Expansion
            11 expand b up to 7 tasks
            11 start b.6#1
            15 skip c because b
            15 stop b.6#1
            1000 stop d#1
            1000 finish Partial"]],
    );
}

#[test]
fn a_crash_forgets_nothing_of_what_a_task_became() {
    check(
        "a\nb <- a\nc <- b",
        &[2],
        TriggerRule::AllSuccess,
        |it| it.crash_after = vec![2, 3],
        &expect![[r"
            0 start a#1
            10 ask b Expansion
            11 expand b up to 5 tasks
            11 start b.4#1
            11 start b.3#1
            11 start b.4#2
            11 start b.3#2
            11 start b.4#3
            11 start b.3#3
            21 ask b Expansion
            22 join b
            22 start c#1
            32 finish Success"]],
    );
}

#[test]
fn tasks_are_added_while_others_run_and_wait_for_what_they_say() {
    check_with(
        "a ~9 !fail\nb ~8\nc ~7 <- b",
        OnFailure::SkipDependents,
        |it| {
            it.added =
                Some((Millis(15), vec![vec![], vec![task(0)], vec![task(1)], vec![task(2)]]));
        },
        &expect![[r"
            0 start b#1
            0 start a#1
            10 start c#1
            15 grow to 7 tasks
            15 skip n4 because a
            15 start n5#1
            20 start n6#1
            25 start n3#1
            35 finish Partial"]],
    );
}
