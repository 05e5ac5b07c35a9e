//! Reads all tasks of a document, and then what holds between them.

use super::{
    faults::{Faults, Place, Warnings, quote},
    fields,
    fill::Filler,
    ids::Ids,
    links::{self, Ancestry, Outputs, Written},
    task::{Mode, TaskReader},
    when,
};
use crate::{
    model::{ErrorCode, Millis, TaskIdx, TaskSpec, json::Json},
    plan::{TaskGraph, rules::Rules},
};

/// What a task without an estimate is taken to need.
pub const ESTIMATE_DEFAULT: Millis = Millis(60_000);

/// Reads `tasks`; `None` if they make no graph, and then there are faults.
pub(super) fn read(
    json: &Json<'_>,
    mode: Mode,
    rules: &Rules<'_>,
    faults: &mut Faults,
    warnings: &mut Warnings,
) -> Option<(Vec<TaskSpec>, TaskGraph)> {
    let place = Place::ROOT.key("tasks");
    let tasks = fields::list(json, &place, faults)?;
    let ids = check_size(tasks, &place, rules, faults)?;
    for (one, other) in ids.case_twins() {
        warnings.add(|| {
            format!(
                "the task ids {} and {} differ in case only; some file systems cannot tell their \
                 trace files apart",
                quote(one),
                quote(other)
            )
        });
    }
    let mut reader = TaskReader {
        rules,
        edges: Vec::with_capacity(ids.n_dependencies),
        ids,
        faults,
        warnings,
        filler: (mode == Mode::Plan).then(Filler::default),
        named_by: vec![0; tasks.len()],
        references: Vec::new(),
        conditions: Vec::new(),
        outputs: Outputs::default(),
    };
    let mut specs = Vec::with_capacity(tasks.len());
    let mut estimates = Vec::with_capacity(tasks.len());
    for (at, task) in tasks.iter().enumerate() {
        reader.faults.at(at + 1);
        let spec = reader.read(task, TaskIdx::from_usize(at), &place);
        estimates.push(spec.as_ref().map_or(ESTIMATE_DEFAULT, estimate));
        specs.extend(spec);
    }
    let TaskReader { edges, references, conditions, outputs, ids, named_by, .. } = reader;
    // The graph is built in the memory of what only the reading needed.
    drop((ids, named_by));
    let shared = outputs.into_shared();
    faults.start_pass();
    let written = Written { tasks, place: &place };
    let Some(graph) = TaskGraph::build(estimates, &edges) else {
        links::report_cycles(&edges, &written, faults);
        return None;
    };
    let mut ancestry = Ancestry::new(&graph);
    let n_before = faults.count();
    links::check_references(&references, links::INPUT, &mut ancestry, &written, faults);
    if specs.len() == tasks.len() && faults.count() == n_before {
        when::check_certainty(&references, (&specs, &graph), &written, faults);
    }
    links::check_references(&conditions, links::WHEN, &mut ancestry, &written, faults);
    links::check_outputs(shared, &mut ancestry, &written, warnings);
    Some((specs, graph))
}

/// How long a task is expected to take, before anything was learned.
fn estimate(task: &TaskSpec) -> Millis {
    task.estimate_seconds.map_or(ESTIMATE_DEFAULT, Millis::from_seconds)
}

/// Checks what is counted before anything is looked at closely.
fn check_size<'j>(
    tasks: &'j [Json<'_>],
    place: &Place<'_>,
    rules: &Rules<'_>,
    faults: &mut Faults,
) -> Option<Ids<'j>> {
    if tasks.is_empty() {
        let what = format_args!("must hold at least one task");
        faults.add(|| place.fault(ErrorCode::EmptyValue, what, "add a task"));
        return None;
    }
    let max = rules.limits.tasks_max;
    if tasks.len() > max {
        let what = format_args!("holds {} tasks; at most {max} are allowed", tasks.len());
        let hint = "split the document, or give it to `parallel-dispatch run`";
        faults.add(|| place.fault(ErrorCode::LimitExceeded, what, hint));
        return None;
    }
    let ids = Ids::collect(tasks);
    let max = rules.limits.edges_max;
    if ids.n_dependencies > max {
        let n = ids.n_dependencies;
        let what = format_args!("hold {n} dependencies; at most {max} are allowed");
        let hint = "let groups of tasks wait for one task in between";
        faults.add(|| place.fault(ErrorCode::LimitExceeded, what, hint));
        return None;
    }
    Some(ids)
}
