//! How long a task takes to become many: from the answer with the list until the first of the parts
//! is called, with all of them in the scheduler and written down.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use parallel_dispatch::{model::json::Json, runtime::Recover};
use serde_json::{Value, json};

use super::{
    HOUR, ROUNDS,
    engine::{Engine, Outcome},
    flat,
};

pub(crate) async fn measure(dir: &Path) -> Outcome<()> {
    for (store, is_durable) in [("in memory", false), ("durable", true)] {
        // One part shows what does not depend on their number: two rounds, and reading the list.
        for n_items in [1, 1_000, 10_000] {
            let document = of_an_answer(n_items);
            let mut times = Vec::new();
            for _ in 0..2 * ROUNDS {
                let place = tempfile::tempdir_in(dir)?;
                let engine = if is_durable {
                    Engine::start(place.path(), Recover::Never)?
                } else {
                    Engine::start_in_memory(place.path())?
                };
                engine.handle.dispatch_document(&Json::from_value(&document)?).await?;
                times.push(engine.agents.first_part().await);
                engine.stop().await?;
            }
            let best = times.iter().min().map_or(0.0, |it| it.as_secs_f64() * 1e3);
            println!("fan-out of {n_items}, {store}: first part called after {best:.2} ms");
        }
    }
    let plain = flat(10_000, 64, "noop");
    let once = of_lists(1, 10_000);
    let often = of_lists(100, 100);
    for (name, document) in
        [("10,000 tasks", &plain), ("one list of 10,000", &once), ("100 lists of 100", &often)]
    {
        let each = whole(dir, document).await?.as_secs_f64() * 1e6 / 10_000.0;
        println!("{name}, in memory, no-op, to the end: {each:.1} us a task");
    }
    Ok(())
}

/// How long a dispatch takes from its submission to its end.
async fn whole(dir: &Path, document: &Value) -> Outcome<Duration> {
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let place = tempfile::tempdir_in(dir)?;
        let engine = Engine::start_in_memory(place.path())?;
        let started = Instant::now();
        let dispatch = engine.handle.dispatch_document(&Json::from_value(document)?).await?;
        engine.handle.finished(dispatch, HOUR).await?;
        best = best.min(started.elapsed());
        engine.stop().await?;
    }
    Ok(best)
}

/// A list that another task answers.
fn of_an_answer(n_items: usize) -> Value {
    json!({
        "tasks": [
            { "task_id": "find", "agent": "list", "description": "find modules",
              "input_data": { "n_items": n_items } },
            { "task_id": "review", "agent": "part", "description": "review ${item.path}",
              "input_data": { "path": "${item.path}", "lines": "${item.lines}",
                              "task": "look for what can panic" },
              "dependencies": ["find"],
              "for_each": { "items": "${tasks.find.output.items}", "max_items": 10_000 } },
        ],
        "config": { "max_workers": 64 },
    })
}

/// Lists that stand in the document.
fn of_lists(n_lists: usize, n_items: usize) -> Value {
    let items: Vec<_> = (0..n_items).map(|it| format!("module_{it}.py")).collect();
    let task = |at| {
        json!({
            "task_id": format!("list-{at}"), "agent": "noop", "description": "wait",
            "input_data": { "name": "${item}" },
            "for_each": { "items": items, "max_items": 10_000 },
        })
    };
    let tasks: Vec<_> = (0..n_lists).map(task).collect();
    json!({ "tasks": tasks, "config": { "max_workers": 64 } })
}
