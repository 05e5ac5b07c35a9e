//! Layers of values, and what stands when one is laid over another.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::error::Source;

/// One value of one layer, in normal form.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    /// The canonical key. A section of names may have an entry of its own, which says that the
    /// name exists.
    pub(super) key: String,
    /// The key as it was written.
    pub(super) written: String,
    pub(super) value: Value,
    pub(super) source: Source,
}

/// The values that stand after layers were laid over each other, by key.
#[derive(Clone, Debug, Default)]
pub(super) struct Merged(BTreeMap<String, (Value, Source)>);

impl Merged {
    /// Lays a layer over what stands.
    pub(super) fn lay(&mut self, layer: &[Entry]) {
        for it in layer {
            self.0.insert(it.key.clone(), (it.value.clone(), it.source.clone()));
        }
    }

    /// Sets a value that no layer set.
    pub(super) fn fill(&mut self, key: &str, value: impl FnOnce() -> (Value, Source)) {
        if !self.0.contains_key(key) {
            self.0.insert(key.to_owned(), value());
        }
    }

    /// Sets a value and leaves its source.
    pub(super) fn adjust(&mut self, key: &str, value: Value) {
        if let Some(it) = self.0.get_mut(key) {
            it.0 = value;
        }
    }

    pub(super) fn remove(&mut self, key: &str) {
        self.0.remove(key);
    }

    pub(super) fn get(&self, key: &str) -> Option<(&Value, &Source)> {
        self.0.get(key).map(|(value, source)| (value, source))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Value, &Source)> {
        self.0.iter().map(|(key, (value, source))| (key.as_str(), value, source))
    }

    /// The names in a section of names, such as `agents`.
    pub(super) fn names(&self, section: &str) -> Vec<String> {
        let inner = |key: &str| {
            let (first, rest) = key.split_once('.')?;
            (first == section).then(|| rest.split('.').next().map(str::to_owned))?
        };
        let mut names: Vec<String> = self.0.keys().filter_map(|it| inner(it)).collect();
        names.dedup();
        names
    }

    /// The values as one object, a level a section.
    pub(super) fn to_value(&self) -> Value {
        let mut root = Map::new();
        for (key, (value, _)) in &self.0 {
            insert(&mut root, key, value);
        }
        Value::Object(root)
    }
}

/// The leaves of an object as the entries of the built-in layer.
pub(super) fn flatten(value: &Value) -> Vec<Entry> {
    let mut entries = Vec::new();
    flatten_below(String::new(), value, &mut entries);
    entries
}

fn flatten_below(key: String, value: &Value, entries: &mut Vec<Entry>) {
    let Value::Object(fields) = value else {
        let written = key.clone();
        entries.push(Entry { key, written, value: value.clone(), source: Source::BuiltIn });
        return;
    };
    for (name, value) in fields {
        let inner = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
        flatten_below(inner, value, entries);
    }
}

fn insert(section: &mut Map<String, Value>, key: &str, value: &Value) {
    let Some((name, rest)) = key.split_once('.') else {
        section.insert(key.to_owned(), value.clone());
        return;
    };
    let inner = section.entry(name).or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(inner) = inner {
        insert(inner, rest, value);
    }
}
