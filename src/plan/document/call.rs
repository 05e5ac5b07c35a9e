//! Reads the arguments of the tools.

use std::{collections::BTreeMap, str::FromStr};

use serde::{
    Deserialize as _,
    de::{IntoDeserializer as _, value::StrDeserializer},
};
use serde_json::Value;

use super::{
    Checked, approval, budget, check_parts, check_specs, config,
    faults::{Faults, Place, quote},
    fields::{self, Blank, Fields, Object, TEXT_CHARS_MAX},
    retry,
    task::{DESCRIPTION_CHARS_MAX, Mode},
};
use crate::{
    model::{
        CancelRequest, DispatchId, ErrorCode, GetResultRequest, PlanId, ReadTraceRequest, Refusal,
        RetryRequest, TaskId, TaskOverride, TraceKind, View,
        json::{self, Json},
    },
    plan::{WHEN_CHARS_MAX, drafts, markdown, request, rules::Rules},
};

/// How long a call waits unless it says otherwise, in milliseconds.
pub const WAIT_MS_DEFAULT: u64 = 45_000;
/// How long a call may wait at most, in milliseconds.
pub const WAIT_MS_MAX: u64 = 600_000;

/// What `dispatch` is to run.
#[derive(Clone, Debug)]
pub enum Source {
    /// A document, checked.
    Document(Box<Checked>),
    /// A plan that `plan_tasks` stored.
    Plan(PlanId),
    /// Tasks for a dispatch that runs, as they were given: they are checked with its own.
    Addition(DispatchId, Value),
}

/// The arguments of `dispatch`, checked.
#[derive(Clone, Debug)]
pub struct DispatchCall {
    /// What to run.
    pub source: Source,
    /// How long to wait for the end, in milliseconds; 0 where the caller does not wait.
    pub wait_ms: u64,
    /// The caller's key, which makes a second call answer the first one's dispatch.
    pub idempotency_key: Option<String>,
}

/// The arguments of `retry_dispatch`, checked.
#[derive(Clone, Debug)]
pub struct RetryCall {
    /// What to run again.
    pub request: RetryRequest,
    /// How long to wait for the end, in milliseconds; 0 where the caller does not wait.
    pub wait_ms: u64,
}

pub(super) static DISPATCH: Fields<7> = Fields {
    names: ["tasks", "config", "plan_id", "wait", "wait_ms", "idempotency_key", "dispatch_id"],
    alias: None,
    hint: "dispatch takes tasks or plan_id, config, wait, wait_ms, idempotency_key, dispatch_id",
};

pub(super) static PLAN: Fields<4> = Fields {
    names: ["tasks", "config", "request", "plan_markdown"],
    alias: None,
    hint: "plan_tasks takes tasks, request or plan_markdown, and config",
};

pub(super) static GET_RESULT: Fields<5> = Fields {
    names: ["dispatch_id", "task_ids", "wait_ms", "view", "cursor"],
    alias: None,
    hint: "get_result takes dispatch_id, task_ids, wait_ms, view, cursor",
};

pub(super) static READ_TRACE: Fields<5> = Fields {
    names: ["dispatch_id", "task_id", "kinds", "cursor", "limit"],
    alias: None,
    hint: "read_trace takes dispatch_id, task_id, kinds, cursor, limit",
};

pub(super) static CANCEL: Fields<3> = Fields {
    names: ["dispatch_id", "task_ids", "reason"],
    alias: None,
    hint: "cancel_dispatch takes dispatch_id, task_ids, reason",
};

pub(super) static RETRY: Fields<6> = Fields {
    names: ["dispatch_id", "task_ids", "overrides", "wait", "wait_ms", "budget"],
    alias: None,
    hint: "retry_dispatch takes dispatch_id, task_ids, overrides, wait, wait_ms, budget",
};

pub(super) static OVERRIDE: Fields<9> = Fields {
    names: [
        "description",
        "input_data",
        "timeout_seconds",
        "total_timeout_seconds",
        "idle_timeout_seconds",
        "retry",
        "when",
        "cache",
        "approval",
    ],
    alias: None,
    hint: "an override takes description, input_data, timeout_seconds, total_timeout_seconds, \
           idle_timeout_seconds, retry, when, cache, approval",
};

const VIEWS: [&str; 3] = ["full", "summary", "markdown"];

/// Checks the arguments of `dispatch`.
pub fn check_dispatch(args: &Json<'_>, rules: &Rules<'_>) -> Result<DispatchCall, Refusal> {
    let mut faults = Faults::default();
    let root = Place::ROOT;
    let Some(object) = DISPATCH.read(args, &root, &mut faults) else {
        return Err(finish(faults));
    };
    let wait_ms = read_wait(object.get(3), object.get(4), &mut faults);
    let at = root.key("idempotency_key");
    let idempotency_key = object
        .get(5)
        .and_then(|it| fields::text(it, &at, Blank::Refused, 200, &mut faults))
        .map(str::to_owned);
    let plan_id = object.get(2).map(|it| {
        let hint = "plan_tasks answers the plan_id to pass here";
        read_uuid(it, &root.key("plan_id"), ErrorCode::UnknownPlan, hint, &mut faults)
    });
    if let Some(id) = object.get(6) {
        return read_addition(id, &object, wait_ms, faults);
    }
    let source = match (object.get(0), plan_id) {
        (Some(tasks), None) => {
            let config = object.get(1);
            let checked = check_parts(Some(tasks), config, Mode::Dispatch, rules, faults)?;
            Source::Document(Box::new(checked))
        }
        (tasks, Some(plan_id)) => {
            check_alone("plan_id", "tasks", tasks, &mut faults);
            check_alone("plan_id", "config", object.get(1), &mut faults);
            match (faults.count(), plan_id) {
                (0, Some(plan_id)) => Source::Plan(plan_id),
                _ => return Err(finish(faults)),
            }
        }
        (None, None) => {
            require_one(&["tasks", "plan_id"], &mut faults);
            return Err(finish(faults));
        }
    };
    Ok(DispatchCall { source, wait_ms, idempotency_key })
}

fn read_addition(
    id: &Json<'_>,
    object: &Object<'_, '_, 7>,
    wait_ms: u64,
    mut faults: Faults,
) -> Result<DispatchCall, Refusal> {
    let root = Place::ROOT;
    let hint = "name a dispatch that runs";
    let at = root.key("dispatch_id");
    let dispatch = read_uuid(id, &at, ErrorCode::UnknownDispatch, hint, &mut faults);
    for (other, name) in [(1, "config"), (2, "plan_id"), (5, "idempotency_key")] {
        check_alone("dispatch_id", name, object.get(other), &mut faults);
    }
    let tasks = object.require(0, &root, "give the tasks to add", &mut faults);
    match (dispatch, tasks, faults.count()) {
        (Some(dispatch), Some(tasks), 0) => {
            let source = Source::Addition(dispatch, tasks.to_value());
            Ok(DispatchCall { source, wait_ms, idempotency_key: None })
        }
        _ => Err(finish(faults)),
    }
}

/// Checks the arguments of `plan_tasks`; what is left out is filled in, and a warning says so.
pub fn check_plan(args: &Json<'_>, rules: &Rules<'_>) -> Result<Checked, Refusal> {
    let mut faults = Faults::default();
    let root = Place::ROOT;
    let Some(object) = PLAN.read(args, &root, &mut faults) else { return Err(finish(faults)) };
    let sources = [(0, "tasks"), (2, "request"), (3, "plan_markdown")];
    let mut given = sources.into_iter().filter_map(|(at, name)| Some((name, object.get(at)?)));
    let Some((name, source)) = given.next() else {
        require_one(&["tasks", "request", "plan_markdown"], &mut faults);
        return Err(finish(faults));
    };
    given.for_each(|(other, value)| check_alone(name, other, Some(value), &mut faults));
    let place = root.key(name);
    let drafted = match name {
        "tasks" => {
            return check_parts(Some(source), object.get(1), Mode::Plan, rules, faults);
        }
        "request" => {
            fields::text(source, &place, Blank::Refused, DESCRIPTION_CHARS_MAX, &mut faults)
                .map(|it| Ok(request::draft(it, rules)))
        }
        _ => fields::text(source, &place, Blank::Refused, TEXT_CHARS_MAX, &mut faults)
            .map(|it| markdown::draft(it, rules)),
    };
    let at = root.key("config");
    let config = object.get(1).map(|it| config::read(it, &at, rules, &mut faults));
    let drafts = match drafted {
        Some(Ok(drafts)) => drafts,
        Some(Err(message)) => {
            let hint = "give a yaml block `dag:` with nodes, or lines `- [ ] Task 1.1: …`";
            faults.add(|| place.say(ErrorCode::ParseError, &message, hint));
            return Err(finish(faults));
        }
        None => return Err(finish(faults)),
    };
    faults.finish()?;
    let drafts::Drafts { tasks, warnings } = drafts;
    let mut checked = check_specs(tasks, config.unwrap_or_default(), rules)?;
    checked.warnings.splice(0..0, warnings);
    Ok(checked)
}

/// Checks the arguments of `get_result`.
pub fn check_get_result(args: &Json<'_>) -> Result<GetResultRequest, Refusal> {
    let mut faults = Faults::default();
    let Some(object) = GET_RESULT.read(args, &Place::ROOT, &mut faults) else {
        return Err(finish(faults));
    };
    let dispatch_id = require_dispatch_id(&object, &mut faults);
    let task_ids = object.get(1).and_then(|it| read_task_ids(it, &mut faults));
    let wait_ms = object.get(2).and_then(|it| read_wait_ms(it, &mut faults));
    let at = Place::ROOT.key("view");
    let view = object.get(3).and_then(|it| fields::word(it, &at, &VIEWS, &mut faults));
    let view = view.map(|it| match it {
        "summary" => View::Summary,
        "markdown" => View::Markdown,
        _ => View::Full,
    });
    let cursor = object.get(4).and_then(|it| read_cursor(it, &mut faults));
    let Some(dispatch_id) = dispatch_id.filter(|_| faults.count() == 0) else {
        return Err(finish(faults));
    };
    Ok(GetResultRequest { dispatch_id, task_ids, wait_ms, view, cursor })
}

/// Checks the arguments of `read_trace`.
pub fn check_read_trace(args: &Json<'_>) -> Result<ReadTraceRequest, Refusal> {
    let mut faults = Faults::default();
    let root = Place::ROOT;
    let Some(object) = READ_TRACE.read(args, &root, &mut faults) else {
        return Err(finish(faults));
    };
    let dispatch_id = object.get(0).and_then(|it| read_dispatch_id(it, &mut faults));
    let at = root.key("task_id");
    let task_id = object.get(1).and_then(|it| read_task_id(it, &at, &mut faults));
    if object.get(0).is_none() && object.get(1).is_some() {
        let what = format_args!("is missing, though \"task_id\" is given");
        let hint = "a task id means something only within a dispatch";
        let at = root.key("dispatch_id");
        faults.add(|| at.fault(ErrorCode::MissingField, what, hint));
    }
    let kinds = object.get(2).and_then(|it| read_kinds(it, &mut faults));
    let cursor = object.get(3).and_then(|it| read_cursor(it, &mut faults));
    let at = root.key("limit");
    let limit = object.get(4).and_then(|it| fields::integer(it, &at, (1, 1_000), &mut faults));
    let limit = limit.and_then(|it| u32::try_from(it).ok());
    faults.finish()?;
    Ok(ReadTraceRequest { dispatch_id, task_id, kinds, cursor, limit })
}

/// Checks the arguments of `cancel_dispatch`.
pub fn check_cancel(args: &Json<'_>) -> Result<CancelRequest, Refusal> {
    let mut faults = Faults::default();
    let Some(object) = CANCEL.read(args, &Place::ROOT, &mut faults) else {
        return Err(finish(faults));
    };
    let dispatch_id = require_dispatch_id(&object, &mut faults);
    let task_ids = object.get(1).and_then(|it| read_task_ids(it, &mut faults));
    let at = Place::ROOT.key("reason");
    let reason = object
        .get(2)
        .and_then(|it| fields::text(it, &at, Blank::Allowed, 1_000, &mut faults))
        .map(str::to_owned);
    let Some(dispatch_id) = dispatch_id.filter(|_| faults.count() == 0) else {
        return Err(finish(faults));
    };
    Ok(CancelRequest { dispatch_id, task_ids, reason })
}

/// Checks the arguments of `retry_dispatch`; whether the overrides fit their tasks is known only
/// when they are applied, and then [`super::check_specs`] says so.
pub fn check_retry(args: &Json<'_>) -> Result<RetryCall, Refusal> {
    let mut faults = Faults::default();
    let Some(object) = RETRY.read(args, &Place::ROOT, &mut faults) else {
        return Err(finish(faults));
    };
    let dispatch_id = require_dispatch_id(&object, &mut faults);
    let task_ids = object.get(1).and_then(|it| read_task_ids(it, &mut faults));
    let overrides = object.get(2).and_then(|it| read_overrides(it, &mut faults));
    let wait_ms = read_wait(object.get(3), object.get(4), &mut faults);
    let wait = object.get(3).map(|_| wait_ms > 0);
    let at = Place::ROOT.key("budget");
    let budget = object.get(5).and_then(|it| budget::read(it, &at, &mut faults));
    let Some(dispatch_id) = dispatch_id.filter(|_| faults.count() == 0) else {
        return Err(finish(faults));
    };
    let request =
        RetryRequest { dispatch_id, task_ids, overrides, budget, wait, wait_ms: Some(wait_ms) };
    Ok(RetryCall { request, wait_ms })
}

pub(super) fn finish(faults: Faults) -> Refusal {
    let unknown = || {
        let message = "the arguments were refused for no reason that could be named";
        Refusal::of(ErrorCode::Internal, "", message, "report this")
    };
    faults.finish().err().unwrap_or_else(unknown)
}

fn check_alone(name: &str, other: &str, value: Option<&Json<'_>>, faults: &mut Faults) {
    if value.is_some() {
        let message = format!("{name:?} and {other:?} cannot be given together");
        let hint = match other {
            "config" => "the plan has its own config; leave this one out".to_owned(),
            _ => format!("keep either {name:?} or {other:?}"),
        };
        let at = Place::ROOT.key(other);
        faults.add(|| at.say(ErrorCode::DuplicateField, &message, &hint));
    }
}

fn require_one(names: &[&str], faults: &mut Faults) {
    let names = super::faults::list_words(names);
    let message = format!("one of {names} must be given");
    let hint = "give exactly one of them";
    faults.add(|| Place::ROOT.say(ErrorCode::MissingField, &message, hint));
}

fn read_wait(wait: Option<&Json<'_>>, wait_ms: Option<&Json<'_>>, faults: &mut Faults) -> u64 {
    let at = Place::ROOT.key("wait");
    let wait = wait.and_then(|it| fields::flag(it, &at, faults)).unwrap_or(true);
    let wait_ms = wait_ms.and_then(|it| read_wait_ms(it, faults)).unwrap_or(WAIT_MS_DEFAULT);
    if wait { wait_ms } else { 0 }
}

fn read_wait_ms(json: &Json<'_>, faults: &mut Faults) -> Option<u64> {
    fields::integer(json, &Place::ROOT.key("wait_ms"), (0, WAIT_MS_MAX), faults)
}

fn read_cursor(json: &Json<'_>, faults: &mut Faults) -> Option<String> {
    let at = Place::ROOT.key("cursor");
    fields::text(json, &at, Blank::Refused, 1_000, faults).map(str::to_owned)
}

pub(super) fn require_dispatch_id<const N: usize>(
    object: &Object<'_, '_, N>,
    faults: &mut Faults,
) -> Option<DispatchId> {
    let hint = "dispatch answers it; read_trace without arguments lists the recent ones";
    let json = object.require(0, &Place::ROOT, hint, faults)?;
    read_dispatch_id(json, faults)
}

fn read_dispatch_id(json: &Json<'_>, faults: &mut Faults) -> Option<DispatchId> {
    let hint = "read_trace without arguments lists the recent dispatches";
    read_uuid(json, &Place::ROOT.key("dispatch_id"), ErrorCode::UnknownDispatch, hint, faults)
}

pub(super) fn read_uuid<T: FromStr>(
    json: &Json<'_>,
    place: &Place<'_>,
    code: ErrorCode,
    hint: &str,
    faults: &mut Faults,
) -> Option<T> {
    let text = fields::text(json, place, Blank::Refused, TEXT_CHARS_MAX, faults)?;
    let id = text.parse().ok();
    if id.is_none() {
        let what = format_args!("must be a UUID, not {}", quote(text));
        faults.add(|| place.fault(code, what, hint));
    }
    id
}

pub(super) fn read_task_id(
    json: &Json<'_>,
    place: &Place<'_>,
    faults: &mut Faults,
) -> Option<TaskId> {
    let Json::String(id) = json else {
        fields::wrong_type(json, "a task id", place, faults);
        return None;
    };
    if !TaskId::is_valid(id) {
        faults.add(|| {
            let message = format!("{} is not a valid task id", quote(id));
            place.say(ErrorCode::InvalidTaskId, &message, "name a task of the dispatch")
        });
        return None;
    }
    Some(TaskId::new(id))
}

pub(super) fn read_task_ids(json: &Json<'_>, faults: &mut Faults) -> Option<Vec<TaskId>> {
    let place = Place::ROOT.key("task_ids");
    let items = fields::list(json, &place, faults)?;
    if items.is_empty() {
        let what = format_args!("must name at least one task");
        faults.add(|| place.fault(ErrorCode::EmptyValue, what, "leave it out to mean all tasks"));
    }
    let ids = items.iter().enumerate();
    Some(ids.filter_map(|(at, it)| read_task_id(it, &place.index(at), faults)).collect())
}

fn read_kinds(json: &Json<'_>, faults: &mut Faults) -> Option<Vec<TraceKind>> {
    let place = Place::ROOT.key("kinds");
    let items = fields::list(json, &place, faults)?;
    if items.is_empty() {
        let what = format_args!("must name at least one kind");
        faults.add(|| place.fault(ErrorCode::EmptyValue, what, "leave it out to mean all kinds"));
    }
    // The words of the type itself, so that a new kind is known here at once.
    let schema = schemars::schema_for!(TraceKind);
    let variants = schema.get("oneOf").and_then(Value::as_array).into_iter().flatten();
    let words: Vec<&str> = variants.filter_map(|it| it.get("const")?.as_str()).collect();
    let kinds = items.iter().enumerate().filter_map(|(at, item)| {
        let word = fields::word(item, &place.index(at), &words, faults)?;
        let word: StrDeserializer<'_, serde::de::value::Error> = word.into_deserializer();
        TraceKind::deserialize(word).ok()
    });
    Some(kinds.collect())
}

fn read_overrides(json: &Json<'_>, faults: &mut Faults) -> Option<BTreeMap<TaskId, TaskOverride>> {
    let place = Place::ROOT.key("overrides");
    let Json::Object(entries) = json else {
        fields::wrong_type(json, "an object", &place, faults);
        return None;
    };
    let mut overrides = BTreeMap::new();
    for (id, value) in entries {
        let place = place.key(id);
        if !TaskId::is_valid(id) {
            let message = format!("{} is not a valid task id", quote(id));
            let hint = "name a task of the dispatch";
            faults.add(|| place.say(ErrorCode::InvalidTaskId, &message, hint));
        }
        if let Some(change) = read_override(value, &place, faults) {
            overrides.insert(TaskId::new(id), change);
        }
    }
    Some(overrides)
}

fn read_override(json: &Json<'_>, place: &Place<'_>, faults: &mut Faults) -> Option<TaskOverride> {
    let object = OVERRIDE.read(json, place, faults)?;
    let [description, input_data, timeout, total, idle, retry, when, cache, asked] =
        OVERRIDE.names.map(|it| place.key(it));
    let description = object
        .get(0)
        .and_then(|it| {
            fields::text(it, &description, Blank::Refused, DESCRIPTION_CHARS_MAX, faults)
        })
        .map(str::to_owned);
    let input_data = object.get(1).and_then(|it| {
        if let Json::Object(entries) = it {
            Some(json::to_map(entries))
        } else {
            fields::wrong_type(it, "an object", &input_data, faults);
            None
        }
    });
    let max = config::TIMEOUT_SECONDS_MAX;
    let [timeout_seconds, total_timeout_seconds, idle_timeout_seconds] =
        [(2, timeout), (3, total), (4, idle)]
            .map(|(field, at)| fields::seconds(object.get(field)?, &at, max, faults));
    let retry = object.get(5).and_then(|it| retry::read(it, &retry, faults));
    let when = object
        .get(6)
        .and_then(|it| fields::text(it, &when, Blank::Refused, WHEN_CHARS_MAX, faults))
        .map(str::to_owned);
    let cache = object.get(7).and_then(|it| config::read_cache(it, &cache, faults));
    let approval = match object.get(8) {
        Some(it) => Some(approval::read(it, &asked, faults).map(Box::new)),
        None => approval::is_removed(json).then_some(None),
    };
    Some(TaskOverride {
        description,
        input_data,
        timeout_seconds,
        total_timeout_seconds,
        idle_timeout_seconds,
        retry,
        when,
        cache,
        approval,
    })
}
