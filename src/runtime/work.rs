//! What decides on a task's result, as one digest: where two tasks have the same, the result of one
//! may stand for that of the other.

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::ports::Digest;

/// Goes into every digest; another one makes all that is kept unknown.
const FORMAT: &str = "parallel-dispatch work 3";

/// What decides on a result. A task's name does not, nor do its limits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Work<'a> {
    /// Who does it.
    pub(super) agent: &'a str,
    /// What serves the agent.
    pub(super) binding: &'a str,
    pub(super) description: &'a str,
    /// What the agent is told: references resolved, context filled in. The order of fields does
    /// not count.
    pub(super) input: &'a Map<String, Value>,
    /// What must hold afterwards, as JSON text.
    pub(super) expected: &'a str,
    /// What was answered before it, as far as its agent sees it, or in the order of its
    /// dependencies.
    pub(super) upstream: &'a [Earlier<'a>],
    /// The files that the input names, in order.
    pub(super) files: &'a [Digest],
    /// The caller who alone may take the result, if not everybody may.
    pub(super) of: Option<&'a str>,
}

/// What a task answered that is depended on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Earlier<'a> {
    pub(super) output: Option<Digest>,
    /// Its name, and whether it is named as a dependency, where the agent is shown it.
    pub(super) seen_as: Option<(&'a str, bool)>,
}

impl Work<'_> {
    pub(super) fn digest(&self) -> Digest {
        let mut hasher = Hasher(Sha256::new());
        for it in [FORMAT, self.agent, self.binding, self.description, self.expected] {
            hasher.text(it);
        }
        hasher.map(self.input);
        hasher.length(self.upstream.len());
        for it in self.upstream {
            hasher.0.update(it.output.map_or([0; 32], |it| it.0));
            match it.seen_as {
                None => hasher.0.update(b"n"),
                Some((task_id, is_direct)) => {
                    hasher.0.update(if is_direct { b"d" } else { b"a" });
                    hasher.text(task_id);
                }
            }
        }
        hasher.length(self.files.len());
        for it in self.files {
            hasher.0.update(it.0);
        }
        if let Some(caller) = self.of {
            hasher.text(caller);
        }
        Digest(hasher.0.finalize().into())
    }
}

/// The digest of a text.
pub(super) fn digest_of(text: &str) -> Digest {
    Digest(Sha256::digest(text).into())
}

/// Feeds values so that no two of them give the same bytes: each says its type, and those without
/// an end of their own their length.
struct Hasher(Sha256);

impl Hasher {
    fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.0.update(b"n"),
            Value::Bool(it) => self.0.update(if *it { b"t" } else { b"f" }),
            Value::Number(it) => {
                self.0.update(b"0");
                self.text(&it.to_string());
            }
            Value::String(it) => {
                self.0.update(b"s");
                self.text(it);
            }
            Value::Array(items) => {
                self.0.update(b"a");
                self.length(items.len());
                for it in items {
                    self.value(it);
                }
            }
            Value::Object(fields) => {
                self.0.update(b"o");
                self.map(fields);
            }
        }
    }

    fn map(&mut self, fields: &Map<String, Value>) {
        let mut sorted: Vec<_> = fields.iter().collect();
        sorted.sort_unstable_by_key(|it| it.0);
        self.length(sorted.len());
        for (name, value) in sorted {
            self.text(name);
            self.value(value);
        }
    }

    fn text(&mut self, text: &str) {
        self.length(text.len());
        self.0.update(text);
    }

    fn length(&mut self, length: usize) {
        self.0.update((length as u64).to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// `OUTPUT`, or `OUTPUT@NAME` where the agent sees it, with a `!` behind it if it is direct.
    fn earlier(text: Option<&str>) -> Earlier<'_> {
        let Some((output, name)) = text.and_then(|it| it.split_once('@')) else {
            return Earlier { output: text.map(digest_of), seen_as: None };
        };
        let direct = name.strip_suffix('!');
        let seen_as = Some((direct.unwrap_or(name), direct.is_some()));
        Earlier { output: Some(digest_of(output)), seen_as }
    }

    /// The digest of some work of which `fields` are other than usual.
    fn digest(fields: &Value) -> Digest {
        let usual = json!({
            "agent": "coder", "binding": "archon", "description": "do it",
            "expected": "",
            "input": {"a": 1, "b": ["x", null]}, "upstream": ["one", null], "files": ["f", "g"],
        });
        let part = |name: &str| fields.get(name).unwrap_or_else(|| &usual[name]);
        let text = |name: &str| part(name).as_str().unwrap();
        let digests = |name| part(name).as_array().unwrap().iter().map(|it| it.as_str());
        let work = Work {
            agent: text("agent"),
            binding: text("binding"),
            description: text("description"),
            expected: text("expected"),
            input: part("input").as_object().unwrap(),
            upstream: &digests("upstream").map(earlier).collect::<Vec<_>>(),
            files: &digests("files").map(|it| digest_of(it.unwrap())).collect::<Vec<_>>(),
            of: fields.get("of").map(|it| it.as_str().unwrap()),
        };
        work.digest()
    }

    #[test]
    fn everything_that_decides_on_a_result_changes_the_digest() {
        let changes = [
            json!({}),
            json!({"agent": "debug"}),
            json!({"binding": "embedded"}),
            json!({"description": "do it."}),
            json!({"expected": "[]"}),
            json!({"agent": "code", "binding": "rarchon"}),
            json!({"input": {"a": 2, "b": ["x", null]}}),
            json!({"input": {"a": "1", "b": ["x", null]}}),
            json!({"input": {"a": 1.0, "b": ["x", null]}}),
            json!({"input": {"a": true, "b": ["x", null]}}),
            json!({"input": {"a": 1, "b": [null, "x"]}}),
            json!({"input": {"a": 1, "b": ["x"]}}),
            json!({"input": {"a": 1, "b": ["x", []]}}),
            json!({"input": {"a": 1, "b": {"x": null}}}),
            json!({"input": {"a": 1, "b": ["x", null], "c": null}}),
            json!({"upstream": ["two", null]}),
            json!({"upstream": ["one", "none"]}),
            json!({"upstream": [null, "one"]}),
            json!({"upstream": ["one"]}),
            json!({"upstream": ["one@a", null]}),
            json!({"upstream": ["one@b", null]}),
            json!({"upstream": ["one@a!", null]}),
            json!({"upstream": ["one", null, "f"], "files": ["g"]}),
            json!({"files": ["f", "h"]}),
            json!({"files": ["g", "f"]}),
            json!({"files": []}),
            json!({"of": "ada"}),
            json!({"of": "bob"}),
            json!({"of": ""}),
        ];
        let digests: Vec<_> = changes.iter().map(digest).collect();
        for (at, it) in digests.iter().enumerate() {
            let same: Vec<_> = (0..digests.len()).filter(|at| digests[*at] == *it).collect();
            assert_eq!(same, [at], "{} and {}", changes[at], changes[same[0]]);
        }
    }

    #[test]
    fn the_order_of_fields_does_not_count() {
        let swapped: Map<_, _> = [("b".to_owned(), json!(["x", null])), ("a".to_owned(), json!(1))]
            .into_iter()
            .collect();
        assert_eq!(digest(&json!({ "input": swapped })), digest(&json!({})));
    }

    /// Who changes what goes in must change the format too, or old results are found for new work.
    #[test]
    fn the_digest_is_that_of_its_format() {
        let prefix = format!("{:?}", digest(&json!({})))[..16].to_owned();
        assert_eq!((FORMAT, prefix.as_str()), ("parallel-dispatch work 3", "feb572bf0688c5d1"));
    }
}
