//! What holds of every journal, whatever its bytes are; `fuzz/` feeds it.

use std::sync::Arc;

use uuid::Uuid;

use super::document::{Meta, StoredDocument};
use crate::{
    model::{
        Attempt, DispatchId, Failure, FailureCode, Millis, Reused, TaskId, TaskIdx, Timestamp,
    },
    ports::RecordBody,
    scheduler::{Action, Event, Gate, Growth, Input, Outbox, Scheduler, TaskState},
};

/// How many tasks a dispatch has that is read from bytes; larger ones only take longer.
const TASKS_MAX: usize = 64;
/// How often the dispatch is gone on with after the replay: more than its tasks need together.
const STEPS_MAX: usize = 10_000;

/// Reads the first line of any bytes as a stored document, the second as what reports need of it,
/// and the rest as its journal; replays that, and goes on to the end of the dispatch.
///
/// A line that is no record picks an event by its first bytes, so that long journals are reached
/// without writing JSON.
///
/// # Panics
/// When a promise is broken: a task that could run never does, or what was written is not read.
#[doc(hidden)]
pub fn fuzz_journal(bytes: &[u8]) {
    let mut lines = bytes.split(|it| *it == b'\n');
    let mut text = || String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    let (document, meta) = (text(), text());
    if let Ok(meta) = Meta::read(&meta) {
        assert_eq!(Meta::read(&meta.write()), Ok(meta));
    }
    let Ok(document) = StoredDocument::read(&document) else { return };
    assert_eq!(StoredDocument::read(&document.write()).as_ref(), Ok(&document));
    let Ok(graph) = document.graph() else { return };
    if graph.len() > TASKS_MAX {
        return;
    }
    let of = (DispatchId::new(Uuid::from_u128(1)), Millis(0));
    let n_first = document.n_first.filter(|it| *it <= graph.len());
    let first = n_first.and_then(|it| document.begin(it, of, &[]).ok());
    let Growth { graph, policy } =
        first.unwrap_or_else(|| Growth { graph, policy: document.policy(of, Vec::new()) });
    let mut scheduler = Scheduler::new(graph, policy);
    let mut now = Millis(1);
    for line in lines {
        let (at, event) = read(line);
        now = now + at;
        if let Some(Event::TasksAdded { n_tasks, .. }) = event
            && n_tasks as usize <= document.tasks.len()
            && let Ok(growth) = document.begin(n_tasks as usize, of, &[])
        {
            scheduler.prepare(Arc::new(growth));
        }
        if let Some(event) = event
            && scheduler.can_follow(&event)
        {
            scheduler.replay(now, &event);
        }
    }
    go_on(scheduler, now);
}

fn read(line: &[u8]) -> (Millis, Option<Event>) {
    match serde_json::from_slice(line) {
        Ok(RecordBody::Scheduler(event)) => (Millis(1), Some(event)),
        Ok(_) => (Millis(0), None),
        Err(_) => (Millis(line.len() as u64), pick(line)),
    }
}

fn pick(line: &[u8]) -> Option<Event> {
    let [kind, task, attempt, rest @ ..] = line else { return None };
    let gates = [Gate::Condition, Gate::Reuse, Gate::Approval, Gate::Expansion];
    let gate = gates[usize::from(attempt % 4)];
    let at = rest.iter().fold(0_u64, |sum, it| sum << 8 | u64::from(*it));
    let (task, attempt) = (TaskIdx::from_usize(usize::from(*task)), Attempt(u32::from(*attempt)));
    let failure = |code| Err(Failure::new(code, ""));
    let ended =
        |result, retry_at| Event::AttemptEnded { task, attempt, result, retry_at, usage: None };
    let from = || Reused {
        dispatch_id: DispatchId::new(Uuid::from_u128(2)),
        task_id: TaskId::new("other"),
        at: Timestamp(Millis(at)),
    };
    Some(match kind % 22 {
        0 => Event::TaskKept { task },
        1 | 2 => Event::AttemptStarted {
            task,
            attempt,
            deadline: Millis(at),
            total_deadline: (kind % 2 == 0).then_some(Millis(at)),
            decision: crate::scheduler::Decision::default(),
            reserve: crate::model::Spend::default(),
        },
        3 => ended(Ok(()), None),
        4 => ended(failure(FailureCode::AgentError), None),
        5 => ended(failure(FailureCode::RateLimited), Some(Millis(at))),
        6 => Event::RetryDue { task },
        7 => Event::TaskExpired { task },
        8 => Event::AttemptInterrupted { task, attempt },
        9 => Event::TaskSkipped { task, because: task },
        10 => Event::DispatchPaused,
        11 => Event::TasksPaused { tasks: vec![task] },
        12 => Event::TasksResumed { tasks: vec![task] },
        13 => Event::DispatchResumed,
        14 => Event::WorkersChanged { workers_max: attempt.0 },
        15 => Event::GateReached { task, gate, until: (at > 0).then_some(Millis(at)) },
        16 => Event::GatePassed { task, gate },
        17 => Event::TaskReused { task, from: Box::new(from()) },
        18 | 19 => {
            Event::TasksAdded { n_tasks: attempt.0, parent: (kind % 2 == 0).then_some(task) }
        }
        20 => Event::TaskJoined { task },
        _ if at == 0 => Event::DispatchCancelled,
        _ => Event::TaskCancelled { task },
    })
}

/// Ends every attempt that is asked for, until the dispatch has ended.
fn go_on(mut scheduler: Scheduler, mut now: Millis) {
    let mut out = Outbox::default();
    scheduler.handle(now, Input::Start, &mut out);
    // A pause ends only when somebody lifts it.
    scheduler.handle(now, Input::Resume { tasks: Vec::new() }, &mut out);
    for _ in 0..STEPS_MAX {
        let started = out.actions.iter().find_map(|it| match *it {
            Action::StartAttempt { task, attempt, .. } => Some((task, attempt)),
            Action::Ask { .. } | Action::StopAttempt { .. } | Action::Finish { .. } => None,
        });
        match (started, scheduler.poll_timeout()) {
            _ if scheduler.is_ended() => return,
            (Some((task, attempt)), _) => {
                out.actions.retain(
                    |it| !matches!(*it, Action::StartAttempt { task: of, .. } if of == task),
                );
                scheduler.handle(
                    now,
                    Input::AttemptEnded { task, attempt, result: Ok(()), usage: None },
                    &mut out,
                );
            }
            (None, Some(at)) => {
                now = now.max(at);
                scheduler.handle_timeout(now, &mut out);
            }
            (None, None) if scheduler.exceeded().is_some() => {
                let budget = crate::model::Budget::default();
                scheduler.handle(now, Input::SetBudget { budget }, &mut out);
            }
            (None, None) => break,
        }
    }
    // A journal cut between a failure and what follows from it, which one commit holds together,
    // leaves tasks that wait for ever; all others must have ended.
    for task in (0..scheduler.n_tasks()).map(TaskIdx::from_usize) {
        let state = scheduler.state(task);
        let is_left = matches!(state, TaskState::Ready | TaskState::Running | TaskState::Backoff);
        assert!(!is_left, "task {task:?} is {state:?} for ever");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::testing::mutants;

    #[test]
    fn a_stored_dispatch_without_workers_ends_all_the_same() {
        let seed = include_str!("../../fuzz/seeds/journal/diamond");
        let changed = seed.replace("\"max_workers\":2", "\"max_workers\":0");
        assert_ne!(changed, seed);
        fuzz_journal(changed.as_bytes());
    }

    #[test]
    fn a_dispatch_that_its_budget_pauses_goes_on_when_that_is_raised() {
        let seed = include_str!("../../fuzz/seeds/journal/diamond");
        let budget = r#""budget":{"limits":{"tasks":1,"on_exceeded":"pause"}},"max_workers":2"#;
        let changed = seed.replace("\"max_workers\":2", budget);
        assert_ne!(changed, seed);
        fuzz_journal(changed.as_bytes());
    }

    #[test]
    fn a_journal_of_growth_and_reuse_is_replayed_whole() {
        let seed = include_str!("../../fuzz/seeds/journal/grown");
        let mut lines = seed.lines();
        let document = StoredDocument::read(lines.next().unwrap()).unwrap();
        let of = (DispatchId::new(Uuid::from_u128(1)), Millis(0));
        let Growth { graph, policy } = document.begin(document.n_first.unwrap(), of, &[]).unwrap();
        let mut scheduler = Scheduler::new(graph, policy);
        for line in lines.skip(1).filter(|it| it.starts_with('{')) {
            let (_, Some(event)) = read(line.as_bytes()) else { continue };
            if let Event::TasksAdded { n_tasks, .. } = event {
                let growth = document.begin(n_tasks as usize, of, &[]).unwrap();
                scheduler.prepare(Arc::new(growth));
            }
            assert!(scheduler.can_follow(&event), "{event:?}");
            scheduler.replay(Millis(1), &event);
        }
        assert_eq!(scheduler.n_tasks(), document.tasks.len());
        fuzz_journal(seed.as_bytes());
    }

    #[test]
    fn mutants_of_journals_keep_the_promises() {
        let seeds = [
            include_str!("../../fuzz/seeds/journal/diamond"),
            include_str!("../../fuzz/seeds/journal/retries"),
            include_str!("../../fuzz/seeds/journal/grown"),
        ];
        for seed in seeds {
            let lines: Vec<_> = seed.lines().collect();
            assert_eq!(StoredDocument::read(lines[0]).map(drop), Ok(()));
            assert_eq!(Meta::read(lines[1]).map(drop), Ok(()));
            assert!(lines[2..].iter().all(|it| {
                !it.starts_with('{') || serde_json::from_str::<RecordBody>(it).is_ok()
            }));
        }
        mutants(&seeds, 1_000, fuzz_journal);
    }
}
