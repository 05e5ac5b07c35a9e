//! Time as data: milliseconds handed in from outside, and their written form.

use std::{borrow::Cow, ops::Add};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A point in time (milliseconds since 1970-01-01T00:00:00Z) or a span of milliseconds.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(transparent)]
pub struct Millis(pub u64);

/// A point in time that is written as RFC 3339 in UTC with milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub Millis);

impl Millis {
    /// The span from `earlier` to `self`; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self(self.0.saturating_sub(earlier.0))
    }

    /// Converts seconds, at least to one millisecond.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "float casts saturate; nothing is below one"
    )]
    pub fn from_seconds(seconds: f64) -> Self {
        Self((seconds * 1_000.0).round().max(1.0) as u64)
    }

    /// The span in seconds.
    #[expect(clippy::cast_precision_loss, reason = "no span comes near 2^53 milliseconds")]
    pub fn seconds(self) -> f64 {
        self.0 as f64 / 1_000.0
    }
}

impl Add for Millis {
    type Output = Self;

    fn add(self, span: Self) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl Timestamp {
    /// Writes the time as `2026-11-21T03:44:00.123Z`; times past the year 9999 as that year's end.
    pub fn to_rfc3339(self) -> String {
        let at = i64::try_from(self.0.0)
            .ok()
            .and_then(|it| jiff::Timestamp::from_millisecond(it).ok())
            .unwrap_or(jiff::Timestamp::MAX);
        format!("{at:.3}")
    }

    /// Writes the time as `20261121T034400123Z`, for file names.
    pub fn to_compact(self) -> String {
        self.to_rfc3339().chars().filter(|it| !matches!(it, '-' | ':' | '.')).collect()
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_rfc3339())
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <Cow<'de, str>>::deserialize(deserializer)?;
        let at: jiff::Timestamp = text.parse().map_err(D::Error::custom)?;
        let millis = u64::try_from(at.as_millisecond()).map_err(D::Error::custom)?;
        Ok(Self(Millis(millis)))
    }
}

impl JsonSchema for Timestamp {
    fn schema_name() -> Cow<'static, str> {
        "Timestamp".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_for_people_and_for_file_names() {
        let at = Timestamp(Millis(1_795_232_640_123));
        assert_eq!(at.to_rfc3339(), "2026-11-21T03:44:00.123Z");
        assert_eq!(at.to_compact(), "20261121T034400123Z");
        let json = serde_json::to_string(&at).unwrap();
        assert_eq!(serde_json::from_str::<Timestamp>(&json).unwrap(), at);
    }

    #[test]
    fn absurd_times_do_not_panic() {
        assert!(Timestamp(Millis(u64::MAX)).to_rfc3339().starts_with("9999-12-3"));
    }
}
