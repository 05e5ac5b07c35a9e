//! How long tasks are expected to take: given by the caller, learned from earlier attempts at
//! tasks of their kind, or a default.

use std::{collections::BTreeMap, sync::Arc};

use rustc_hash::FxHashMap;
use serde_json::{Map, Value};

use super::ESTIMATE_DEFAULT;
use crate::model::{
    AgentName, DurationKey, Durations, EstimateSource, Millis, TaskEstimate, TaskIdx, TaskSpec,
};

/// The shares of earlier attempts that the band of an estimate leaves out below and above.
const LOW: f64 = 0.1;
const HIGH: f64 = 0.9;
/// A task that nothing is known about may take this much less, or more, than the default.
const DEFAULT_FACTOR: f64 = 4.0;
/// The longest word of an input that names a kind of work.
const KIND_BYTES_MAX: usize = 32;

/// What is expected of one task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// The expected time of one attempt.
    pub likely: Millis,
    /// It is rarely shorter.
    pub low: Millis,
    /// It is rarely longer.
    pub high: Millis,
    /// Where it comes from.
    pub from: EstimateSource,
    /// How many attempts it was learned from.
    pub samples: u64,
}

/// The kind of work that each task of a document is; each kind is kept once.
#[derive(Clone, Debug, Default)]
pub struct DurationKeys {
    kinds: Vec<Arc<DurationKey>>,
    of_task: Vec<u32>,
}

/// What earlier attempts have taught.
#[derive(Clone, Debug, Default)]
pub struct History {
    keys: BTreeMap<DurationKey, Durations>,
    kinds: BTreeMap<(AgentName, String), Durations>,
    agents: BTreeMap<AgentName, Durations>,
}

impl Estimate {
    /// What the caller said, taken at its word.
    pub fn given(likely: Millis) -> Self {
        Self { likely, low: likely, high: likely, from: EstimateSource::Given, samples: 0 }
    }

    /// What a task is taken to need that nothing is known about.
    pub fn unknown() -> Self {
        let likely = ESTIMATE_DEFAULT;
        let (low, high) = (scale(likely, 1.0 / DEFAULT_FACTOR), scale(likely, DEFAULT_FACTOR));
        Self { likely, low, high, from: EstimateSource::Default, samples: 0 }
    }

    /// As users are told.
    pub fn report(&self) -> TaskEstimate {
        TaskEstimate { seconds: self.likely.seconds(), from: self.from, samples: self.samples }
    }

    /// The median of earlier attempts, with a band that is the wider the fewer they are.
    fn learned(durations: &Durations) -> Option<Self> {
        let samples = durations.n_samples();
        #[expect(clippy::cast_precision_loss, reason = "only small numbers matter")]
        let doubt = 1.0 + 1.0 / samples.max(1) as f64;
        Some(Self {
            likely: durations.quantile(0.5)?,
            low: scale(durations.quantile(LOW)?, 1.0 / doubt),
            high: scale(durations.quantile(HIGH)?, doubt),
            from: EstimateSource::Learned,
            samples,
        })
    }
}

impl DurationKeys {
    /// Finds the kind of each task. Costs O(bytes of the inputs).
    pub fn new(tasks: &[TaskSpec]) -> Self {
        let mut this = Self::default();
        this.extend(tasks);
        this
    }

    /// Finds the kinds of tasks that came after those whose kinds are known.
    pub fn extend(&mut self, tasks: &[TaskSpec]) {
        let known = self.kinds.iter().map(Arc::clone).zip(0..);
        let mut numbers: FxHashMap<Arc<DurationKey>, u32> = known.collect();
        for task in tasks {
            let key = duration_key(task);
            let number = if let Some(&known) = numbers.get(&key) {
                known
            } else {
                let (key, number) = (Arc::new(key), u32::try_from(numbers.len()).unwrap_or(0));
                self.kinds.push(Arc::clone(&key));
                numbers.insert(key, number);
                number
            };
            self.of_task.push(number);
        }
    }

    /// The kind of one task; `None` if there is no such task.
    pub fn get(&self, task: TaskIdx) -> Option<&Arc<DurationKey>> {
        self.kinds.get(*self.of_task.get(task.as_usize())? as usize)
    }

    /// What is expected of each task, in document order.
    pub fn estimate(&self, tasks: &[TaskSpec], history: &History) -> Vec<Estimate> {
        let learned: Vec<_> = self.kinds.iter().map(|it| history.estimate(it)).collect();
        let of = |(task, kind): (&TaskSpec, &u32)| match task.estimate_seconds {
            Some(seconds) => Estimate::given(Millis::from_seconds(seconds)),
            None => learned[*kind as usize].unwrap_or_else(Estimate::unknown),
        };
        tasks.iter().zip(&self.of_task).map(of).collect()
    }
}

impl History {
    /// Puts together what a store has kept of some agents.
    pub fn new(rows: impl IntoIterator<Item = (DurationKey, Durations)>) -> Self {
        let mut this = Self::default();
        for (key, durations) in rows {
            let kind = (key.agent.clone(), key.kind.clone());
            this.kinds.entry(kind).or_default().merge(&durations);
            this.agents.entry(key.agent.clone()).or_default().merge(&durations);
            this.keys.entry(key).or_default().merge(&durations);
        }
        this
    }

    /// What is expected of work of this kind, from the nearest that something is known about: the
    /// same size of input, else the same kind of input, else the same agent. `None` if nothing is.
    pub fn estimate(&self, key: &DurationKey) -> Option<Estimate> {
        let kind = (key.agent.clone(), key.kind.clone());
        let known = self.keys.get(key).or_else(|| self.kinds.get(&kind));
        known.or_else(|| self.agents.get(&key.agent)).and_then(Estimate::learned)
    }
}

/// The kind of work that a task is.
///
/// The kind of its input is `node_type` for `coder`, `analysis_depth` for `debug`, and the names of
/// its fields for others, as a number, so that no text of an input is kept.
pub fn duration_key(task: &TaskSpec) -> DurationKey {
    let kind = match task.agent.as_str() {
        AgentName::CODER => word(&task.input_data, "node_type"),
        AgentName::DEBUG => word(&task.input_data, "analysis_depth"),
        _ => shape(&task.input_data),
    };
    let size = size_of(&task.input_data).max(1).ilog2();
    DurationKey { agent: task.agent.clone(), kind, size: u8::try_from(size).unwrap_or(u8::MAX) }
}

fn word(input: &Map<String, Value>, field: &str) -> String {
    let is_word = |it: &&str| {
        it.len() <= KIND_BYTES_MAX && it.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'_')
    };
    input.get(field).and_then(Value::as_str).filter(is_word).unwrap_or("-").to_owned()
}

/// The names of the fields, whatever their order, as eight digits (FNV-1a).
fn shape(input: &Map<String, Value>) -> String {
    let mut names: Vec<&str> = input.keys().map(String::as_str).collect();
    names.sort_unstable();
    // No name holds a zero byte that could not also end it: two shapes meet only by chance.
    let bytes = names.iter().flat_map(|it| it.bytes().chain([0]));
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{:08x}", (hash >> 32) ^ (hash & 0xffff_ffff))
}

/// About how many bytes an input has as JSON text; what is escaped is not counted twice.
fn size_of(input: &Map<String, Value>) -> usize {
    input.iter().fold(2, |sum, (name, value)| sum + name.len() + 4 + size_of_value(value))
}

fn size_of_value(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 4,
        Value::Number(_) => 6,
        Value::String(text) => text.len() + 2,
        Value::Array(items) => items.iter().fold(2, |sum, it| sum + 1 + size_of_value(it)),
        Value::Object(fields) => size_of(fields),
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "float casts saturate, and estimates are far below 2^53 milliseconds"
)]
fn scale(span: Millis, factor: f64) -> Millis {
    Millis((span.0 as f64 * factor).round().max(1.0) as u64)
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::json;

    use super::*;
    use crate::plan::document::testing::check_value;

    fn task(agent: &str, input: &Value) -> TaskSpec {
        serde_json::from_value(json!({
            "task_id": "a", "agent": agent, "description": "d", "input_data": input,
        }))
        .unwrap()
    }

    fn key_of(agent: &str, input: &Value) -> String {
        let key = duration_key(&task(agent, input));
        format!("{} {} {}", key.agent, key.kind, key.size)
    }

    fn samples(spans: &[u64]) -> Durations {
        let mut durations = Durations::default();
        for it in spans {
            durations.add(Millis(*it));
        }
        durations
    }

    fn key(kind: &str, size: u8) -> DurationKey {
        DurationKey { agent: AgentName::new("coder"), kind: kind.to_owned(), size }
    }

    #[track_caller]
    fn check(history: &History, key: &DurationKey, expected: &Expect) {
        let Some(it) = history.estimate(key) else { return expected.assert_eq("nothing") };
        let (low, likely, high) = (it.low.0, it.likely.0, it.high.0);
        expected.assert_eq(&format!("{low} {likely} {high} from {}", it.samples));
    }

    #[test]
    fn keys_name_the_kind_of_work_and_the_size_of_its_input() {
        let coder = json!({"node_type": "Effect", "contract_description": "x".repeat(300)});
        assert_eq!(key_of("coder", &coder), "coder Effect 8");
        assert_eq!(key_of("debug", &json!({"analysis_depth": "deep"})), "debug deep 4");
        assert_eq!(key_of("debug", &json!({})), "debug - 1");
        let secret = json!({"node_type": "${tasks.x.output} sk-secret"});
        assert_eq!(key_of("coder", &secret), "coder - 5");
    }

    #[test]
    fn other_inputs_are_alike_if_they_have_the_same_fields() {
        let one = key_of("robot", &json!({"b": 1, "a": "text"}));
        assert_eq!(one, key_of("robot", &json!({"a": "more", "b": 2})));
        assert_ne!(one, key_of("robot", &json!({"a": "text", "c": 1})));
        assert_ne!(key_of("robot", &json!({"ab": 1})), key_of("robot", &json!({"a": 1, "b": 1})));
    }

    #[test]
    fn the_nearest_kind_that_something_is_known_about_decides() {
        let history = History::new([
            (key("Effect", 8), samples(&[1_000; 10])),
            (key("Effect", 9), samples(&[4_000; 2])),
            (key("Reducer", 9), samples(&[64_000; 40])),
        ]);
        check(&history, &key("Effect", 8), &expect!["899 1024 1166 from 10"]);
        check(&history, &key("Effect", 9), &expect!["2637 4096 6360 from 2"]);
        check(&history, &key("Effect", 4), &expect!["915 1033 4407 from 12"]);
        check(&history, &key("Compute", 9), &expect!["1002 64542 68941 from 52"]);
        let other = DurationKey { agent: AgentName::new("debug"), ..key("quick", 8) };
        check(&history, &other, &expect!["nothing"]);
    }

    #[test]
    fn a_single_sample_is_better_than_none_and_is_doubted() {
        let history = History::new([(key("Effect", 8), samples(&[1_000]))]);
        check(&history, &key("Effect", 8), &expect!["495 1024 2120 from 1"]);
    }

    #[test]
    fn the_caller_goes_before_history_and_history_before_the_default() {
        let input = json!({"problem_description": "why"});
        let task = |name: &str, estimate: Value| {
            json!({"task_id": name, "agent": "debug", "description": "d", "input_data": input,
                   "estimate_seconds": estimate})
        };
        let document = json!({"tasks": [task("a", json!(2.5)), task("b", json!(7))]});
        let mut tasks = check_value(&document).unwrap().tasks;
        tasks[1].estimate_seconds = None;
        let keys = DurationKeys::new(&tasks);
        let sources = |history: &History| -> Vec<_> {
            let estimates = keys.estimate(&tasks, history);
            estimates.iter().map(|it| (it.from, it.likely.0)).collect()
        };
        let given = (EstimateSource::Given, 2_500);
        assert_eq!(
            sources(&History::default()),
            [given, (EstimateSource::Default, ESTIMATE_DEFAULT.0)]
        );
        let history = History::new([(duration_key(&tasks[1]), samples(&[500; 5]))]);
        let learned = history.estimate(&duration_key(&tasks[1])).unwrap().likely.0;
        assert_eq!(sources(&history), [given, (EstimateSource::Learned, learned)]);
    }
}
