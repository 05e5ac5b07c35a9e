//! Checks what an expression names and, as far as it shows without running it, what type it is of.

use std::collections::BTreeMap;

use cel::{
    IdedExpr,
    common::ast::{
        CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, SelectExpr, operators as op,
    },
};

use super::{About, ConditionFault, FAULTS_MAX};
use crate::model::{ErrorCode, TaskStatus, text};

/// The deepest nesting of operators: the evaluation takes up to 35 kB of stack for each level.
const DEPTH_MAX: usize = 32;
/// How many loops may be nested.
const LOOPS_MAX: usize = 2;

/// What an expression may begin with.
const ROOTS: [&str; 3] = ["tasks", "input", "config"];
const ROOTS_HINT: &str = "name tasks, input or config; an id with dots or dashes is written \
                          tasks[\"ID\"]";
/// What an expression about an output may begin with.
const OUTPUT_ROOTS: [&str; 3] = ["output", "input", "config"];
const OUTPUT_HINT: &str = "name output, input or config";
const TASK_HINT: &str = "write tasks.ID.output or tasks.ID.status; an id with dots or dashes is \
                         written tasks[\"ID\"]";

/// The settings that a dispatch has in force.
const CONFIG: [&str; 4] = ["max_workers", "timeout_seconds", "on_failure", "enable_context"];

/// What is known of an expression's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Any,
    Bool,
    Number,
    Text,
    /// The status of a task.
    Status,
    Null,
    List,
    Map,
}

/// A function: its name, and how many arguments it takes, before a dot or without one.
struct Function {
    name: &'static str,
    arguments: usize,
    is_method: bool,
    answer: Kind,
}

const FUNCTIONS: [Function; 9] = [
    Function { name: "size", arguments: 1, is_method: false, answer: Kind::Number },
    Function { name: "size", arguments: 0, is_method: true, answer: Kind::Number },
    Function { name: "contains", arguments: 1, is_method: true, answer: Kind::Bool },
    Function { name: "startsWith", arguments: 1, is_method: true, answer: Kind::Bool },
    Function { name: "endsWith", arguments: 1, is_method: true, answer: Kind::Bool },
    Function { name: "string", arguments: 1, is_method: false, answer: Kind::Text },
    Function { name: "int", arguments: 1, is_method: false, answer: Kind::Number },
    Function { name: "double", arguments: 1, is_method: false, answer: Kind::Number },
    Function { name: "dyn", arguments: 1, is_method: false, answer: Kind::Any },
];
const FUNCTIONS_HINT: &str = "there are size, contains, startsWith, endsWith, string, int, double, \
                              dyn, has, all, exists, exists_one, filter and map";

/// The tasks that an expression names, and whether it looks at their outputs; or its faults.
pub(super) fn check(
    expression: &IdedExpr,
    about: About,
) -> Result<BTreeMap<String, bool>, Vec<ConditionFault>> {
    let mut checker = Checker::new(about);
    let kind = checker.kind(expression);
    if !matches!(kind, Kind::Any | Kind::Bool) {
        let what = format!("does not type-check: it is {}, not true or false", kind.describe());
        checker.fault(what, "compare it with something, so that it is true or false");
    }
    if checker.faults.is_empty() { Ok(checker.tasks) } else { Err(checker.faults) }
}

struct Checker {
    about: About,
    faults: Vec<ConditionFault>,
    tasks: BTreeMap<String, bool>,
    /// The variables of the loops around.
    variables: Vec<String>,
    n_loops: usize,
    depth: usize,
}

impl Checker {
    fn new(about: About) -> Self {
        let (faults, variables) = (Vec::new(), Vec::new());
        Self { about, faults, tasks: BTreeMap::new(), variables, n_loops: 0, depth: 0 }
    }

    fn fault(&mut self, what: String, hint: &str) {
        self.fault_of(ErrorCode::InvalidExpression, what, hint);
    }

    fn fault_of(&mut self, code: ErrorCode, what: String, hint: &str) {
        let fault = ConditionFault::new(code, what, hint);
        if self.faults.len() < FAULTS_MAX && !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }

    fn mismatch(&mut self, what: &str, hint: &str) {
        self.fault(format!("does not type-check: {what}"), hint);
    }

    fn kind(&mut self, expression: &IdedExpr) -> Kind {
        if self.depth == DEPTH_MAX {
            let what = format!("is nested deeper than {DEPTH_MAX} levels");
            self.fault_of(ErrorCode::TooDeep, what, "let a task decide, and look at its output");
            return Kind::Any;
        }
        self.depth += 1;
        let kind = match &expression.expr {
            Expr::Literal(literal) => kind_of_literal(literal),
            Expr::Ident(name) => self.variable(name),
            Expr::Select(select) => self.select(select),
            Expr::Call(call) => self.call(call),
            Expr::Comprehension(it) => self.comprehension(it),
            Expr::List(list) => {
                for it in &list.elements {
                    self.kind(it);
                }
                Kind::List
            }
            Expr::Map(map) => {
                for it in &map.entries {
                    match &it.expr {
                        EntryExpr::MapEntry(entry) => {
                            self.kind(&entry.key);
                            self.kind(&entry.value);
                        }
                        EntryExpr::StructField(_) => self.unsupported(),
                    }
                }
                Kind::Map
            }
            Expr::Struct(_) | Expr::Unspecified => {
                self.unsupported();
                Kind::Any
            }
        };
        self.depth -= 1;
        kind
    }

    fn unsupported(&mut self) {
        let what = "makes a message, and there are no types of messages here".to_owned();
        self.fault(what, "write a map as {\"key\": value}");
    }

    fn variable(&mut self, name: &str) -> Kind {
        if self.variables.iter().any(|it| it == name) {
            return Kind::Any;
        }
        match name {
            "output" if self.about == About::Output => Kind::Any,
            "tasks" if self.about == About::Tasks => {
                let what = "must name a task after \"tasks\", and what of it is meant".to_owned();
                self.fault(what, TASK_HINT);
                Kind::Any
            }
            "input" | "config" => Kind::Map,
            _ => {
                let (roots, hint) = match self.about {
                    About::Tasks => (ROOTS, ROOTS_HINT),
                    About::Output => (OUTPUT_ROOTS, OUTPUT_HINT),
                };
                let guess = text::did_you_mean(name, roots);
                let what = format!("names {:?}, which is unknown{guess}", text::cut(name, 80));
                self.fault(what, hint);
                Kind::Any
            }
        }
    }

    fn select(&mut self, select: &SelectExpr) -> Kind {
        if let Some(id) = self.task_of(&select.operand) {
            let kind = match select.field.as_str() {
                "output" => Kind::Any,
                "status" => Kind::Status,
                other => {
                    let guess = text::did_you_mean(other, ["output", "status"]);
                    let (id, other) = (text::cut(id, 80), text::cut(other, 80));
                    let what = format!("asks for {other:?} of task {id:?}, which has none{guess}");
                    self.fault(what, TASK_HINT);
                    return Kind::Any;
                }
            };
            *self.tasks.entry(id.to_owned()).or_default() |= kind == Kind::Any;
            return if select.test { Kind::Bool } else { kind };
        }
        if self.is_root(&select.operand, "tasks") {
            let id = text::cut(&select.field, 80);
            self.fault(format!("does not say what of task {id:?} is meant"), TASK_HINT);
            return Kind::Any;
        }
        if self.is_root(&select.operand, "config") {
            let known = CONFIG;
            if !known.contains(&select.field.as_str()) {
                let guess = text::did_you_mean(&select.field, known);
                let field = text::cut(&select.field, 80);
                let what = format!("asks for {field:?} of config, which has none{guess}");
                self.fault(what, &format!("config has {}", known.join(", ")));
            }
        }
        let kind = self.kind(&select.operand);
        if !matches!(kind, Kind::Any | Kind::Map) {
            let what = format!("{} has no field {:?}", kind.describe(), select.field);
            self.mismatch(&what, "ask for fields of maps only");
        }
        if select.test { Kind::Bool } else { Kind::Any }
    }

    fn is_root(&self, expression: &IdedExpr, root: &str) -> bool {
        if root == "tasks" && self.about != About::Tasks {
            return false;
        }
        matches!(&expression.expr, Expr::Ident(name) if name == root)
            && !self.variables.iter().any(|it| it == root)
    }

    /// The task that `tasks.ID` or `tasks["ID"]` means.
    fn task_of<'e>(&self, expression: &'e IdedExpr) -> Option<&'e str> {
        if let Expr::Select(it) = &expression.expr {
            return (!it.test && self.is_root(&it.operand, "tasks")).then_some(&it.field);
        }
        let Expr::Call(it) = &expression.expr else { return None };
        let [tasks, id] = it.args.as_slice() else { return None };
        let Expr::Literal(LiteralValue::String(id)) = &id.expr else { return None };
        (it.func_name == op::INDEX && self.is_root(tasks, "tasks")).then(|| id.inner())
    }

    fn call(&mut self, call: &CallExpr) -> Kind {
        let is_task = |it: &IdedExpr| self.is_root(it, "tasks") || self.task_of(it).is_some();
        if call.func_name == op::INDEX && call.args.first().is_some_and(is_task) {
            self.fault("does not say what of a task is meant".to_owned(), TASK_HINT);
            return Kind::Any;
        }
        let target = call.target.as_ref().map(|it| self.kind(it));
        let kinds: Vec<Kind> = call.args.iter().map(|it| self.kind(it)).collect();
        match (call.func_name.as_str(), kinds.as_slice()) {
            (op::LOGICAL_AND | op::LOGICAL_OR, [one, other]) => self.logical(&[*one, *other]),
            (op::LOGICAL_NOT | op::NOT_STRICTLY_FALSE, [one]) => self.logical(&[*one]),
            (op::CONDITIONAL, [condition, yes, no]) => {
                self.logical(&[*condition]);
                if yes == no { *yes } else { Kind::Any }
            }
            (op::EQUALS | op::NOT_EQUALS, [one, other]) => {
                self.check_statuses(call, &[*one, *other]);
                Kind::Bool
            }
            (op::LESS | op::LESS_EQUALS | op::GREATER | op::GREATER_EQUALS, [one, other]) => {
                self.comparison(*one, *other)
            }
            (op::ADD, [one, other]) => self.sum(*one, *other),
            (op::SUBSTRACT | op::MULTIPLY | op::DIVIDE | op::MODULO | op::NEGATE, kinds) => {
                self.arithmetic(kinds)
            }
            (op::INDEX, _) => Kind::Any,
            (op::IN, _) => Kind::Bool,
            (name, kinds) => self.function(name, target.is_some(), kinds.len()),
        }
    }

    fn logical(&mut self, kinds: &[Kind]) -> Kind {
        for it in kinds.iter().filter(|it| !matches!(it, Kind::Any | Kind::Bool)) {
            let what = format!("{} stands where true or false must", it.describe());
            self.mismatch(&what, "compare it with something");
        }
        Kind::Bool
    }

    fn comparison(&mut self, one: Kind, other: Kind) -> Kind {
        let (one, other) = (one.plain(), other.plain());
        let is_ordered = |it| matches!(it, Kind::Any | Kind::Bool | Kind::Number | Kind::Text);
        let agree = one == other || one == Kind::Any || other == Kind::Any;
        if !(agree && is_ordered(one) && is_ordered(other)) {
            let what = format!("{} is not comparable to {}", one.describe(), other.describe());
            self.mismatch(&what, "compare numbers with numbers and strings with strings");
        }
        Kind::Bool
    }

    fn sum(&mut self, one: Kind, other: Kind) -> Kind {
        let (one, other) = (one.plain(), other.plain());
        let is_summand = |it| matches!(it, Kind::Any | Kind::Number | Kind::Text | Kind::List);
        let agree = one == other || one == Kind::Any || other == Kind::Any;
        if !(agree && is_summand(one) && is_summand(other)) {
            let what = format!("{} cannot be added to {}", other.describe(), one.describe());
            self.mismatch(&what, "convert one of them with string(…), int(…) or double(…)");
        }
        if one == Kind::Any { other } else { one }
    }

    fn arithmetic(&mut self, kinds: &[Kind]) -> Kind {
        for it in kinds.iter().filter(|it| !matches!(it, Kind::Any | Kind::Number)) {
            let what = format!("{} stands where a number must", it.describe());
            self.mismatch(&what, "convert it with int(…) or double(…)");
        }
        Kind::Number
    }

    /// A status is compared with words that it can be.
    fn check_statuses(&mut self, call: &CallExpr, kinds: &[Kind]) {
        if !kinds.contains(&Kind::Status) {
            return;
        }
        for it in &call.args {
            let Expr::Literal(LiteralValue::String(word)) = &it.expr else { continue };
            let words = statuses();
            if !words.contains(&word.inner()) {
                let guess = text::did_you_mean(word.inner(), words);
                let word = text::cut(word.inner(), 80);
                let what = format!("compares a status with {word:?}, which none is{guess}");
                self.fault(what, &format!("a status is one of {}", words.join(", ")));
            }
        }
    }

    fn function(&mut self, name: &str, is_method: bool, n_arguments: usize) -> Kind {
        let of_name = || FUNCTIONS.iter().filter(|it| it.name == name);
        let fits = |it: &&Function| it.is_method == is_method && it.arguments == n_arguments;
        if let Some(it) = of_name().find(fits) {
            return it.answer;
        }
        let name = text::cut(name, 80);
        if let Some(it) = of_name().next() {
            let form = if it.is_method { "value." } else { "" };
            let hint = format!("write {form}{}({})", it.name, ["", "value"][it.arguments]);
            self.fault(format!("calls {name:?} with other arguments than it takes"), &hint);
        } else {
            let guess = text::did_you_mean(&name, FUNCTIONS.iter().map(|it| it.name));
            self.fault(format!("calls {name:?}, which is unknown{guess}"), FUNCTIONS_HINT);
        }
        Kind::Any
    }

    fn comprehension(&mut self, it: &ComprehensionExpr) -> Kind {
        let range = self.kind(&it.iter_range);
        if !matches!(range, Kind::Any | Kind::List | Kind::Map) {
            let what = format!("{} has no items", range.describe());
            self.mismatch(&what, "loop over a list or a map");
        }
        self.n_loops += 1;
        if self.n_loops > LOOPS_MAX {
            let what = format!("nests more than {LOOPS_MAX} loops");
            let hint = "let a task decide, and look at its output here";
            self.fault_of(ErrorCode::TooDeep, what, hint);
        }
        let first = self.kind(&it.accu_init);
        let n_variables = self.variables.len();
        for name in [Some(&it.iter_var), it.iter_var2.as_ref(), Some(&it.accu_var)] {
            let Some(name) = name else { continue };
            if ROOTS.contains(&name.as_str())
                || OUTPUT_ROOTS.contains(&name.as_str()) && self.about == About::Output
            {
                let what = format!("names the variable of a loop {name:?}, which means another");
                self.fault(what, "choose another name");
            }
            self.variables.push(name.clone());
        }
        self.kind(&it.loop_cond);
        self.kind(&it.loop_step);
        let result = self.kind(&it.result);
        self.variables.truncate(n_variables);
        self.n_loops -= 1;
        if result == Kind::Any { first } else { result }
    }
}

impl Kind {
    /// A status is a text like others, but where it is compared with words.
    fn plain(self) -> Self {
        if self == Self::Status { Self::Text } else { self }
    }

    fn describe(self) -> &'static str {
        match self {
            Self::Any => "a value",
            Self::Bool => "true or false",
            Self::Number => "a number",
            Self::Text => "a string",
            Self::Status => "the status of a task",
            Self::Null => "null",
            Self::List => "a list",
            Self::Map => "a map",
        }
    }
}

fn kind_of_literal(literal: &LiteralValue) -> Kind {
    match literal {
        LiteralValue::Boolean(_) => Kind::Bool,
        LiteralValue::Double(_) | LiteralValue::Int(_) | LiteralValue::UInt(_) => Kind::Number,
        LiteralValue::Null => Kind::Null,
        LiteralValue::String(_) | LiteralValue::Bytes(_) => Kind::Text,
    }
}

fn statuses() -> [&'static str; 6] {
    [
        TaskStatus::Pending,
        TaskStatus::Running,
        TaskStatus::Success,
        TaskStatus::Error,
        TaskStatus::Skipped,
        TaskStatus::Cancelled,
    ]
    .map(TaskStatus::as_str)
}
