//! What agents say that they used, read leniently: it is strangers' data.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{BudgetLimit, BudgetSpec, MicroUsd, Spend, Spent, Usage};

/// More tokens than this are not believed to be more.
const TOKENS_MAX: f64 = 1e15;
/// More dollars than this are not believed to be more.
const COST_USD_MAX: f64 = 1e9;

const INPUT_TOKENS: [&str; 3] = ["input_tokens", "prompt_tokens", "inputTokens"];
const OUTPUT_TOKENS: [&str; 3] = ["output_tokens", "completion_tokens", "outputTokens"];
const TOTAL_TOKENS: [&str; 2] = ["total_tokens", "totalTokens"];
const CACHED_TOKENS: [&str; 2] = ["cache_creation_input_tokens", "cache_read_input_tokens"];
const COST_USD: [&str; 4] = ["cost_usd", "total_cost_usd", "costUsd", "costUSD"];

/// What the attempts at a task used, as its agent says it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UsageReport {
    /// Tokens that the agent read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    /// Tokens that the agent wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// All tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_tokens: Option<u64>,
    /// What it cost, in US dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
}

/// The budget of a dispatch, and what was used of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BudgetReport {
    /// The limits in force.
    pub limits: BudgetSpec,
    /// What was used so far, by earlier dispatches that this one retries too.
    pub spent: SpentReport,
    /// What is reserved for attempts that run.
    pub reserved: SpendReport,
    /// The limit that was exceeded and holds the dispatch up or ended it; null if none.
    pub exceeded: Option<BudgetLimit>,
}

/// What was used of a budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SpentReport {
    /// Tokens.
    pub tokens: u64,
    /// Money, in US dollars.
    pub cost_usd: f64,
    /// Time, in seconds.
    pub wall_seconds: f64,
    /// How many tasks were started.
    pub tasks: u32,
}

/// Tokens and money.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SpendReport {
    /// Tokens.
    pub tokens: u64,
    /// Money, in US dollars.
    pub cost_usd: f64,
}

impl Usage {
    /// Reads the `usage` of an agent's output, under the names that are common; `None` where it
    /// says nothing. What is no number from zero on is passed over. Money may also stand beside
    /// `usage`.
    pub fn of_output(output: &Value) -> Option<Self> {
        Self::of_fields(output.as_object()?)
    }

    /// The same, of the fields of an output.
    pub fn of_fields(fields: &Map<String, Value>) -> Option<Self> {
        let usage = fields.get("usage")?.as_object()?;
        let cached: Vec<_> =
            CACHED_TOKENS.iter().filter_map(|it| tokens(usage.get(*it)?)).collect();
        let input = first(usage, &INPUT_TOKENS, tokens);
        let cached = (!cached.is_empty()).then(|| cached.into_iter().sum::<u64>());
        let found = Self {
            input_tokens: match (input, cached) {
                (Some(input), Some(cached)) => Some(input + cached),
                (input, cached) => input.or(cached),
            },
            output_tokens: first(usage, &OUTPUT_TOKENS, tokens),
            total_tokens: first(usage, &TOTAL_TOKENS, tokens),
            cost: first(usage, &COST_USD, cost).or_else(|| first(fields, &COST_USD, cost)),
        };
        (found != Self::default()).then_some(found)
    }

    /// As users see it; `None` if there is nothing to see.
    pub fn report(&self) -> Option<UsageReport> {
        let report = UsageReport {
            input_tokens: self.input_tokens,
            output_tokens: self.output_tokens,
            total_tokens: self.tokens(),
            cost_usd: self.cost.map(MicroUsd::usd),
        };
        (*self != Self::default()).then_some(report)
    }
}

impl From<Spend> for SpendReport {
    fn from(spend: Spend) -> Self {
        Self { tokens: spend.tokens, cost_usd: spend.cost.usd() }
    }
}

impl From<Spent> for SpentReport {
    fn from(spent: Spent) -> Self {
        Self {
            tokens: spent.spend.tokens,
            cost_usd: spent.spend.cost.usd(),
            wall_seconds: spent.wall.seconds(),
            tasks: spent.tasks,
        }
    }
}

fn first<T>(
    fields: &Map<String, Value>,
    names: &[&str],
    read: fn(&Value) -> Option<T>,
) -> Option<T> {
    names.iter().find_map(|it| read(fields.get(*it)?))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "from zero on and below 2^53"
)]
fn tokens(value: &Value) -> Option<u64> {
    Some(amount(value)?.min(TOKENS_MAX).round() as u64)
}

fn cost(value: &Value) -> Option<MicroUsd> {
    Some(MicroUsd::from_usd(amount(value)?.min(COST_USD_MAX)))
}

fn amount(value: &Value) -> Option<f64> {
    value.as_f64().filter(|it| it.is_finite() && *it >= 0.0)
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(output: &Value, expected: &Expect) {
        let report = Usage::of_output(output).and_then(|it| it.report());
        expected.assert_eq(&serde_json::to_string(&report).unwrap());
    }

    #[test]
    fn usage_is_read_under_its_common_names() {
        check(
            &json!({ "usage": { "input_tokens": 10, "output_tokens": 2.0, "cost_usd": 0.25 } }),
            &expect![[
                r#"{"input_tokens":10,"output_tokens":2,"total_tokens":12,"cost_usd":0.25}"#
            ]],
        );
        check(
            &json!({ "usage": { "prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 9 } }),
            &expect![[r#"{"input_tokens":1,"output_tokens":2,"total_tokens":9}"#]],
        );
        check(
            &json!({ "total_cost_usd": 0.5, "usage": { "input_tokens": 1, "output_tokens": 1,
                     "cache_read_input_tokens": 100 } }),
            &expect![[
                r#"{"input_tokens":101,"output_tokens":1,"total_tokens":102,"cost_usd":0.5}"#
            ]],
        );
    }

    #[test]
    fn what_is_no_amount_is_passed_over() {
        let odd = json!({ "input_tokens": -1, "output_tokens": "7", "total_tokens": null,
                          "cost_usd": -0.5 });
        check(&json!({ "usage": odd }), &expect!["null"]);
        check(&json!({ "usage": 7 }), &expect!["null"]);
        check(&json!({ "cost_usd": 3 }), &expect!["null"]);
        check(&json!([{ "usage": {} }]), &expect!["null"]);
        check(
            &json!({ "usage": { "total_tokens": 1e300, "cost_usd": 1e300 } }),
            &expect![[r#"{"total_tokens":1000000000000000,"cost_usd":1000000000.0}"#]],
        );
    }
}
