//! What pauses, and changes of the number of workers, make of small graphs, as logs.

use std::sync::Arc;

use expect_test::{Expect, expect};

use super::{
    Event, Input, RetryPolicy, Scheduler, TaskPolicy,
    testing::{World, check_with, policy},
};
use crate::{
    model::{Attempt, FailureCode, Millis, OnFailure, TaskIdx},
    plan::{Edge, TaskGraph},
};

fn tasks(places: &[usize]) -> Vec<TaskIdx> {
    places.iter().copied().map(TaskIdx::from_usize).collect()
}

fn pause(places: &[usize]) -> Input {
    Input::Pause { tasks: tasks(places) }
}

fn resume(places: &[usize]) -> Input {
    Input::Resume { tasks: tasks(places) }
}

#[track_caller]
fn check(text: &str, wishes: Vec<(u64, Input)>, expected: &Expect) {
    let prepare = |world: &mut World| {
        world.wishes = wishes.into_iter().map(|it| (Millis(it.0), it.1)).collect();
    };
    check_with(text, OnFailure::SkipDependents, prepare, expected);
}

#[test]
fn what_runs_goes_on_and_nothing_starts_before_the_pause_is_lifted() {
    check(
        "a\nb <- a\nc\nd",
        vec![(5, pause(&[])), (6, pause(&[])), (50, resume(&[])), (51, resume(&[]))],
        &expect![[r"
            0 start a#1
            0 start c#1
            5 pause
            50 resume
            50 start b#1
            50 start d#1
            60 finish Success"]],
    );
}

#[test]
fn a_paused_branch_holds_what_depends_on_it_and_no_other() {
    check(
        "a\nb <- a\nc\nd <- b\ne <- c",
        vec![(5, pause(&[1])), (60, resume(&[1]))],
        &expect![[r"
            0 start a#1
            0 start c#1
            5 pause b
            10 start e#1
            60 resume b
            60 start b#1
            70 start d#1
            80 finish Success"]],
    );
}

#[test]
fn a_branch_that_begins_with_what_has_ended_is_paused_all_the_same() {
    check(
        "a\nb <- a\nc <- b",
        vec![(15, pause(&[0])), (60, resume(&[0]))],
        &expect![[r"
            0 start a#1
            10 start b#1
            15 pause a
            60 resume a
            60 start c#1
            70 finish Success"]],
    );
}

#[test]
fn a_task_below_two_paused_branches_waits_for_both() {
    check(
        "a\nb\nc <- a b",
        vec![(1, pause(&[1, 0, 1])), (30, resume(&[0, 2])), (60, resume(&[1]))],
        &expect![[r"
            0 start a#1
            0 start b#1
            1 pause a b
            30 resume a
            60 resume b
            60 start c#1
            70 finish Success"]],
    );
}

#[test]
fn a_pause_of_everything_and_of_a_branch_are_lifted_together() {
    check(
        "a\nb <- a\nc",
        vec![
            (1, pause(&[1])),
            (2, pause(&[])),
            (40, resume(&[1])),
            (50, pause(&[1])),
            (60, resume(&[])),
        ],
        &expect![[r"
            0 start a#1
            0 start c#1
            1 pause b
            2 pause
            40 resume b
            50 pause b
            60 resume
            60 start b#1
            70 finish Success"]],
    );
}

#[test]
fn a_paused_task_that_is_tried_again_waits() {
    let prepare = |world: &mut World| {
        let retry = RetryPolicy { attempts_max: 2, backoff_max: Millis(20), ..RetryPolicy::ONCE };
        let on = [FailureCode::Timeout].into_iter().collect();
        world.limit(TaskPolicy { retry: RetryPolicy { on, ..retry }, ..TaskPolicy::default() });
        world.wishes = [(Millis(5), pause(&[0])), (Millis(5_000), resume(&[0]))].into();
    };
    let text = "a !fail timeout 1\nb";
    check_with(
        text,
        OnFailure::SkipDependents,
        prepare,
        &expect![[r"
        0 start a#1
        0 start b#1
        5 pause a
        5000 resume a
        5000 start a#2
        5010 finish Success"]],
    );
}

#[test]
fn what_is_paused_can_be_cancelled() {
    check(
        "a\nb <- a\nc",
        vec![(5, pause(&[])), (30, Input::CancelTasks { tasks: tasks(&[1]) })],
        &expect![[r"
            0 start a#1
            0 start c#1
            5 pause
            30 finish Partial"]],
    );
    check(
        "a\nb <- a\nc",
        vec![(5, pause(&[1])), (30, Input::Cancel)],
        &expect![[r"
        0 start a#1
        0 start c#1
        5 pause b
        30 finish Cancelled"]],
    );
}

#[test]
fn more_workers_start_more_at_once_and_fewer_wait_for_ends() {
    let workers = |workers_max| Input::SetWorkers { workers_max };
    check(
        "a\nb\nc\nd\ne\nf\ng",
        vec![(5, workers(4)), (6, workers(0)), (6, workers(4)), (12, workers(1))],
        &expect![[r"
            0 start a#1
            0 start b#1
            5 workers 4
            5 start c#1
            5 start d#1
            10 start e#1
            10 start f#1
            12 workers 1
            20 start g#1
            30 finish Success"]],
    );
}

#[test]
fn facts_about_pauses_follow_only_where_they_change_something() {
    let edge = Edge { dependency: TaskIdx::from_usize(0), dependent: TaskIdx::from_usize(1) };
    let graph = TaskGraph::build(vec![Millis(1); 2], &[edge]).unwrap();
    let mut scheduler = Scheduler::new(Arc::new(graph), policy(2, OnFailure::SkipDependents));
    let events = |at: &[usize]| {
        let (tasks, again) = (tasks(at), tasks(at));
        [Event::TasksPaused { tasks }, Event::TasksResumed { tasks: again }]
    };
    let workers = |workers_max| Event::WorkersChanged { workers_max };
    let [paused, resumed] = events(&[0]);
    let start = Event::AttemptStarted {
        task: TaskIdx::from_usize(0),
        attempt: Attempt(1),
        deadline: Millis(9),
        total_deadline: None,
        decision: super::Decision::default(),
        reserve: crate::model::Spend::default(),
    };
    for never in events(&[]).into_iter().chain(events(&[2])).chain(events(&[1, 0])) {
        assert!(!scheduler.can_follow(&never), "{never:?}");
    }
    for too_early in [&resumed, &Event::DispatchResumed, &workers(0), &workers(2)] {
        assert!(!scheduler.can_follow(too_early), "{too_early:?}");
    }
    for good in [&paused, &Event::DispatchPaused, &workers(1), &start] {
        assert!(scheduler.can_follow(good), "{good:?}");
    }
    scheduler.replay(Millis(1), &paused);
    for (event, follows) in [(&paused, false), (&start, false), (&resumed, true)] {
        assert_eq!(scheduler.can_follow(event), follows, "{event:?}");
    }
    scheduler.replay(Millis(2), &Event::DispatchPaused);
    scheduler.replay(Millis(3), &resumed);
    for (event, follows) in
        [(&Event::DispatchPaused, false), (&start, false), (&Event::DispatchResumed, true)]
    {
        assert_eq!(scheduler.can_follow(event), follows, "{event:?}");
    }
    scheduler.replay(Millis(4), &Event::DispatchResumed);
    assert!(scheduler.can_follow(&start));
}
