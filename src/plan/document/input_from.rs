//! Rewrites a task's `input_from` as references in its `input_data`, before anything is read.

use std::borrow::Cow;

use super::{
    faults::{Faults, Place, Subject},
    fields,
};
use crate::model::{ErrorCode, json::Json};

/// The field that is rewritten.
const INPUT_FROM: &str = "input_from";
const INPUT_DATA: &str = "input_data";

/// The tasks with whole outputs as references; nothing if no task asks for any. What does not fit
/// is a fault, and is left out.
pub(super) fn rewrite<'a>(tasks: &Json<'a>, faults: &mut Faults) -> Option<Json<'a>> {
    let Json::Array(items) = tasks else { return None };
    if !items.iter().any(|it| field(it, INPUT_FROM).is_some()) {
        return None;
    }
    let place = Place::ROOT.key("tasks");
    let rewritten = items.iter().enumerate().map(|(at, task)| {
        let mut place = place.index(at);
        place.subject = match field(task, "task_id") {
            Some(Json::String(id)) => Subject::Task(id),
            Some(_) | None => Subject::TaskAt(at),
        };
        faults.at(at + 1);
        rewrite_task(task, &place, faults)
    });
    Some(Json::Array(rewritten.collect()))
}

fn rewrite_task<'a>(task: &Json<'a>, place: &Place<'_>, faults: &mut Faults) -> Json<'a> {
    let (Json::Object(fields), Some(from)) = (task, field(task, INPUT_FROM)) else {
        return task.clone();
    };
    let input = match field(task, INPUT_DATA) {
        None | Some(Json::Null) => Vec::new(),
        Some(Json::Object(input)) => input.to_vec(),
        // Another type is a fault of its own.
        Some(_) => return task.clone(),
    };
    let at = place.key(INPUT_FROM);
    let input = Json::Object(with_references(input, from, &at, faults).into());
    let is_other = |it: &&(Cow<'a, str>, Json<'a>)| it.0 != INPUT_FROM && it.0 != INPUT_DATA;
    let mut others: Vec<_> = fields.iter().filter(is_other).cloned().collect();
    others.push((Cow::Borrowed(INPUT_DATA), input));
    Json::Object(others.into())
}

fn with_references<'a>(
    mut input: Vec<(Cow<'a, str>, Json<'a>)>,
    from: &Json<'a>,
    place: &Place<'_>,
    faults: &mut Faults,
) -> Vec<(Cow<'a, str>, Json<'a>)> {
    let Json::Object(named) = from else {
        fields::wrong_type(from, "an object of fields and task ids", place, faults);
        return input;
    };
    for (name, id) in named {
        let at = place.key(name);
        let Json::String(id) = id else {
            fields::wrong_type(id, "a task id", &at, faults);
            continue;
        };
        if input.iter().any(|it| it.0 == *name) {
            let what = format_args!("stands in input_data too");
            faults.add(|| at.fault(ErrorCode::DuplicateField, what, "keep one of them"));
            continue;
        }
        let reference = format!("${{tasks.{id}.output}}");
        input.push((name.clone(), Json::String(Cow::Owned(reference))));
    }
    input
}

fn field<'j, 'a>(task: &'j Json<'a>, name: &str) -> Option<&'j Json<'a>> {
    let Json::Object(fields) = task else { return None };
    fields.iter().find(|it| it.0 == name).map(|it| &it.1)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::check_value;
    use crate::model::Refusal;

    fn read(
        input_data: &Value,
        input_from: &Value,
        dependencies: &Value,
    ) -> Result<Value, Refusal> {
        let first =
            json!({ "task_id": "a", "agent": "free", "description": "d", "input_data": {} });
        let second = json!({
            "task_id": "b", "agent": "free", "description": "d", "input_data": input_data,
            "input_from": input_from, "dependencies": dependencies,
        });
        let checked = check_value(&json!({ "tasks": [first, second] }))?;
        Ok(json!(checked.tasks[1].input_data))
    }

    #[test]
    fn a_whole_output_becomes_a_reference() {
        let input = read(&json!({ "n": 1 }), &json!({ "all": "a" }), &json!(["a"])).unwrap();
        assert_eq!(input, json!({ "n": 1, "all": "${tasks.a.output}" }));
    }

    #[test]
    fn what_does_not_fit_is_told_with_its_place() {
        for (from, dependencies, path) in [
            (json!(["a"]), json!(["a"]), "/tasks/1/input_from"),
            (json!({ "x": 7 }), json!(["a"]), "/tasks/1/input_from/x"),
            (json!({ "n": "a" }), json!(["a"]), "/tasks/1/input_from/n"),
            (json!({ "x": "gone" }), json!(["a"]), "/tasks/1/input_data/x"),
            (json!({ "x": "a" }), json!([]), "/tasks/1/input_data/x"),
        ] {
            let refusal = read(&json!({ "n": 1 }), &from, &dependencies).unwrap_err();
            assert_eq!(refusal.faults()[0].path, path, "{from}: {refusal}");
        }
    }
}
