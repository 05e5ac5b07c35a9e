//! What a plan's tasks are expected to use, by what its document says of them.

use crate::model::{AmountBand, Budget, BudgetSpec, CostReport, MicroUsd, RetrySpec, TaskSpec};

/// Adds up the estimates of `tasks`; nothing where none has any. A warning goes into `warnings`
/// where they come to more than the budget.
pub(super) fn cost_report(
    tasks: &[TaskSpec],
    budget: Option<&BudgetSpec>,
    warnings: &mut Vec<String>,
) -> Option<CostReport> {
    let tokens = |it: &TaskSpec| it.estimate_tokens;
    let cost = |it: &TaskSpec| Some(MicroUsd::from_usd(it.estimate_cost_usd?).0);
    let (of_tokens, of_cost) = (Sum::of(tasks, tokens), Sum::of(tasks, cost));
    if of_tokens.n == 0 && of_cost.n == 0 {
        return None;
    }
    let limits = budget.map(Budget::from).unwrap_or_default();
    if let Some(limit) = limits.tokens.filter(|it| of_tokens.likely > *it) {
        let likely = of_tokens.likely;
        warnings.push(format!(
            "the estimates come to {likely} tokens, and config.budget allows {limit}"
        ));
    }
    if let Some(limit) = limits.cost.filter(|it| of_cost.likely > it.0) {
        let (likely, limit) = (MicroUsd(of_cost.likely).usd(), limit.usd());
        warnings.push(format!(
            "the estimates come to {likely} dollars, and config.budget allows {limit}"
        ));
    }
    Some(CostReport {
        #[expect(clippy::cast_precision_loss, reason = "shown, and not counted with")]
        tokens: of_tokens.band(|it| it as f64),
        cost_usd: of_cost.band(|it| MicroUsd(it).usd()),
        tasks_without_tokens: tasks.len() - of_tokens.n,
        tasks_without_cost: tasks.len() - of_cost.n,
    })
}

/// What the tasks come to that say something.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    n: usize,
    likely: u64,
    high: u64,
}

impl Sum {
    fn of(tasks: &[TaskSpec], amount: impl Fn(&TaskSpec) -> Option<u64>) -> Self {
        let mut sum = Self::default();
        for task in tasks {
            let Some(one) = amount(task) else { continue };
            let attempts = task.retry.as_deref().map_or(1, |it: &RetrySpec| it.max_attempts);
            let one = one.saturating_mul(n_known_parts(task));
            sum.n += 1;
            sum.likely = sum.likely.saturating_add(one);
            sum.high = sum.high.saturating_add(one.saturating_mul(attempts.into()));
        }
        sum
    }

    fn band(self, shown: impl Fn(u64) -> f64) -> Option<AmountBand> {
        let likely = shown(self.likely);
        (self.n > 0).then(|| AmountBand { low: likely, likely, high: shown(self.high) })
    }
}

/// How many tasks one stands for, as far as the document says it: as many as its list has items.
fn n_known_parts(task: &TaskSpec) -> u64 {
    let items = task.for_each.as_ref().and_then(|it| it.items.as_array());
    items.map_or(1, |it| it.len() as u64)
}
