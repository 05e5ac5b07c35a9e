//! How a task is tried again by itself, as the caller says it.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::FailureCode;

/// How a task is tried again when an attempt fails; without it a task has one attempt.
///
/// An upstream that asks to come back later (`rate_limited`) is asked again in any case, and that
/// does not count here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetrySpec {
    /// How many attempts there may be in all, the first included: 1 to 20, default 3.
    #[schemars(range(min = 1, max = 20))]
    pub max_attempts: u32,
    /// How long to wait before the second attempt, in milliseconds: 0 to 3,600,000, default 1,000.
    /// It doubles with each further one, and up to half of it is left to chance.
    #[schemars(range(max = 3_600_000))]
    pub backoff_ms: u64,
    /// How long to wait at most, in milliseconds: 0 to 3,600,000, default 30,000, and not below
    /// `backoff_ms`. A longer time that the upstream asks for is kept all the same, up to an hour.
    #[schemars(range(max = 3_600_000))]
    pub max_backoff_ms: u64,
    /// Only after these failures; after every retryable one unless set. `agent_error`,
    /// `check_failed` and `output_invalid` count only if they are named.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "codes_schema")]
    pub on: Option<Vec<FailureCode>>,
}

impl RetrySpec {
    /// The most attempts, the first included.
    pub const ATTEMPTS_MAX: u32 = 20;
    /// The longest wait between attempts, in milliseconds.
    pub const BACKOFF_MS_MAX: u64 = 3_600_000;
    /// The failures that `on` may name.
    pub const CODES: [FailureCode; 10] = [
        FailureCode::AgentError,
        FailureCode::CheckFailed,
        FailureCode::OutputInvalid,
        FailureCode::Timeout,
        FailureCode::UpstreamUnavailable,
        FailureCode::UpstreamProtocol,
        FailureCode::CircuitOpen,
        FailureCode::RateLimited,
        FailureCode::Interrupted,
        FailureCode::ContextUnavailable,
    ];

    /// The failures after which there is another attempt.
    pub fn codes(&self) -> Vec<FailureCode> {
        let all = || Self::CODES.into_iter().filter(|it| it.is_retryable()).collect();
        self.on.clone().unwrap_or_else(all)
    }
}

impl Default for RetrySpec {
    fn default() -> Self {
        Self { max_attempts: 3, backoff_ms: 1_000, max_backoff_ms: 30_000, on: None }
    }
}

fn codes_schema(_: &mut SchemaGenerator) -> Schema {
    let codes = RetrySpec::CODES.map(FailureCode::as_str);
    json_schema!({
        "type": "array",
        "items": { "type": "string", "enum": codes },
        "minItems": 1,
        "description": "Only after these failures; after every retryable one unless set. \
                        agent_error, check_failed and output_invalid count only if they are named.",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_retryable_code_may_be_named_and_the_agents_own_errors_besides() {
        let schema = schemars::schema_for!(FailureCode);
        let all = schema.get("oneOf").unwrap().as_array().unwrap();
        for it in all {
            let code: FailureCode = serde_json::from_value(it["const"].clone()).unwrap();
            let own =
                [FailureCode::AgentError, FailureCode::CheckFailed, FailureCode::OutputInvalid];
            let expected = code.is_retryable() || own.contains(&code);
            assert_eq!(RetrySpec::CODES.contains(&code), expected, "{code:?}");
        }
        assert!(!RetrySpec::default().codes().contains(&FailureCode::AgentError));
    }
}
