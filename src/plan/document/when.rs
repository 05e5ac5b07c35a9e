//! Reads a task's `when` and `trigger_rule`, and checks that what a task refers to will be there.

use super::{
    faults::{Faults, Place, Subject, quote},
    fields,
    links::{self, Written},
    task::TaskReader,
};
use crate::{
    model::{ErrorCode, Fault, TaskIdx, TaskSpec, TriggerRule, json::Json},
    plan::{Condition, TaskGraph, WHEN_CHARS_MAX},
};

/// How many tasks and dependencies may be looked at in all to find out what is certain.
const STEPS_MAX: usize = 64_000_000;

/// Reads `trigger_rule`.
pub(super) fn read_rule(
    json: &Json<'_>,
    place: &Place<'_>,
    faults: &mut Faults,
) -> Option<TriggerRule> {
    let word = fields::word(json, place, &TriggerRule::ALL.map(TriggerRule::as_str), faults)?;
    TriggerRule::ALL.into_iter().find(|it| it.as_str() == word)
}

impl TaskReader<'_, '_> {
    /// Reads `when`, and notes the tasks that it names.
    pub(super) fn read_when(
        &mut self,
        json: &Json<'_>,
        task: TaskIdx,
        place: &Place<'_>,
    ) -> Option<Box<str>> {
        let blank = fields::Blank::Refused;
        let source = fields::text(json, place, blank, WHEN_CHARS_MAX, self.faults)?;
        match Condition::read(source) {
            Ok(condition) => {
                condition.tasks().for_each(|(id, _)| self.note_condition(id, task, place));
            }
            Err(found) => {
                for it in found {
                    let what = format_args!("{}", it.what);
                    self.faults.add(|| place.fault(it.code, what, &it.hint));
                }
            }
        }
        Some(source.into())
    }

    /// Notes a task that a condition names.
    pub(super) fn note_condition(&mut self, id: &str, task: TaskIdx, place: &Place<'_>) {
        match self.ids.get(id) {
            Some(target) => self.conditions.push((task, TaskIdx::from_usize(target as usize))),
            None => self.faults.add(|| {
                let guess = self.ids.did_you_mean(id);
                let what = format_args!("refers to unknown task {}{guess}", quote(id));
                let hint = "name a task that this one depends on, as tasks.ID or tasks[\"ID\"]";
                place.fault(ErrorCode::InvalidReference, what, hint)
            }),
        }
    }
}

/// Checks that each task that runs finds the outputs that it refers to, or a default: a rule may
/// let it run without the task that it refers to. `references` are (from, to), grouped by from.
pub(super) fn check_certainty(
    references: &[(TaskIdx, TaskIdx)],
    (tasks, graph): (&[TaskSpec], &TaskGraph),
    written: &Written<'_, '_>,
    faults: &mut Faults,
) {
    let is_plain = |it: &TaskSpec| it.trigger_rule == TriggerRule::AllSuccess;
    if references.is_empty() || tasks.iter().all(is_plain) {
        return;
    }
    let is_plain = |from: TaskIdx, to: &TaskIdx| {
        tasks[from.as_usize()].trigger_rule == TriggerRule::AllSuccess
            && graph.dependencies(from).binary_search(to).is_ok()
    };
    let mut open = Vec::new();
    for group in references.chunk_by(|one, other| one.0 == other.0) {
        let from = group[0].0;
        if group.iter().all(|it| is_plain(from, &it.1)) {
            continue;
        }
        // One look at the input for all of them, however many there are.
        let bare = links::ids_without_default(from, written);
        let is_bare = |it: &&(TaskIdx, TaskIdx)| bare.contains(written.id(it.1));
        open.extend(group.iter().filter(is_bare).filter(|it| !is_plain(from, &it.1)).copied());
    }
    // Those that refer to one task are answered by one look at the graph.
    open.sort_unstable_by_key(|it| (it.1, it.0));
    open.dedup();
    let mut steps_left = STEPS_MAX;
    let n_steps = graph.len() + tasks.iter().map(|it| it.dependencies.len()).sum::<usize>();
    let mut uncertain = Vec::new();
    for group in open.chunk_by(|one, other| one.1 == other.1) {
        let target = group[0].1;
        let Some(left) = steps_left.checked_sub(n_steps) else {
            return faults.add(|| describe_too_many(group[0].0, written));
        };
        steps_left = left;
        let certain = who_needs(target, tasks, graph);
        uncertain.extend(group.iter().copied().filter(|it| !certain[it.0.as_usize()]));
    }
    uncertain.sort_unstable();
    for (from, to) in uncertain {
        faults.at(from.as_usize() + 1);
        faults.add(|| describe_uncertain(from, to, tasks, written));
    }
}

/// Per task, whether it runs only if `target` has succeeded.
fn who_needs(target: TaskIdx, tasks: &[TaskSpec], graph: &TaskGraph) -> Vec<bool> {
    let mut needs = vec![false; graph.len()];
    for &task in graph.in_order() {
        // A task that succeeded has run.
        let is_certain = |it: &TaskIdx| *it == target || needs[it.as_usize()];
        let before = graph.dependencies(task);
        needs[task.as_usize()] = match tasks[task.as_usize()].trigger_rule {
            TriggerRule::AllSuccess => before.iter().any(is_certain),
            TriggerRule::OneSuccess | TriggerRule::NoneFailedMinOneSuccess => {
                !before.is_empty() && before.iter().all(is_certain)
            }
            TriggerRule::AllDone => false,
        };
    }
    needs
}

fn describe_uncertain(
    from: TaskIdx,
    to: TaskIdx,
    tasks: &[TaskSpec],
    written: &Written<'_, '_>,
) -> Fault {
    let id = quote(tasks[to.as_usize()].task_id.as_str());
    let rule = tasks[from.as_usize()].trigger_rule;
    let say = |place: &Place<'_>| {
        let subject = place.subject;
        let why = if rule == TriggerRule::AllSuccess {
            "a task between them has a trigger_rule that allows it".to_owned()
        } else {
            format!("its trigger_rule is {}", rule.as_str())
        };
        let message =
            format!("{subject} refers to the output of {id}, and may run without it: {why}");
        let hint = "declare what to take instead, as in ${tasks.ID.output.path ?? null}";
        place.say(ErrorCode::InvalidReference, &message, hint)
    };
    let bare = |default: Option<&str>| default.is_none();
    links::find_reference(from, written.id(to), written, bare, say)
        .unwrap_or_else(|| say(&written.place.index(from.as_usize())))
}

fn describe_too_many(from: TaskIdx, written: &Written<'_, '_>) -> Fault {
    let mut task = written.place.index(from.as_usize());
    task.subject = Subject::Task(written.id(from));
    let message = format!(
        "{} and others refer to so many tasks that it cannot be found out whether they run \
         without them",
        task.subject
    );
    let hint = "refer to direct dependencies, from tasks without trigger_rule";
    task.say(ErrorCode::LimitExceeded, &message, hint)
}
