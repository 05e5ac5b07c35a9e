//! Reads one task: each field by its rule, all faults of it at once.

use std::collections::BTreeMap;

use super::{
    approval, budget, claims, config, context, expect,
    faults::{Faults, Place, Subject, Warnings, list_words, quote},
    fields::{self, Blank, Fields, Object, TEXT_CHARS_MAX},
    fill::Filler,
    ids::Ids,
    input::{self, Input},
    links::Outputs,
    retry, when,
};
use crate::{
    model::{
        AgentName, ErrorCode, InputData, RetrySpec, TaskId, TaskIdx, TaskSpec, json::Json, text,
    },
    plan::{
        Edge, part, reference,
        rules::{InputKind, Rules},
    },
};

pub(super) static TASK: Fields<24> = Fields {
    names: [
        "task_id",
        "agent",
        "description",
        "input_data",
        "dependencies",
        "context_requirements",
        "timeout_seconds",
        "estimate_seconds",
        "total_timeout_seconds",
        "idle_timeout_seconds",
        "retry",
        "writes",
        "resources",
        "trigger_rule",
        "when",
        "for_each",
        "loop",
        "cache",
        "approval",
        "estimate_tokens",
        "estimate_cost_usd",
        "expect",
        "output_schema",
        "input_from",
    ],
    alias: Some(("depends_on", DEPENDENCIES)),
    hint: "a task takes task_id, agent, description, input_data, dependencies, \
           context_requirements, timeout_seconds, estimate_seconds, total_timeout_seconds, \
           idle_timeout_seconds, retry, writes, resources, trigger_rule, when, for_each, loop, \
           cache, approval, estimate_tokens, estimate_cost_usd, expect, output_schema, input_from",
};

const TASK_ID: usize = 0;
const AGENT: usize = 1;
const DESCRIPTION: usize = 2;
const INPUT_DATA: usize = 3;
const DEPENDENCIES: usize = 4;
const CONTEXT_REQUIREMENTS: usize = 5;
const TIMEOUT_SECONDS: usize = 6;
const ESTIMATE_SECONDS: usize = 7;
const TOTAL_TIMEOUT_SECONDS: usize = 8;
const IDLE_TIMEOUT_SECONDS: usize = 9;
const RETRY: usize = 10;
const WRITES: usize = 11;
const RESOURCES: usize = 12;
const TRIGGER_RULE: usize = 13;
const WHEN: usize = 14;
const FOR_EACH: usize = 15;
const LOOP: usize = 16;
const CACHE: usize = 17;
const APPROVAL: usize = 18;
const ESTIMATE_TOKENS: usize = 19;
const ESTIMATE_COST_USD: usize = 20;
const EXPECT: usize = 21;
const OUTPUT_SCHEMA: usize = 22;

/// The longest description, in characters.
pub(super) const DESCRIPTION_CHARS_MAX: usize = 100_000;
const ESTIMATE_SECONDS_MAX: f64 = 86_400.0;
const ID_HINT: &str =
    "use 1 to 128 letters, digits, dots, dashes and underscores, a letter or digit first";

/// Whether a document may leave things out for the planner to fill in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// It must say everything.
    Dispatch,
    /// `agent` and `input_data` may be left out.
    Plan,
}

/// What the tasks of a document share while they are read.
#[derive(Debug)]
pub(super) struct TaskReader<'r, 'j> {
    pub(super) rules: &'r Rules<'r>,
    pub(super) ids: Ids<'j>,
    pub(super) faults: &'r mut Faults,
    pub(super) warnings: &'r mut Warnings,
    /// `None` if nothing may be filled in.
    pub(super) filler: Option<Filler>,
    /// The dependencies, each once per task.
    pub(super) edges: Vec<Edge>,
    /// Per task, the position plus one of the last task that named it as a dependency.
    pub(super) named_by: Vec<u32>,
    /// Who refers to whose output; equal neighbours once.
    pub(super) references: Vec<(TaskIdx, TaskIdx)>,
    /// Whose condition names whom.
    pub(super) conditions: Vec<(TaskIdx, TaskIdx)>,
    /// Who writes where.
    pub(super) outputs: Outputs<'j>,
}

/// The task that is being read.
#[derive(Clone, Copy)]
struct Current<'p> {
    idx: TaskIdx,
    place: Place<'p>,
}

/// A task whose fields were found.
type TaskObject<'j, 'a> = Object<'j, 'a, 24>;

/// The globs that a task writes, and what it needs of resources.
type Claims = (Option<Box<[String]>>, Option<BTreeMap<String, u32>>);

impl<'j> TaskReader<'_, 'j> {
    /// Reads the task at a position of `tasks`; what is faulty comes out empty.
    pub(super) fn read(
        &mut self,
        json: &'j Json<'_>,
        idx: TaskIdx,
        tasks: &Place<'_>,
    ) -> Option<TaskSpec> {
        let mut place = tasks.index(idx.as_usize());
        place.subject = find_subject(json, idx);
        let object = TASK.read(json, &place, self.faults)?;
        let current = Current { idx, place };
        let task_id = object.require(TASK_ID, &place, "name the task", self.faults);
        let task_id = task_id.and_then(|it| self.read_id(it, &current));
        let agent = self.read_agent(object.get(AGENT), object.get(DESCRIPTION), &current);
        let description =
            object.require(DESCRIPTION, &place, "say what the task is about", self.faults);
        let at = place.key("description");
        let description = description.and_then(|it| {
            fields::text(it, &at, Blank::Refused, DESCRIPTION_CHARS_MAX, self.faults)
        });
        let kind = agent.as_ref().and_then(|it| Some(self.rules.agent(it.as_str())?.input));
        let described = (task_id.unwrap_or_default(), description.unwrap_or_default());
        let is_plain = object.get(FOR_EACH).is_none() && object.get(LOOP).is_none();
        let input_data =
            self.read_any_input(object.get(INPUT_DATA), is_plain, (kind, described), &current);
        let name = object.name_or_alias(DEPENDENCIES);
        let dependencies =
            object.get(DEPENDENCIES).map(|it| self.read_dependencies(it, name, &current));
        let at = place.key("context_requirements");
        let context_requirements = object
            .get(CONTEXT_REQUIREMENTS)
            .map(|it| context::read(it, &at, self.rules, self.faults));
        let [timeout_seconds, total_timeout_seconds, idle_timeout_seconds] =
            self.read_timeouts(&object, &place);
        let (estimate_seconds, retry) = self.read_pace(&object, &place);
        let (writes, resources) =
            self.read_claims(object.get(WRITES), object.get(RESOURCES), &place);
        let [rule, when] = [place.key("trigger_rule"), place.key("when")];
        let trigger_rule =
            object.get(TRIGGER_RULE).and_then(|it| when::read_rule(it, &rule, self.faults));
        let when = object.get(WHEN).and_then(|it| self.read_when(it, idx, &when));
        let of = (task_id.unwrap_or_default(), idx);
        let (for_each, repeat) = self.read_many(object.get(FOR_EACH), object.get(LOOP), of, &place);
        let at = place.key("cache");
        let cache = object.get(CACHE).and_then(|it| config::read_cache(it, &at, self.faults));
        let asked = place.key("approval");
        let approval = object.get(APPROVAL).and_then(|it| approval::read(it, &asked, self.faults));
        let expected = [object.get(EXPECT), object.get(OUTPUT_SCHEMA)];
        let (expect, output_schema) = expect::read_both(expected, &place, self.rules, self.faults);
        let [tokens, cost] = [object.get(ESTIMATE_TOKENS), object.get(ESTIMATE_COST_USD)];
        let estimates = budget::read_estimates([tokens, cost], &place, self.faults);
        Some(TaskSpec {
            task_id: TaskId::new(task_id?),
            agent: agent?,
            description: description?.to_owned(),
            input_data,
            // It stands in the input by now.
            input_from: None,
            dependencies: dependencies.unwrap_or_default(),
            trigger_rule: trigger_rule.unwrap_or_default(),
            when,
            context_requirements: context_requirements.unwrap_or_default(),
            timeout_seconds,
            total_timeout_seconds,
            idle_timeout_seconds,
            retry: retry.map(Box::new),
            approval: approval.map(Box::new),
            expect: expect.map(Box::new),
            output_schema,
            estimate_seconds,
            writes,
            resources: resources.map(Box::new),
            for_each: for_each.map(Box::new),
            repeat: repeat.map(Box::new),
            cache,
            estimate_tokens: estimates.0,
            estimate_cost_usd: estimates.1,
        })
    }

    fn read_pace(
        &mut self,
        object: &TaskObject<'j, '_>,
        place: &Place<'_>,
    ) -> (Option<f64>, Option<RetrySpec>) {
        let [estimate, retry] = [place.key("estimate_seconds"), place.key("retry")];
        let seconds = object
            .get(ESTIMATE_SECONDS)
            .and_then(|it| fields::seconds(it, &estimate, ESTIMATE_SECONDS_MAX, self.faults));
        (seconds, object.get(RETRY).and_then(|it| retry::read(it, &retry, self.faults)))
    }

    fn read_id(&mut self, json: &'j Json<'_>, current: &Current<'_>) -> Option<&'j str> {
        let place = current.place.key("task_id");
        let Json::String(id) = json else {
            fields::wrong_type(json, "a string", &place, self.faults);
            return None;
        };
        if id.is_empty() {
            let what = format_args!("must not be empty");
            self.faults.add(|| place.fault(ErrorCode::EmptyValue, what, ID_HINT));
            return None;
        }
        if !TaskId::is_valid(id) {
            let message = format!("{} is not a valid task id", quote(id));
            self.faults.add(|| place.say(ErrorCode::InvalidTaskId, &message, ID_HINT));
            return None;
        }
        if self.ids.is_repeat(current.idx.as_u32()) {
            self.faults.add(|| {
                let first = self.ids.get(id).unwrap_or_default();
                let message = format!(
                    "task id {} is taken by task number {}",
                    quote(id),
                    u64::from(first) + 1
                );
                place.say(ErrorCode::DuplicateTaskId, &message, "give each task its own id")
            });
        }
        Some(id)
    }

    fn read_agent(
        &mut self,
        json: Option<&Json<'_>>,
        description: Option<&Json<'_>>,
        current: &Current<'_>,
    ) -> Option<AgentName> {
        let place = current.place.key("agent");
        let Some(json) = json else {
            if let Some(filler) = &self.filler {
                let Some(Json::String(description)) = description else { return None };
                return Some(filler.choose_agent(description, &current.place, self.warnings));
            }
            let hint = "\"coder\" writes code, \"debug\" investigates; plan_tasks chooses for you";
            let what = format_args!("is missing");
            self.faults.add(|| place.fault(ErrorCode::MissingField, what, hint));
            return None;
        };
        let name = fields::text(json, &place, Blank::Refused, TEXT_CHARS_MAX, self.faults)?;
        let agent = AgentName::new(name);
        if self.rules.agent(agent.as_str()).is_some() {
            return Some(agent);
        }
        self.faults.add(|| {
            let known: Vec<_> = self.rules.agents.iter().map(|it| it.name.as_str()).collect();
            let aliases = ["agent_coder", "agent_debug_intelligence"];
            let guess = text::did_you_mean(name, known.iter().copied().chain(aliases));
            let message = format!("{}: unknown agent {}{guess}", place.subject, quote(name));
            let hint = format!("choose {}", list_words(&known));
            place.say(ErrorCode::UnknownAgent, &message, &hint)
        });
        None
    }

    fn read_input(
        &mut self,
        json: Option<&'j Json<'_>>,
        kind: Option<InputKind>,
        described: (&str, &str),
        current: &Current<'_>,
    ) -> InputData {
        let place = current.place.key("input_data");
        let Some(json) = json else {
            return self.fill_input(kind, described, &place);
        };
        let Input { data, output_path } = input::read(json, &place, kind, self.rules, self.faults);
        if let Some(path) = output_path {
            self.outputs.add(path, current.idx);
        }
        input::walk_strings(json, &place, &mut |text, place| {
            fields::check_length(text, place, TEXT_CHARS_MAX, self.faults);
            if reference::may_refer(text) {
                self.read_references(text, place, current.idx);
            }
        });
        data
    }

    fn read_timeouts(
        &mut self,
        object: &TaskObject<'j, '_>,
        place: &Place<'_>,
    ) -> [Option<f64>; 3] {
        [TIMEOUT_SECONDS, TOTAL_TIMEOUT_SECONDS, IDLE_TIMEOUT_SECONDS].map(|it| {
            let at = place.key(TASK.names[it]);
            config::read_timeout(object.get(it)?, &at, self.rules, self.faults)
        })
    }

    fn read_claims(
        &mut self,
        writes: Option<&Json<'_>>,
        resources: Option<&Json<'_>>,
        place: &Place<'_>,
    ) -> Claims {
        let (globs, names) = (place.key("writes"), place.key("resources"));
        let writes = writes.and_then(|it| claims::read_writes(it, &globs, self.rules, self.faults));
        (writes, resources.and_then(|it| claims::read_resources(it, &names, self.faults)))
    }

    fn read_any_input(
        &mut self,
        json: Option<&'j Json<'_>>,
        is_plain: bool,
        (kind, described): (Option<InputKind>, (&str, &str)),
        current: &Current<'_>,
    ) -> InputData {
        match json {
            Some(pattern) if !is_plain => self.read_pattern(pattern, kind, current),
            _ => self.read_input(json, kind, described, current),
        }
    }

    /// Reads an input whose words are filled in later; what they stand in is checked then.
    fn read_pattern(
        &mut self,
        json: &'j Json<'_>,
        kind: Option<InputKind>,
        current: &Current<'_>,
    ) -> InputData {
        let place = current.place.key("input_data");
        let masked = input::mask(json, &|it| part::may_fill(it));
        input::read(&masked, &place, kind, self.rules, self.faults);
        input::walk_strings(json, &place, &mut |text, place| {
            fields::check_length(text, place, TEXT_CHARS_MAX, self.faults);
            if reference::may_refer(text) {
                self.read_references(text, place, current.idx);
            }
        });
        let any = Some(InputKind::Free);
        input::read(json, &place, any, self.rules, &mut Faults::default()).data
    }

    fn fill_input(
        &mut self,
        kind: Option<InputKind>,
        described: (&str, &str),
        place: &Place<'_>,
    ) -> InputData {
        let needed = match kind {
            Some(InputKind::Coder) => "contract_description, node_type and output_path",
            Some(InputKind::Debug) => "problem_description",
            Some(InputKind::Tool) => "tool, and arguments if it takes some",
            Some(InputKind::Free) | None => return InputData::default(),
        };
        let filled = self
            .filler
            .as_mut()
            .and_then(|it| it.fill(kind?, described, self.rules, self.warnings));
        filled.unwrap_or_else(|| {
            let what = format_args!("is missing");
            let hint = format!("give {needed}");
            self.faults.add(|| place.fault(ErrorCode::MissingField, what, &hint));
            InputData::default()
        })
    }

    fn read_dependencies(
        &mut self,
        json: &'j Json<'_>,
        name: &str,
        current: &Current<'_>,
    ) -> Vec<TaskId> {
        let place = current.place.key(name);
        let Some(items) = fields::list(json, &place, self.faults) else { return Vec::new() };
        let mut kept = Vec::with_capacity(items.len());
        for (at, item) in items.iter().enumerate() {
            let place = place.index(at);
            let Json::String(dependency) = item else {
                fields::wrong_type(item, "a task id", &place, self.faults);
                continue;
            };
            if self.read_dependency(dependency, &place, current) {
                kept.push(TaskId::new(dependency));
            }
        }
        kept
    }

    /// Adds a dependency; says whether it counts.
    fn read_dependency(&mut self, name: &str, place: &Place<'_>, current: &Current<'_>) -> bool {
        let subject = place.subject;
        let Some(dependency) = self.ids.get(name) else {
            self.faults.add(|| {
                let guess = self.ids.did_you_mean(name);
                let message = format!("{subject} depends on unknown task {}{guess}", quote(name));
                let hint = "name a task of this document, or add the task";
                place.say(ErrorCode::UnknownDependency, &message, hint)
            });
            return false;
        };
        if dependency == current.idx.as_u32() {
            self.faults.add(|| {
                let message = format!("{subject} depends on itself");
                let hint = "remove the task's own id from its dependencies";
                place.say(ErrorCode::SelfDependency, &message, hint)
            });
            return false;
        }
        let named_by = &mut self.named_by[dependency as usize];
        if *named_by == current.idx.as_u32() + 1 {
            self.warnings.add(|| {
                format!("{subject} names the dependency {} twice; it counts once", quote(name))
            });
            return false;
        }
        *named_by = current.idx.as_u32() + 1;
        let dependency = TaskIdx::from_usize(dependency as usize);
        self.edges.push(Edge { dependency, dependent: current.idx });
        true
    }

    /// Notes the tasks that a text refers to.
    pub(super) fn read_references(&mut self, text: &str, place: &Place<'_>, from: TaskIdx) {
        for piece in reference::split(text) {
            let (body, whole) = match piece {
                reference::Piece::Text(_) => continue,
                reference::Piece::Unclosed(whole) => ("", whole),
                reference::Piece::Reference { body, whole, .. } => (body, whole),
            };
            let known = reference::readings(body).find_map(|(id, _)| self.ids.get(id));
            let Some(target) = known else {
                self.faults.add(|| describe_reference(body, whole, &self.ids, place));
                continue;
            };
            let link = (from, TaskIdx::from_usize(target as usize));
            if self.references.last() != Some(&link) {
                self.references.push(link);
            }
        }
    }
}

/// What messages about a task begin with: its id if it has one that can be shown.
fn find_subject<'j>(json: &'j Json<'_>, idx: TaskIdx) -> Subject<'j> {
    if let Json::Object(fields) = json
        && let Some((_, Json::String(id))) = fields.iter().find(|it| it.0 == "task_id")
        && !id.is_empty()
    {
        return Subject::Task(id);
    }
    Subject::TaskAt(idx.as_usize())
}

fn describe_reference(
    body: &str,
    whole: &str,
    ids: &Ids<'_>,
    place: &Place<'_>,
) -> crate::model::Fault {
    let subject = place.subject;
    let message = match reference::readings(body).next() {
        None => format!("{subject}: {} is not a valid reference", quote(whole)),
        Some((id, _)) => {
            let guess = ids.did_you_mean(id);
            format!("{subject}: {} refers to unknown task {}{guess}", quote(whole), quote(id))
        }
    };
    let hint = "write ${tasks.ID.output.path.to.value}, or $${tasks… for the text itself";
    place.say(ErrorCode::InvalidReference, &message, hint)
}
