//! Reads what makes many tasks of one: `for_each` and `loop`.

use rustc_hash::FxHashSet;

use super::{
    faults::{Faults, Place, quote},
    fields::{self, Blank, Fields},
    task::TaskReader,
};
use crate::{
    model::{ErrorCode, ForEachSpec, JoinRule, LoopSpec, TaskId, TaskIdx, TaskSpec, json::Json},
    plan::{Condition, WHEN_CHARS_MAX, reference},
};

pub(super) static FOR_EACH: Fields<4> = Fields {
    names: ["items", "max_parallel", "max_items", "join"],
    alias: None,
    hint: "for_each takes items, max_parallel, max_items, join",
};

pub(super) static LOOP: Fields<2> = Fields {
    names: ["until", "max_iterations"],
    alias: None,
    hint: "loop takes until and max_iterations",
};

/// What is left of an id's length for a dot and the number of a part.
const PART_CHARS: usize = 6;
const JOINS: [&str; 2] = ["all_success", "all_done"];

impl TaskReader<'_, '_> {
    /// Reads `for_each` and `loop`; a task stands for many in one way only.
    pub(super) fn read_many(
        &mut self,
        each: Option<&Json<'_>>,
        again: Option<&Json<'_>>,
        of: (&str, TaskIdx),
        place: &Place<'_>,
    ) -> (Option<ForEachSpec>, Option<LoopSpec>) {
        let at = place.key("for_each");
        let for_each = each.and_then(|it| self.read_for_each(it, of, &at));
        let at = place.key("loop");
        let repeat = again.and_then(|it| self.read_loop(it, of, &at));
        if each.is_some() && again.is_some() {
            let what = format_args!("excludes \"for_each\"");
            let hint = "let the tasks of for_each be followed by another task with loop";
            self.faults.add(|| at.fault(ErrorCode::DuplicateField, what, hint));
        }
        (for_each, repeat)
    }

    /// Reads `for_each`; a reference in it counts like one in the input.
    fn read_for_each(
        &mut self,
        json: &Json<'_>,
        (id, task): (&str, TaskIdx),
        place: &Place<'_>,
    ) -> Option<ForEachSpec> {
        check_id(id, place, self.faults);
        let object = FOR_EACH.read(json, place, self.faults)?;
        let [items, parallel, most, join] = FOR_EACH.names.map(|it| place.key(it));
        let hint = "give a list, or a reference to one";
        let list = object.require(0, place, hint, self.faults);
        let range = (1, ForEachSpec::ITEMS_MAX.into());
        let max_items = object
            .get(2)
            .and_then(|it| fields::integer(it, &most, range, self.faults))
            .and_then(|it| u32::try_from(it).ok());
        match list {
            Some(Json::Array(found)) => {
                let max = max_items.unwrap_or(ForEachSpec::ITEMS_DEFAULT) as usize;
                if found.len() > max {
                    let what =
                        format_args!("holds {} items; at most {max} are allowed", found.len());
                    let hint = "raise max_items, or split the list";
                    self.faults.add(|| items.fault(ErrorCode::LimitExceeded, what, hint));
                }
            }
            Some(Json::String(text)) if is_one_reference(text) => {
                self.read_references(text, &items, task);
            }
            Some(Json::String(_)) => {
                let what = format_args!("must be a list, or a reference and nothing else");
                let hint = "write ${tasks.ID.output.path.to.list}";
                self.faults.add(|| items.fault(ErrorCode::InvalidReference, what, hint));
            }
            Some(other) => fields::wrong_type(other, "a list", &items, self.faults),
            None => (),
        }
        let max_parallel = object
            .get(1)
            .and_then(|it| fields::integer(it, &parallel, (1, 1_024), self.faults))
            .and_then(|it| u32::try_from(it).ok());
        let join = object.get(3).and_then(|it| fields::word(it, &join, &JOINS, self.faults));
        let join = if join == Some("all_done") { JoinRule::AllDone } else { JoinRule::AllSuccess };
        Some(ForEachSpec { items: list?.to_value(), max_parallel, max_items, join })
    }

    /// Reads `loop`; the tasks that its condition names count like those of `when`.
    fn read_loop(
        &mut self,
        json: &Json<'_>,
        (id, task): (&str, TaskIdx),
        place: &Place<'_>,
    ) -> Option<LoopSpec> {
        check_id(id, place, self.faults);
        let object = LOOP.read(json, place, self.faults)?;
        let [until, most] = LOOP.names.map(|it| place.key(it));
        let hint = "say what ends it: tasks.ID.output.score >= 0.8, with the task's own id";
        let source = object
            .require(0, place, hint, self.faults)
            .and_then(|it| fields::text(it, &until, Blank::Refused, WHEN_CHARS_MAX, self.faults));
        match source.map(Condition::read) {
            Some(Ok(condition)) => {
                let others = condition.tasks().filter(|it| it.0 != id);
                others.for_each(|(other, _)| self.note_condition(other, task, &until));
            }
            Some(Err(found)) => {
                for it in found {
                    let what = format_args!("{}", it.what);
                    self.faults.add(|| until.fault(it.code, what, &it.hint));
                }
            }
            None => (),
        }
        let hint = "say how often it may be done at most: 1 to 100";
        let range = (1, LoopSpec::ITERATIONS_MAX.into());
        let max_iterations = object
            .require(1, place, hint, self.faults)
            .and_then(|it| fields::integer(it, &most, range, self.faults))
            .and_then(|it| u32::try_from(it).ok());
        Some(LoopSpec { until: source?.to_owned(), max_iterations: max_iterations? })
    }
}

/// Refuses ids that parts of other tasks will have.
pub(super) fn check_part_ids(tasks: &[TaskSpec], faults: &mut Faults) {
    let is_many = |it: &&TaskSpec| it.for_each.is_some() || it.repeat.is_some();
    let many: FxHashSet<&str> =
        tasks.iter().filter(is_many).map(|it| it.task_id.as_str()).collect();
    if many.is_empty() {
        return;
    }
    let list = Place::ROOT.key("tasks");
    for (at, task) in tasks.iter().enumerate() {
        let id = task.task_id.as_str();
        let Some((whole, number)) = id.rsplit_once('.') else { continue };
        if !many.contains(whole) || !number.bytes().all(|it| it.is_ascii_digit()) {
            continue;
        }
        faults.at(at + 1);
        let place = list.index(at);
        let message = format!("task id {} is that of a part of {}", quote(id), quote(whole));
        let hint = "give it another id: those of the parts end in a dot and a number";
        let at = place.key("task_id");
        faults.add(|| at.say(ErrorCode::DuplicateTaskId, &message, hint));
    }
}

fn is_one_reference(text: &str) -> bool {
    matches!(reference::split(text)[..], [reference::Piece::Reference { .. }])
}

/// Leaves room for the numbers of the parts.
fn check_id(id: &str, place: &Place<'_>, faults: &mut Faults) {
    let max = TaskId::LEN_MAX - PART_CHARS;
    if id.len() > max {
        let what = format_args!("needs a task id of at most {max} characters, not {}", quote(id));
        let hint = "the tasks are called ID.0, ID.1 and so on";
        faults.add(|| place.fault(ErrorCode::TooLong, what, hint));
    }
}
