//! What claims make of small graphs, as logs.

use std::sync::Arc;

use expect_test::{Expect, expect};

use super::testing::check_with;
use crate::{
    model::{Millis, OnFailure},
    plan::{ClaimTable, Need},
};

/// Runs `text` with two workers; `needs` are, by task, of which key how much.
#[track_caller]
fn check(text: &str, capacities: &[u32], needs: &[&[(u32, u32)]], expected: &Expect) {
    let need = |&(key, amount): &(u32, u32)| Need { key, amount };
    let needs: Vec<Vec<_>> = needs.iter().map(|it| it.iter().map(need).collect()).collect();
    let claims = Arc::new(ClaimTable::drawn(capacities, &needs));
    check_with(text, OnFailure::SkipDependents, |it| it.claim(claims), expected);
}

#[test]
fn tasks_that_claim_the_same_run_one_after_the_other_and_others_go_before() {
    check(
        "a ~9\nb ~8\nc ~7\nd ~6",
        &[1],
        &[&[(0, 1)], &[(0, 1)], &[(0, 1)], &[]],
        &expect![[r"
        0 start a#1
        0 start d#1
        10 start b#1
        20 start c#1
        30 finish Success"]],
    );
}

#[test]
fn nobody_overtakes_a_task_on_what_it_claims() {
    check(
        "a ~9\nboth ~8\nb ~7\nfree ~6",
        &[1, 1],
        &[&[(0, 1)], &[(0, 1), (1, 1)], &[(1, 1)], &[]],
        &expect![[r"
            0 start a#1
            0 start free#1
            10 start both#1
            20 start b#1
            30 finish Success"]],
    );
}

#[test]
fn a_resource_goes_round_as_far_as_there_is_of_it() {
    check(
        "a ~9\nb ~8\nc ~7\nd ~6",
        &[3],
        &[&[(0, 2)], &[(0, 2)], &[(0, 1)], &[(0, 1)]],
        &expect![[r"
            0 start a#1
            10 start b#1
            10 start c#1
            20 start d#1
            30 finish Success"]],
    );
}

#[test]
fn who_ends_in_any_way_makes_way() {
    check(
        "a ~9 !hang\nb ~8 !fail\nc ~7\nd ~6 <- b",
        &[1],
        &[&[(0, 1)], &[(0, 1)], &[(0, 1)], &[]],
        &expect![[r"
            0 start b#1
            10 skip d because b
            10 start a#1
            1010 stop a#1
            1010 start c#1
            1020 finish Partial"]],
    );
}

#[test]
fn a_task_that_is_given_up_while_it_waits_makes_way_too() {
    let needs = [
        vec![Need { key: 1, amount: 1 }],
        vec![Need { key: 0, amount: 1 }, Need { key: 1, amount: 1 }],
        vec![Need { key: 0, amount: 1 }],
    ];
    let claims = Arc::new(ClaimTable::drawn(&[1, 1], &needs));
    check_with(
        "a ~9 !hang\nb ~8\nc ~7",
        OnFailure::SkipDependents,
        |it| {
            it.claim(claims);
            it.cancel_at = Some((Millis(5), Some(crate::model::TaskIdx::from_usize(1))));
        },
        &expect![[r"
            0 start a#1
            5 start c#1
            1000 stop a#1
            1000 finish Partial"]],
    );
}
