//! What is read from Python source.

use std::fmt::Write as _;

use expect_test::{Expect, expect};
use tokio_util::sync::CancellationToken;

use super::{Outline, Source};

fn parse(text: &str) -> Source {
    Source::parse(text.to_owned(), &CancellationToken::new()).unwrap()
}

#[track_caller]
fn check(text: &str, expected: &Expect) {
    let source = parse(text);
    let outline = Outline::of(&source);
    let mut got = String::new();
    for it in &outline.classes {
        let fields = it.fields.iter().map(|it| (it.name.as_str(), it.annotation.as_deref()));
        let fields: Vec<_> = fields.collect();
        writeln!(got, "class {} {:?} {:?} {fields:?}", it.name, it.bases, it.docstring).unwrap();
    }
    for it in &outline.functions {
        let params = it.params.iter().map(|it| (it.name.as_str(), it.annotation.as_deref()));
        let params: Vec<_> = params.collect();
        let (name, lines) = (it.full_name(), (it.line, it.end_line));
        let kind = if it.is_async { "async def" } else { "def" };
        writeln!(got, "{kind} {name} {params:?} -> {:?} {:?}", it.returns, it.docstring).unwrap();
        let (complexity, loops) = (it.complexity, it.loop_depth);
        writeln!(got, "  lines {lines:?} complexity {complexity} loops {loops}").unwrap();
    }
    for it in &outline.imports {
        writeln!(got, "import {} {:?}", it.module, it.names).unwrap();
    }
    for it in outline.calls.iter().filter(|it| it.loop_depth > 0) {
        writeln!(got, "call in a loop: {} at {}", it.callee, it.line).unwrap();
    }
    for it in &outline.smells {
        writeln!(got, "{it:?}").unwrap();
    }
    if !outline.any_lines.is_empty() {
        writeln!(got, "Any at {:?}", outline.any_lines).unwrap();
    }
    for it in source.syntax_errors() {
        writeln!(got, "{}:{} {}", it.line, it.column, it.message).unwrap();
    }
    expected.assert_eq(&got);
}

#[test]
fn definitions_are_read_with_their_types() {
    check(
        r#"
import os, json as j
from ..shared.db import connect, close as shut
from typing import Any

class ModelUser(pydantic.BaseModel, extra="forbid"):
    """A user."""
    name: str
    tags: list[str] = []
    model_config = ConfigDict()

    async def save(self, db: Any, *, n=[], **rest: int) -> None:
        'Saves.'
        def inner(): pass

def f(x, /): return x
"#,
        &expect![[r#"
            class ModelUser ["pydantic.BaseModel"] Some("A user.") [("name", Some("str")), ("tags", Some("list[str]")), ("model_config", None)]
            async def ModelUser.save [("self", None), ("db", Some("Any")), ("n", None), ("**rest", Some("int"))] -> Some("None") Some("Saves.")
              lines (12, 14) complexity 1 loops 0
            def inner [] -> None None
              lines (14, 14) complexity 1 loops 0
            def f [("x", None)] -> None None
              lines (16, 16) complexity 1 loops 0
            import os []
            import json []
            import ..shared.db ["connect", "close"]
            import typing ["Any"]
            MutableDefault(12)
            Any at [4, 12]
        "#]],
    );
}

#[test]
fn branches_and_loops_are_counted_where_they_stand() {
    check(
        r"
def f(users, db):
    for user in users:
        if user.active and user.name or user.admin:
            while True:
                db.query(user)
        elif user.old:
            pass
    def g(it):
        return 1 if it else 2
    try:
        names = [u.name for u in users if u]
    except:
        raise
    except ValueError:
        ...
    match users:
        case 1: load()
        case _: pass
",
        &expect![[r#"
            def f [("users", None), ("db", None)] -> None None
              lines (2, 19) complexity 13 loops 2
            def g [("it", None)] -> None None
              lines (9, 10) complexity 2 loops 0
            call in a loop: db.query at 6
            BareExcept(13)
            SwallowedException(15)
        "#]],
    );
}

#[test]
fn broken_source_is_located() {
    check(
        "def f(:\n    return 1\n\nclass A\n    x = 1\n",
        &expect![[r#"
            def f [] -> None None
              lines (1, 2) complexity 1 loops 0
            1:7 ) is missing
            4:1 unexpected "class A"
        "#]],
    );
    check(
        "x = (1,\n",
        &expect![[r#"
        1:1 unexpected "x = (1,"
    "#]],
    );
    check(
        "print 'no'\n)\n",
        &expect![[r#"
            1:1 a print statement is no longer Python
            2:1 unexpected ")"
        "#]],
    );
}

#[test]
fn hostile_nesting_needs_no_stack() {
    let depth = 20_000;
    let source = parse(&format!("x = {}{}\n", "(".repeat(depth), ")".repeat(depth)));
    assert_eq!(source.syntax_errors(), []);
    assert!(Outline::of(&source).functions.is_empty());
    let source = parse(&"if x:\n".repeat(1_000));
    assert!(source.syntax_errors().len() <= 20);
}

#[test]
fn hostile_names_are_kept_in_part() {
    let chain = format!("x{}\n", ".a()".repeat(10_000));
    let calls = Outline::of(&parse(&chain)).calls;
    assert!(calls.iter().all(|it| it.callee.len() <= 200 && it.name() == "a"));
    let class = format!("class {}:\n{}", "x".repeat(9_000), "  def f(): ...\n".repeat(100));
    let functions = Outline::of(&parse(&class)).functions;
    assert!(functions.iter().all(|it| it.full_name().chars().count() <= 203));
}

#[test]
fn a_caller_who_gave_up_stops_the_parser() {
    let stop = CancellationToken::new();
    stop.cancel();
    assert!(Source::parse("x = [1, 2, 3]\n".repeat(50_000), &stop).is_err());
}
