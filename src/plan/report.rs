//! What a graph says about running it: waves, critical path, slack, expected times, a drawing.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::{
    Checked, ClaimTable, Estimate, Holders, TaskGraph, claims, cost::cost_report, drawing,
};
use crate::model::{
    ClaimReport, Millis, PlanId, PlanReport, PlannedTask, Recommendation, RecommendedDispatch,
    SecondsBand, TaskId, TaskIdx, TaskSpec,
};

/// Describes a checked document as it would run with `workers` tasks at once, if its tasks took
/// what `expected` says.
///
/// Costs O(tasks log tasks + dependencies).
pub fn report(
    plan_id: PlanId,
    checked: Checked,
    expected: &[Estimate],
    workers: u32,
) -> PlanReport {
    let Checked { tasks, config, graph, mut warnings } = checked;
    let cost = cost_report(&tasks, config.budget.as_ref(), &mut warnings);
    let estimates: Vec<Millis> = expected.iter().map(|it| it.likely).collect();
    let graph = graph.with_estimates(estimates.clone());
    let schedule = Schedule::new(&graph, &estimates);
    let waves = schedule.waves();
    let sequential = Millis(estimates.iter().map(|it| it.0).sum());
    let none = std::collections::BTreeMap::new();
    let table = ClaimTable::new(&tasks, config.resources.as_ref().unwrap_or(&none), &[]);
    let makespan = makespan(&graph, &table, &estimates, workers);
    let id = |it: &TaskIdx| tasks[it.as_usize()].task_id.clone();
    let planned = |it: TaskIdx| PlannedTask {
        task_id: id(&it),
        agent: tasks[it.as_usize()].agent.clone(),
        wave: schedule.waves[it.as_usize()],
        estimate_seconds: estimates[it.as_usize()].seconds(),
        estimate: expected[it.as_usize()].report(),
        earliest_start_seconds: schedule.starts[it.as_usize()].seconds(),
        slack_seconds: schedule.slack(it).seconds(),
    };
    PlanReport {
        plan_id,
        critical_path: schedule.critical_path(&graph, &estimates).iter().map(id).collect(),
        estimates: graph.tasks().map(planned).collect(),
        estimated_makespan_seconds: makespan.seconds(),
        estimated_seconds: band((&graph, &table), expected, makespan, workers),
        estimated_sequential_seconds: sequential.seconds(),
        mermaid: drawing::mermaid(&tasks, &graph),
        claims: claim_report((&graph, &table), &tasks, &estimates, makespan, workers),
        cost,
        warnings,
        recommendation: recommend(&waves, makespan, sequential, workers),
        waves: waves.iter().map(|it| it.iter().map(id).collect::<Vec<TaskId>>()).collect(),
        config,
        tasks,
        truncated: false,
    }
}

/// The longest chain of tasks by their durations, and how long it is.
///
/// `durations` are by task; a missing one counts as zero. Costs O(tasks + dependencies).
pub fn critical_path(graph: &TaskGraph, durations: &[Millis]) -> (Millis, Vec<TaskIdx>) {
    let mut durations = durations.to_vec();
    durations.resize(graph.len(), Millis(0));
    let schedule = Schedule::new(graph, &durations);
    (schedule.end, schedule.critical_path(graph, &durations))
}

/// When each task starts at the earliest, and at the latest so that nothing ends later.
struct Schedule {
    starts: Vec<Millis>,
    latest_starts: Vec<Millis>,
    waves: Vec<usize>,
    end: Millis,
}

impl Schedule {
    fn new(graph: &TaskGraph, durations: &[Millis]) -> Self {
        let n_tasks = graph.len();
        let mut starts = vec![Millis(0); n_tasks];
        let mut waves = vec![0; n_tasks];
        let end_of =
            |it: TaskIdx, starts: &[Millis]| starts[it.as_usize()] + durations[it.as_usize()];
        for &task in graph.in_order() {
            let before = graph.dependencies(task);
            let ends = before.iter().map(|it| end_of(*it, &starts));
            starts[task.as_usize()] = ends.max().unwrap_or_default();
            let earlier = before.iter().map(|it| waves[it.as_usize()] + 1);
            waves[task.as_usize()] = earlier.max().unwrap_or_default();
        }
        let end = graph.tasks().map(|it| end_of(it, &starts)).max().unwrap_or_default();
        let mut latest_starts = vec![end; n_tasks];
        for &task in graph.in_order().iter().rev() {
            let after = graph.dependents(task).iter().map(|it| latest_starts[it.as_usize()]);
            let latest_end = after.min().unwrap_or(end);
            latest_starts[task.as_usize()] = latest_end.since(durations[task.as_usize()]);
        }
        Self { starts, latest_starts, waves, end }
    }

    fn slack(&self, task: TaskIdx) -> Millis {
        self.latest_starts[task.as_usize()].since(self.starts[task.as_usize()])
    }

    fn waves(&self) -> Vec<Vec<TaskIdx>> {
        let n_waves = self.waves.iter().max().map_or(0, |it| it + 1);
        let mut waves = vec![Vec::new(); n_waves];
        for (at, wave) in self.waves.iter().enumerate() {
            waves[*wave].push(TaskIdx::from_usize(at));
        }
        waves
    }

    /// Walks from the task that ends last back along the dependencies that it had to wait for.
    fn critical_path(&self, graph: &TaskGraph, durations: &[Millis]) -> Vec<TaskIdx> {
        let end_of = |it: TaskIdx| self.starts[it.as_usize()] + durations[it.as_usize()];
        // Of equal ends the first task counts, so that the answer does not depend on chance.
        let latest = |tasks: &mut dyn Iterator<Item = TaskIdx>| {
            tasks.max_by_key(|it| (end_of(*it), Reverse(*it)))
        };
        let mut path: Vec<TaskIdx> = latest(&mut graph.tasks()).into_iter().collect();
        let mut at = path.first().copied();
        while let Some(task) = at {
            at = latest(&mut graph.dependencies(task).iter().copied());
            path.extend(at);
        }
        path.reverse();
        path
    }
}

/// What the whole takes if every task is fast, or slow, for its kind.
fn band(
    (graph, table): (&TaskGraph, &ClaimTable),
    expected: &[Estimate],
    likely: Millis,
    workers: u32,
) -> SecondsBand {
    let all = |end: fn(&Estimate) -> Millis| {
        makespan(graph, table, &expected.iter().map(end).collect::<Vec<_>>(), workers)
    };
    // With few workers, faster tasks can meet in a worse order and take longer in all.
    SecondsBand {
        low: all(|it| it.low).min(likely).seconds(),
        likely: likely.seconds(),
        high: all(|it| it.high).max(likely).seconds(),
    }
}

/// How long all tasks take when `workers` run at once and longer remaining paths go first, by the
/// graph's priorities, as far as claims allow it. `durations` are by task.
///
/// Costs O(tasks log tasks + dependencies).
pub fn makespan(
    graph: &TaskGraph,
    claims: &ClaimTable,
    durations: &[Millis],
    workers: u32,
) -> Millis {
    let mut holders = Holders::new(claims);
    let mut waits: Vec<usize> = graph.tasks().map(|it| graph.dependencies(it).len()).collect();
    let is_ready = |it: &TaskIdx| graph.dependencies(*it).is_empty();
    let mut ready: BinaryHeap<_> =
        graph.tasks().filter(is_ready).map(|it| Reverse(graph.priority(it))).collect();
    let mut running = BinaryHeap::new();
    let mut now = Millis(0);
    loop {
        while running.len() < workers.max(1) as usize {
            let Some(Reverse(priority)) = ready.pop() else { break };
            let task = graph.task_of_priority(priority);
            if !holders.may_take(claims, task, priority) {
                holders.park(claims, task, priority);
                continue;
            }
            holders.take(claims, task);
            running.push(Reverse((now + durations[task.as_usize()], task)));
        }
        let Some(Reverse((end, task))) = running.pop() else { return now };
        now = end;
        holders.give_back(claims, task);
        let woken = holders.wake(claims, task);
        ready.extend(woken.into_iter().map(|it| Reverse(graph.priority(it))));
        for &dependent in graph.dependents(task) {
            waits[dependent.as_usize()] -= 1;
            if waits[dependent.as_usize()] == 0 {
                ready.push(Reverse(graph.priority(dependent)));
            }
        }
    }
}

/// What the claims keep apart, and what that costs; `None` if it is nothing.
fn claim_report(
    (graph, table): (&TaskGraph, &ClaimTable),
    tasks: &[TaskSpec],
    estimates: &[Millis],
    likely: Millis,
    workers: u32,
) -> Option<ClaimReport> {
    let (conflicts, n_conflicts) = claims::conflicts(table, tasks, graph);
    let free = makespan(graph, &ClaimTable::default(), estimates, workers);
    let makespan_cost_seconds = likely.since(free).seconds();
    (n_conflicts > 0).then_some(ClaimReport { conflicts, n_conflicts, makespan_cost_seconds })
}

fn recommend(
    waves: &[Vec<TaskIdx>],
    makespan: Millis,
    sequential: Millis,
    workers: u32,
) -> Recommendation {
    let n_tasks: usize = waves.iter().map(Vec::len).sum();
    let width = waves.iter().map(Vec::len).max().unwrap_or(0);
    let (makespan, sequential) = (makespan.seconds(), sequential.seconds());
    let (dispatch, reason) = match (n_tasks, width) {
        (0 | 1, _) => (
            RecommendedDispatch::Single,
            format!("there is one task, about {sequential} s: an agent can do it directly"),
        ),
        (_, 1) => (
            RecommendedDispatch::Sequential,
            format!(
                "each of the {n_tasks} tasks waits for the one before: about {sequential} s, \
                 however many workers there are"
            ),
        ),
        _ => (
            RecommendedDispatch::Parallel,
            format!(
                "up to {width} of the {n_tasks} tasks can run at once: about {makespan} s with \
                 {workers} workers instead of {sequential} s one after the other"
            ),
        ),
    };
    Recommendation { dispatch, reason }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::json;

    use super::{super::testing::parse, *};
    use crate::plan::document::testing::check_value;

    /// Reports on a drawing with two workers; estimates are in seconds here.
    #[track_caller]
    fn check(text: &str, expected: &Expect) {
        let drawing = parse(text);
        let tasks: Vec<_> = (0..drawing.names.len())
            .map(|at| {
                let waits = drawing.edges.iter().filter(|it| it.dependent.as_usize() == at);
                let waits: Vec<_> =
                    waits.map(|it| &drawing.names[it.dependency.as_usize()]).collect();
                json!({
                    "task_id": drawing.names[at], "agent": "debug", "description": "look",
                    "input_data": {"problem_description": "it is broken"},
                    "dependencies": waits, "estimate_seconds": drawing.estimates[at].0,
                })
            })
            .collect();
        let checked = check_value(&json!({ "tasks": tasks })).unwrap();
        let expected_times: Vec<_> =
            drawing.estimates.iter().map(|it| Estimate::given(Millis(it.0 * 1_000))).collect();
        let report = report(PlanId::new(uuid::Uuid::nil()), checked, &expected_times, 2);
        let mut lines = vec![
            format!("waves {}", json!(report.waves)),
            format!("critical path {}", json!(report.critical_path)),
            format!(
                "{} s, one by one {} s",
                report.estimated_makespan_seconds, report.estimated_sequential_seconds
            ),
            format!("{:?}: {}", report.recommendation.dispatch, report.recommendation.reason),
        ];
        lines.extend(report.estimates.iter().map(|it| {
            format!("{} from {} slack {}", it.task_id, it.earliest_start_seconds, it.slack_seconds)
        }));
        expected.assert_eq(&lines.join("\n"));
    }

    #[test]
    fn a_diamond_runs_in_parallel() {
        check(
            "a ~10\nb ~30 <- a\nc ~20 <- a\nd ~5 <- b c\ne ~1",
            &expect![[r#"
            waves [["a","e"],["b","c"],["d"]]
            critical path ["a","b","d"]
            45 s, one by one 66 s
            Parallel: up to 2 of the 5 tasks can run at once: about 45 s with 2 workers instead of 66 s one after the other
            a from 0 slack 0
            b from 10 slack 0
            c from 10 slack 10
            d from 40 slack 0
            e from 0 slack 44"#]],
        );
    }

    #[test]
    fn a_chain_is_sequential() {
        check(
            "a ~1\nb ~2 <- a",
            &expect![[r#"
            waves [["a"],["b"]]
            critical path ["a","b"]
            3 s, one by one 3 s
            Sequential: each of the 2 tasks waits for the one before: about 3 s, however many workers there are
            a from 0 slack 0
            b from 1 slack 0"#]],
        );
    }

    #[test]
    fn one_task_needs_no_dispatch() {
        check(
            "a ~7",
            &expect![[r#"
            waves [["a"]]
            critical path ["a"]
            7 s, one by one 7 s
            Single: there is one task, about 7 s: an agent can do it directly
            a from 0 slack 0"#]],
        );
    }

    #[test]
    fn few_workers_make_it_last() {
        check(
            "a ~10\nb ~10\nc ~10\nd ~10\ne ~10",
            &expect![[r#"
            waves [["a","b","c","d","e"]]
            critical path ["a"]
            30 s, one by one 50 s
            Parallel: up to 5 of the 5 tasks can run at once: about 30 s with 2 workers instead of 50 s one after the other
            a from 0 slack 0
            b from 0 slack 0
            c from 0 slack 0
            d from 0 slack 0
            e from 0 slack 0"#]],
        );
    }

    #[test]
    fn the_band_has_all_tasks_fast_or_all_slow() {
        let document = json!({"tasks": [
            {"task_id": "a", "agent": "free", "description": "d", "input_data": {}},
            {"task_id": "b", "agent": "free", "description": "d", "input_data": {},
             "dependencies": ["a"], "estimate_seconds": 10},
        ]});
        let checked = check_value(&document).unwrap();
        let expected = [Estimate::unknown(), Estimate::given(Millis(10_000))];
        let report = report(PlanId::new(uuid::Uuid::nil()), checked, &expected, 2);
        let band = SecondsBand { low: 25.0, likely: 70.0, high: 250.0 };
        assert_eq!(report.estimated_seconds, band);
        let sources = json!([report.estimates[0].estimate, report.estimates[1].estimate]);
        let wanted = json!([
            {"seconds": 60.0, "from": "default", "samples": 0},
            {"seconds": 10.0, "from": "given", "samples": 0},
        ]);
        assert_eq!(sources, wanted);
    }

    #[test]
    fn the_critical_path_follows_what_really_happened() {
        let drawing = parse("a\nb <- a\nc <- a\nd <- b c");
        let graph = TaskGraph::build(drawing.estimates, &drawing.edges).unwrap();
        let durations = [5, 1, 9, 2].map(Millis);
        let (length, path) = critical_path(&graph, &durations);
        let path: Vec<_> = path.iter().map(|it| it.as_usize()).collect();
        assert_eq!((length, path), (Millis(16), vec![0, 2, 3]));
    }
}
