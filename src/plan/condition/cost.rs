//! Bounds the work of an expression's loops by the sizes of what it looks at.

use cel::{
    IdedExpr,
    common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, operators as op},
};
use serde_json::Value;

/// The most bytes that the outputs may have which an expression looks at, as JSON.
const BYTES_MAX: usize = 4 << 20;
/// The most rounds of a loop, those of loops around it included.
const ROUNDS_MAX: u64 = 1_000_000;
/// The most bytes that loops may touch, if each step touched all that it can.
const TOUCHED_MAX: u64 = 200_000_000;

/// How large something is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Size {
    /// About how many bytes of JSON.
    bytes: u64,
    /// How many items the longest list or map in it has.
    longest: u64,
}

/// What an expression does that takes time.
#[derive(Clone, Copy, Debug, Default)]
struct Shape {
    /// How deep its loops are nested.
    n_loops: u32,
    /// Whether a step of a loop can touch more than a few values.
    has_heavy_step: bool,
    /// How many sums there are, each of which may make something longer.
    n_sums: u64,
    /// The length of the longest list or map that is written out.
    longest: u64,
}

impl Size {
    /// Counts a value in.
    pub(super) fn add(&mut self, value: &Value) {
        self.bytes += match value {
            Value::String(text) => text.len() as u64 + 2,
            Value::Array(items) => {
                self.longest = self.longest.max(items.len() as u64);
                for it in items {
                    self.add(it);
                }
                items.len() as u64 + 2
            }
            Value::Object(map) => {
                self.longest = self.longest.max(map.len() as u64);
                map.values().for_each(|it| self.add(it));
                map.keys().map(|it| it.len() as u64 + 4).sum::<u64>() + 2
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => 4,
        };
    }
}

/// Refuses to look at too much; the error says why.
pub(super) fn check_bytes(n_bytes: usize) -> Result<(), String> {
    if n_bytes <= BYTES_MAX {
        return Ok(());
    }
    Err(format!("the outputs that it looks at have {n_bytes} bytes; at most {BYTES_MAX} may be"))
}

/// Refuses to evaluate what could take long; the error says why.
pub(super) fn check(expression: &IdedExpr, size: Size) -> Result<(), String> {
    let mut shape = Shape::default();
    shape.add(expression, 0);
    let rounds =
        (size.longest.max(shape.longest) * (shape.n_sums + 1)).saturating_pow(shape.n_loops);
    if shape.n_loops > 0 && rounds > ROUNDS_MAX {
        return Err(format!(
            "its loops may go round {rounds} times; at most {ROUNDS_MAX} rounds are allowed"
        ));
    }
    // Without heavy steps an inner loop still copies its list in each round of the outer one.
    let n_times = match (shape.n_loops, shape.has_heavy_step) {
        (0, _) | (1, false) => 1,
        (_, true) => rounds,
        (_, false) => size.longest,
    };
    let touched = size.bytes.saturating_mul(shape.n_sums + 1).saturating_mul(n_times);
    if touched > TOUCHED_MAX {
        return Err(format!(
            "its loops may touch {touched} bytes; at most {TOUCHED_MAX} are allowed"
        ));
    }
    Ok(())
}

impl Shape {
    fn add(&mut self, expression: &IdedExpr, n_around: u32) {
        match &expression.expr {
            Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => (),
            Expr::Select(it) => self.add(&it.operand, n_around),
            Expr::Call(it) => self.add_call(it, n_around),
            Expr::Comprehension(it) => self.add_loop(it, n_around),
            Expr::List(list) => {
                self.longest = self.longest.max(list.elements.len() as u64);
                list.elements.iter().for_each(|it| self.add(it, n_around));
            }
            Expr::Map(map) => {
                self.longest = self.longest.max(map.entries.len() as u64);
                self.has_heavy_step |= n_around > 0;
                for it in &map.entries {
                    if let EntryExpr::MapEntry(entry) = &it.expr {
                        self.add(&entry.key, n_around);
                        self.add(&entry.value, n_around);
                    }
                }
            }
            Expr::Struct(_) => self.has_heavy_step = true,
        }
    }

    fn add_call(&mut self, call: &CallExpr, n_around: u32) {
        let target = call.target.iter().map(AsRef::as_ref);
        target.chain(&call.args).for_each(|it| self.add(it, n_around));
        if call.func_name == op::ADD {
            self.n_sums += 1;
        }
        self.has_heavy_step |= n_around > 0 && !is_light(call);
    }

    fn add_loop(&mut self, it: &ComprehensionExpr, n_around: u32) {
        self.n_loops = self.n_loops.max(n_around + 1);
        self.add(&it.iter_range, n_around);
        self.add(&it.accu_init, n_around);
        self.add(&it.loop_cond, n_around + 1);
        match appended(it) {
            // What a loop gathers is put at the end of its list, and nothing is copied.
            Some((condition, item)) => {
                if let Some(it) = condition {
                    self.add(it, n_around + 1);
                }
                self.add(item, n_around + 1);
                self.has_heavy_step |= !is_variable(item, &it.iter_var);
            }
            None => self.add(&it.loop_step, n_around + 1),
        }
    }
}

/// The condition and the item of a step that is `list + [item]`, or that under a condition.
fn appended(it: &ComprehensionExpr) -> Option<(Option<&IdedExpr>, &IdedExpr)> {
    let Expr::Call(step) = &it.loop_step.expr else { return None };
    if step.func_name != op::CONDITIONAL {
        return Some((None, item_added(step, &it.accu_var)?));
    }
    let [condition, sum, same] = step.args.as_slice() else { return None };
    let Expr::Call(sum) = &sum.expr else { return None };
    let item = item_added(sum, &it.accu_var)?;
    is_variable(same, &it.accu_var).then_some((Some(condition), item))
}

/// The item of `list + [item]`.
fn item_added<'e>(sum: &'e CallExpr, list: &str) -> Option<&'e IdedExpr> {
    let [left, tail] = sum.args.as_slice() else { return None };
    let Expr::List(tail) = &tail.expr else { return None };
    let is_it = sum.func_name == op::ADD && is_variable(left, list);
    tail.elements.first().filter(|_| is_it)
}

fn is_variable(expression: &IdedExpr, name: &str) -> bool {
    matches!(&expression.expr, Expr::Ident(it) if it == name)
}

/// Whether a call costs little however large its arguments are.
fn is_light(call: &CallExpr) -> bool {
    let has_literal = || call.args.iter().any(|it| is_small(&it.expr));
    match call.func_name.as_str() {
        op::LOGICAL_AND
        | op::LOGICAL_OR
        | op::LOGICAL_NOT
        | op::NOT_STRICTLY_FALSE
        | op::CONDITIONAL
        | op::INDEX
        | op::NEGATE
        | op::SUBSTRACT
        | op::MULTIPLY
        | op::DIVIDE
        | op::MODULO
        | "startsWith"
        | "endsWith" => true,
        op::EQUALS
        | op::NOT_EQUALS
        | op::LESS
        | op::LESS_EQUALS
        | op::GREATER
        | op::GREATER_EQUALS
        | op::ADD => has_literal() && !is_text_sum(call),
        _ => false,
    }
}

/// A sum with a number costs little; one with a text copies the other.
fn is_text_sum(call: &CallExpr) -> bool {
    let is_number = |it: &IdedExpr| {
        let Expr::Literal(it) = &it.expr else { return false };
        matches!(it, LiteralValue::Double(_) | LiteralValue::Int(_) | LiteralValue::UInt(_))
    };
    call.func_name == op::ADD && !call.args.iter().any(is_number)
}

fn is_small(expression: &Expr) -> bool {
    matches!(expression, Expr::Literal(_))
}
