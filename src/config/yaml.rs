//! YAML as a tree with line numbers, read within tight limits.
//!
//! A file of settings is small and flat. What is large, deep, or unfolds by aliases is refused,
//! and so are duplicate and merge keys, which readers understand in different ways.

use std::fmt;

use serde::{
    Deserialize,
    de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Number, Value};
use serde_saphyr::{
    Spanned, UserMessageFormatter,
    options::{AliasLimits, DuplicateKeyPolicy, MergeKeyPolicy},
};

use crate::model::text;

/// A YAML value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Yaml {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Self>),
    Map(Vec<Field>),
}

/// One field of a mapping, with the line of its name.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) line: u32,
    pub(super) value: Yaml,
}

/// Why a text is no tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct YamlError {
    pub(super) line: Option<u32>,
    pub(super) message: String,
}

/// Reads one document; an empty one is [`Yaml::Null`].
pub(super) fn read(text: &str) -> Result<Yaml, YamlError> {
    let mut alias_limits = AliasLimits::default();
    alias_limits.max_total_replayed_events = 1_000;
    alias_limits.max_replay_stack_depth = 4;
    alias_limits.max_alias_expansions_per_anchor = 32;
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: 50_000,
            max_nodes: 20_000,
            max_depth: 16,
            flow_nesting_limit: 16,
            max_aliases: 64,
            max_anchors: 64,
            max_recorded_anchor_events: 10_000,
            max_documents: 1,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
        merge_keys: MergeKeyPolicy::Error,
        alias_limits: alias_limits,
        strict_booleans: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|it| to_error(&it))
}

impl Yaml {
    /// What kind of value it is, with its article: for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }

    /// The tree without its line numbers.
    pub(super) fn to_json(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(it) => (*it).into(),
            Self::Number(it) => it.clone().into(),
            Self::Text(it) => it.as_str().into(),
            Self::List(items) => items.iter().map(Self::to_json).collect(),
            Self::Map(fields) => {
                fields.iter().map(|it| (it.name.clone(), it.value.to_json())).collect()
            }
        }
    }

    pub(super) fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(it) = self { Some(*it) } else { None }
    }

    pub(super) fn as_number(&self) -> Option<&Number> {
        if let Self::Number(it) = self { Some(it) } else { None }
    }

    pub(super) fn as_text(&self) -> Option<&str> {
        if let Self::Text(it) = self { Some(it) } else { None }
    }
}

impl<'de> Deserialize<'de> for Yaml {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(YamlVisitor)
    }
}

struct YamlVisitor;

impl<'de> Visitor<'de> for YamlVisitor {
    type Value = Yaml;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Yaml, E> {
        Ok(Yaml::Null)
    }

    fn visit_none<E>(self) -> Result<Yaml, E> {
        Ok(Yaml::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Yaml, D::Error> {
        Yaml::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Yaml, E> {
        Ok(Yaml::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Yaml, E> {
        Ok(Yaml::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Yaml, E> {
        Ok(Yaml::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Yaml, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("not a finite number"))?;
        Ok(Yaml::Number(number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Yaml, E> {
        Ok(Yaml::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Yaml, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Yaml::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Yaml, A::Error> {
        let mut fields: Vec<Field> = Vec::new();
        while let Some(name) = map.next_key::<Spanned<String>>()? {
            let line = u32::try_from(name.referenced.line()).map_err(A::Error::custom)?;
            let name = name.value;
            fields.push(Field { name, line, value: map.next_value()? });
        }
        Ok(Yaml::Map(fields))
    }
}

/// The reader repeats the place in its message; ours has it in a field of its own.
fn to_error(error: &serde_saphyr::Error) -> YamlError {
    let line = error.location().and_then(|it| u32::try_from(it.line()).ok()).filter(|it| *it > 0);
    let message = error.render_with_formatter(&UserMessageFormatter);
    let message = message.split(" at line ").next().unwrap_or_default();
    YamlError { line, message: text::escape(&text::cut(message, 300)) }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(text: &str, expect: &Expect) {
        match read(text) {
            Ok(tree) => expect.assert_eq(&format!("{tree:?}")),
            Err(error) => expect.assert_eq(&format!("{:?}: {}", error.line, error.message)),
        }
    }

    #[test]
    fn fields_know_their_lines() {
        check(
            "a:\n  b: 1\n  c: [x, 2.5, true, ~]\n",
            &expect![[
                r#"Map([Field { name: "a", line: 1, value: Map([Field { name: "b", line: 2, value: Number(Number(1)) }, Field { name: "c", line: 3, value: List([Text("x"), Number(Number(2.5)), Bool(true), Null]) }]) }])"#
            ]],
        );
        check("", &expect!["Null"]);
        check("# only a comment\n", &expect!["Null"]);
        check(
            "yes: no\n8: on\n",
            &expect![[
                r#"Map([Field { name: "yes", line: 1, value: Text("no") }, Field { name: "8", line: 2, value: Text("on") }])"#
            ]],
        );
    }

    #[test]
    fn what_means_two_things_is_refused() {
        check("a: 1\nb: 2\na: 3\n", &expect!["Some(3): duplicate mapping key: a not allowed here"]);
        check("base: &b {x: 1}\na:\n  <<: *b\n", &expect!["Some(3): merge key not allowed here"]);
        check(
            "a: 1\n---\na: 2\n",
            &expect![
                "Some(2): YAML document too large or too complex: limits breached: Documents { documents: 2 }"
            ],
        );
        check("a: .inf\n", &expect!["Some(1): value `.inf` is not a finite number"]);
        check("a: [1\nb: 2\n", &expect!["Some(2): illegal placement of ':' indicator"]);
        check("a: \"\u{202e}\u{7}\n", &expect![[r"Some(1): unexpected character: `\u{7}'"]]);
    }

    #[test]
    fn what_unfolds_or_nests_without_end_is_refused() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let below = format!("*a{}", level - 1);
            let list = [below.as_str(); 9].join(", ");
            bomb.extend([format!("a{level}: &a{level} [{list}]\n")]);
        }
        check(
            &bomb,
            &expect![
                "Some(3): YAML document too large or too complex: total_replayed_events=1001 > 1000"
            ],
        );
        check(&"[".repeat(10_000), &expect!["Some(1): recursion limit exceeded"]);
        check(
            &(0..200).map(|it| " ".repeat(it) + "a:\n").collect::<String>(),
            &expect![
                "Some(17): YAML document too large or too complex: limits breached: Depth { depth: 17 }"
            ],
        );
        check(
            &"- x\n".repeat(60_000),
            &expect![
                "Some(20000): YAML document too large or too complex: limits breached: Nodes { nodes: 20001 }"
            ],
        );
        check("a: &a [*a]\n", &expect!["Some(1): Recursive reference not allowed here"]);
    }
}
