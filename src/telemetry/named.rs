//! What is counted for each name of the settings, and for all other names together.

use prometheus_client::metrics::{counter::Counter, family::Family};
use rustc_hash::FxHashMap;

use crate::model::FailureCode;

/// What stands in labels for names that the settings do not have.
const OTHER: &str = "other";

/// A label and its value.
pub(super) type Label = (&'static str, String);
/// Counters by so many labels.
pub(super) type Counters<const N: usize> = Family<[Label; N], Counter>;

/// Something for each name of the settings, and for all others together.
#[derive(Debug)]
pub(super) struct Named<T> {
    known: FxHashMap<String, T>,
    other: T,
}

/// How often something ended well, or failed in which way. Ways that never happened are not shown.
#[derive(Debug)]
pub(super) struct Outcomes {
    whose: Label,
    successes: Counter,
    all: Counters<2>,
}

impl<T> Named<T> {
    pub(super) fn new(names: impl Iterator<Item = String>, make: impl Fn(&str) -> T) -> Self {
        let known = names.map(|it| (make(&it), it)).map(|(made, it)| (it, made)).collect();
        Self { known, other: make(OTHER) }
    }

    /// Whether the settings have the name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.known.contains_key(name)
    }

    pub(super) fn of(&self, name: &str) -> &T {
        self.known.get(name).unwrap_or(&self.other)
    }
}

impl Outcomes {
    pub(super) fn new([whose]: [Label; 1], all: &Counters<2>) -> Self {
        let successes =
            all.get_or_create_owned(&[whose.clone(), ("outcome", "success".to_owned())]);
        Self { whose, successes, all: all.clone() }
    }

    pub(super) fn note(&self, failure: Option<FailureCode>) {
        let Some(code) = failure else {
            self.successes.inc();
            return;
        };
        let labels = [self.whose.clone(), ("outcome", code.as_str().to_owned())];
        self.all.get_or_create(&labels).inc();
    }
}
