//! What a dispatch may use, and what its attempts do use: tokens, money, time, tasks.

use std::ops::{Add, AddAssign, Sub};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Millis;

/// The most that a dispatch may use; what is left out is not limited.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BudgetSpec {
    /// How many tokens its agents may use together, as they report them: 1 to 10^12.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000_000_u64))]
    pub tokens: Option<u64>,
    /// How much its agents may cost together, in US dollars, as they report it: 0.000001 to
    /// 1,000,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1_000_000))]
    pub cost_usd: Option<f64>,
    /// How long it may go on from when it was accepted, in seconds: above 0, at most 2,592,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 2_592_000))]
    pub wall_seconds: Option<f64>,
    /// How many of its tasks may be started: 1 to 1,000,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub tasks: Option<u32>,
    /// What happens when a limit is reached and more is to be done; `hand_back` unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_exceeded: Option<OnExceeded>,
}

/// What happens when a budget is exceeded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnExceeded {
    /// Nothing new starts and what runs goes on, until the budget is raised.
    Pause,
    /// What runs ends, the rest is skipped, and the dispatch ends.
    #[default]
    HandBack,
    /// What runs is stopped, the rest is skipped, and the dispatch ends.
    Fail,
}

/// One of the limits of a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BudgetLimit {
    /// Tokens.
    Tokens,
    /// Money.
    CostUsd,
    /// Time.
    WallSeconds,
    /// Tasks started.
    Tasks,
}

/// Money, in millionths of a US dollar.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct MicroUsd(pub u64);

/// What a dispatch may use, in whole numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Budget {
    /// How many tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// How much money.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<MicroUsd>,
    /// How long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wall: Option<Millis>,
    /// How many tasks may be started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tasks: Option<u32>,
    /// What happens when that is exceeded.
    pub on_exceeded: OnExceeded,
}

/// Tokens and money.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Spend {
    /// Tokens.
    pub tokens: u64,
    /// Money.
    pub cost: MicroUsd,
}

/// All that a dispatch has used of what budgets limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Spent {
    /// Tokens and money.
    pub spend: Spend,
    /// Time.
    pub wall: Millis,
    /// How many tasks were started.
    pub tasks: u32,
}

/// What an attempt used, as far as its agent says it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Tokens that the agent read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    /// Tokens that the agent wrote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// All tokens, where the agent says so itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_tokens: Option<u64>,
    /// Money.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<MicroUsd>,
}

/// What the attempts at one task used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskUsage {
    /// What its agent said, over all attempts that ended.
    pub said: Usage,
    /// What counts for the budget: what was said, or what was reserved where nothing was said.
    pub spent: Spend,
    /// What is reserved for the attempt that runs.
    pub reserved: Spend,
    /// What dispatches that its agent asked for used.
    #[serde(skip_serializing_if = "Spend::is_zero")]
    pub nested: Spend,
    /// How many tasks those started.
    #[serde(skip_serializing_if = "is_zero")]
    pub nested_tasks: u32,
    /// Whether all of that was used in an earlier dispatch, whose result was kept.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_kept: bool,
}

/// How an attempt left what was reserved for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// Its agent was never at work: what it does not say is nothing.
    NeverRan,
    /// Its agent was at work: what it does not say is what was reserved.
    Ran,
}

impl OnExceeded {
    /// All of them, as they are written in JSON.
    pub const WORDS: [&'static str; 3] = ["pause", "hand_back", "fail"];
}

impl BudgetLimit {
    /// The limit as it is written in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tokens => "tokens",
            Self::CostUsd => "cost_usd",
            Self::WallSeconds => "wall_seconds",
            Self::Tasks => "tasks",
        }
    }
}

impl MicroUsd {
    /// The nearest amount; none below zero and nothing that is no number.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a cast from floats ends at the limits of the integer"
    )]
    pub fn from_usd(usd: f64) -> Self {
        Self((usd * 1e6).round() as u64)
    }

    /// In dollars.
    #[expect(clippy::cast_precision_loss, reason = "exact below nine thousand million dollars")]
    pub fn usd(self) -> f64 {
        self.0 as f64 / 1e6
    }
}

impl Budget {
    /// The same with other limits where `change` names some.
    #[must_use]
    pub fn changed(self, change: &BudgetSpec) -> Self {
        Self {
            tokens: change.tokens.or(self.tokens),
            cost: change.cost_usd.map(MicroUsd::from_usd).or(self.cost),
            wall: change.wall_seconds.map(Millis::from_seconds).or(self.wall),
            tasks: change.tasks.or(self.tasks),
            on_exceeded: change.on_exceeded.unwrap_or(self.on_exceeded),
        }
    }

    /// As a document would say it.
    pub fn to_spec(self) -> BudgetSpec {
        BudgetSpec {
            tokens: self.tokens,
            cost_usd: self.cost.map(MicroUsd::usd),
            wall_seconds: self.wall.map(Millis::seconds),
            tasks: self.tasks,
            on_exceeded: Some(self.on_exceeded),
        }
    }

    /// Whether it has that limit.
    pub fn limits(self, what: BudgetLimit) -> bool {
        match what {
            BudgetLimit::Tokens => self.tokens.is_some(),
            BudgetLimit::CostUsd => self.cost.is_some(),
            BudgetLimit::WallSeconds => self.wall.is_some(),
            BudgetLimit::Tasks => self.tasks.is_some(),
        }
    }
}

impl From<&BudgetSpec> for Budget {
    fn from(spec: &BudgetSpec) -> Self {
        Self::default().changed(spec)
    }
}

impl Spend {
    /// Whether it is nothing.
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }

    /// What counts of an attempt for which `self` was reserved.
    #[must_use]
    pub fn settled(self, said: Option<Usage>, how: Settlement) -> Self {
        let unsaid = if how == Settlement::Ran { self } else { Self::default() };
        let said = said.unwrap_or_default();
        Self {
            tokens: said.tokens().unwrap_or(unsaid.tokens),
            cost: said.cost.unwrap_or(unsaid.cost),
        }
    }
}

impl Add for Spend {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            tokens: self.tokens.saturating_add(other.tokens),
            cost: MicroUsd(self.cost.0.saturating_add(other.cost.0)),
        }
    }
}

impl AddAssign for Spend {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Spend {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self {
            tokens: self.tokens.saturating_sub(other.tokens),
            cost: MicroUsd(self.cost.0.saturating_sub(other.cost.0)),
        }
    }
}

impl Usage {
    /// All tokens, if any are known.
    pub fn tokens(&self) -> Option<u64> {
        self.total_tokens.or_else(|| sum(self.input_tokens, self.output_tokens))
    }

    /// Both together; what only one says counts.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let is_total_known = self.total_tokens.or(other.total_tokens).is_some();
        Self {
            input_tokens: sum(self.input_tokens, other.input_tokens),
            output_tokens: sum(self.output_tokens, other.output_tokens),
            total_tokens: sum(self.tokens(), other.tokens()).filter(|_| is_total_known),
            cost: sum(self.cost.map(|it| it.0), other.cost.map(|it| it.0)).map(MicroUsd),
        }
    }
}

impl TaskUsage {
    /// An attempt starts for which so much is reserved.
    pub fn reserve(&mut self, reserved: Spend) {
        self.reserved = reserved;
    }

    /// The attempt ends.
    pub fn settle(&mut self, said: Option<Usage>, how: Settlement) {
        self.spent += std::mem::take(&mut self.reserved).settled(said, how);
        self.said = self.said.plus(said.unwrap_or_default());
    }

    /// The result is kept in another dispatch, where nothing of it counts.
    pub fn keep(&mut self) {
        *self = Self { said: self.said, is_kept: true, ..Self::default() };
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

fn sum(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.saturating_add(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_counted_in_millionths() {
        for (usd, micros) in [(0.000_001, 1), (0.3, 300_000), (-1.0, 0), (f64::NAN, 0)] {
            assert_eq!(MicroUsd::from_usd(usd).0, micros);
        }
        assert!((MicroUsd(1_234_567).usd() - 1.234_567).abs() < 1e-9);
        assert_eq!(MicroUsd::from_usd(f64::INFINITY).0, u64::MAX);
    }

    #[test]
    fn what_is_not_said_counts_as_reserved_if_the_agent_was_at_work() {
        let reserved = Spend { tokens: 10, cost: MicroUsd(5) };
        let said = Usage { output_tokens: Some(3), ..Usage::default() };
        let ran = reserved.settled(Some(said), Settlement::Ran);
        assert_eq!(ran, Spend { tokens: 3, cost: MicroUsd(5) });
        assert_eq!(reserved.settled(None, Settlement::Ran), reserved);
        assert!(reserved.settled(None, Settlement::NeverRan).is_zero());
    }

    #[test]
    fn usage_adds_up_with_totals_that_only_one_says() {
        let parts = Usage { input_tokens: Some(2), output_tokens: Some(3), ..Usage::default() };
        let total = Usage { total_tokens: Some(7), cost: Some(MicroUsd(1)), ..Usage::default() };
        assert_eq!(parts.plus(total).tokens(), Some(12));
        assert_eq!(parts.plus(parts).tokens(), Some(10));
        assert_eq!(parts.plus(parts).total_tokens, None);
        assert_eq!(Usage::default().tokens(), None);
    }

    #[test]
    fn a_change_leaves_what_it_does_not_name() {
        let spec = BudgetSpec { tokens: Some(5), tasks: Some(2), ..BudgetSpec::default() };
        let raise = BudgetSpec { tokens: Some(9), cost_usd: Some(0.5), ..BudgetSpec::default() };
        let budget = Budget::from(&spec).changed(&raise);
        assert_eq!((budget.tokens, budget.tasks), (Some(9), Some(2)));
        assert_eq!(budget.cost, Some(MicroUsd(500_000)));
        assert_eq!(Budget::from(&budget.to_spec()), budget);
    }
}
