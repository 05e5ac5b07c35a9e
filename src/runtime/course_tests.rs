//! Whoever follows how a dispatch goes hears of it, whichever process runs it.

use std::time::Duration;

use serde_json::json;

use super::{
    course::{Course, Heed},
    testing::{World, document, pass},
};
use crate::model::{DispatchStatus, ErrorCode};

/// What it says once it says something else.
async fn next(course: &mut Course) -> String {
    let before = course.read().await.unwrap();
    loop {
        course.changed().await;
        let now = course.read().await.unwrap();
        if now.describe() != before.describe() || now.status != before.status {
            return now.describe();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_dispatch_that_another_process_runs_is_followed_as_it_goes() {
    let [ours, theirs] = World::two();
    let id = theirs.dispatch(&document("a !gate\nb !slow <- a")).await.unwrap();
    theirs.agents.wait_for_start("a#1").await;
    let mut course = ours.handle.course(id, Heed::End);
    assert_eq!(course.read().await.unwrap().describe(), "0 of 2 done, running a");
    assert!(!course.is_here());
    theirs.open_gate();
    assert_eq!(next(&mut course).await, "1 of 2 done, running b");
    theirs.finish(id).await;
    while course.read().await.unwrap().status == DispatchStatus::Running {
        course.changed().await;
    }
    assert_eq!(course.read().await.unwrap().n_ended, 2);
}

#[tokio::test(start_paused = true)]
async fn a_dispatch_that_is_taken_over_is_followed_where_it_goes_on() {
    let [ours, theirs] = World::two();
    let id = theirs.dispatch(&document("a !gate")).await.unwrap();
    theirs.agents.wait_for_start("a#1").await;
    let mut course = ours.handle.course(id, Heed::Counts);
    course.read().await.unwrap();
    theirs.kill().await;
    while !course.is_here() {
        course.changed().await;
        course.read().await.unwrap();
    }
    ours.open_gate();
    assert_eq!(next(&mut course).await, "1 of 1 done");
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_read_is_read_again() {
    let [ours, theirs] = World::two();
    let id = theirs.dispatch(&document("a !gate")).await.unwrap();
    let mut course = ours.handle.course(id, Heed::Counts);
    course.read().await.unwrap();
    ours.break_reads(true);
    theirs.open_gate();
    theirs.finish(id).await;
    course.changed().await;
    assert_eq!(course.read().await.unwrap_err().code(), ErrorCode::StorageUnavailable);
    ours.break_reads(false);
    // Nothing changes any more.
    pass(Duration::from_mins(1)).await;
    course.changed().await;
    assert_eq!(course.read().await.unwrap().status, DispatchStatus::Success);
}

#[tokio::test(start_paused = true)]
async fn the_end_is_guessed_for_those_who_want_to_know() {
    let world = World::new().await;
    let mut document = document("a !gate");
    document["tasks"][0]["estimate_seconds"] = json!(300);
    let id = world.dispatch(&document).await.unwrap();
    world.agents.wait_for_start("a#1").await;
    let mut counts = world.handle.course(id, Heed::Counts);
    let mut more = world.handle.course(id, Heed::Counts);
    assert_eq!(counts.read().await.unwrap().ends_at, None);
    assert_eq!(more.read().await.unwrap().ends_at, None);
    let mut end = world.handle.course(id, Heed::End);
    assert!(end.read().await.unwrap().ends_at.is_some());
    drop(end);
    assert_eq!(world.handle.course(id, Heed::Counts).read().await.unwrap().ends_at, None);
}
