//! Snapshots of what expressions are refused for, and of what they come to.

use expect_test::{Expect, expect};
use serde_json::{Map, Value, json};

use super::*;
use crate::model::TaskStatus;

/// Reads and evaluates an expression over the tasks `a`, which answered, `b`, which was skipped,
/// and `gen-x`, which failed.
fn show(source: &str) -> String {
    let faults = |found: Vec<ConditionFault>| {
        let lines: Vec<_> = found
            .iter()
            .map(|it| format!("{}: {}\n  hint: {}", it.code.as_str(), it.what, it.hint))
            .collect();
        lines.join("\n")
    };
    match Condition::read(source) {
        Err(found) => faults(found),
        Ok(condition) => match evaluate(&condition, &output()) {
            Ok(answer) => answer.to_string(),
            Err(failure) => format!("{}: {}", failure.code.as_str(), failure.message),
        },
    }
}

fn output() -> Value {
    json!({
        "score": 1, "ratio": 0.75, "big": u64::MAX, "ok": true, "text": "fine", "none": null,
        "findings": [{"severity": "low", "lines": [1, 2]}, {"severity": "high", "lines": [3]}],
    })
}

fn evaluate(condition: &Condition, a: &Value) -> Result<bool, crate::model::Failure> {
    let tasks = condition.tasks().map(|(id, has_output)| {
        let (status, output) = match id {
            "a" => (TaskStatus::Success, Some(a.to_string())),
            "b" => (TaskStatus::Skipped, None),
            _ => (TaskStatus::Error, None),
        };
        (id.to_owned(), status, output.filter(|_| has_output))
    });
    let input = Map::from_iter([("node_type".to_owned(), json!("Effect"))]);
    let config = json!({"max_workers": 5, "timeout_seconds": 300.0, "on_failure": "continue"});
    condition.evaluate(Facts { tasks: tasks.collect(), output: None, input: &input, config })
}

#[track_caller]
fn check_all(sources: &[&str], expected: &Expect) {
    let lines: Vec<_> = sources.iter().map(|it| format!("{it}  =>  {}", show(it))).collect();
    expected.assert_eq(&lines.join("\n"));
}

#[test]
fn conditions_look_at_outputs_statuses_input_and_config() {
    check_all(
        &[
            "tasks.a.output.score >= 0.8",
            "tasks.a.output.score == 1 && tasks.a.output.score + 1 == 2",
            "tasks.a.output.ratio < 1",
            "tasks.a.output.big > 5",
            "tasks.a.output.ok",
            "!tasks.a.output.ok || tasks.a.output.text.startsWith('fi')",
            "tasks.a.output.text.contains('in') && tasks.a.output.text.endsWith('e')",
            "tasks.a.output[\"findings\"][1].severity == 'high'",
            "size(tasks.a.output.findings) == tasks.a.output.findings.size()",
            "tasks.b.output == null && tasks.b.status == 'skipped'",
            "tasks[\"gen-x\"].status in ['error', 'cancelled']",
            "has(tasks.a.output.score) && !has(tasks.a.output.scores)",
            "input.node_type == 'Effect' && config.max_workers > 3",
            "config.timeout_seconds == 300",
            "tasks.a.output.none == null",
            "(tasks.a.output.ok ? 1 : 2) == 1",
            "string(tasks.a.output.score) == '1' && int('7') > 6 && double('0.5') < 1.0",
            "dyn(tasks.a.output.text) == 'fine'",
            "'text' in tasks.a.output",
            &format!("{} == 29", ["1"; 29].join("+")),
        ],
        &expect![[r#"
            tasks.a.output.score >= 0.8  =>  true
            tasks.a.output.score == 1 && tasks.a.output.score + 1 == 2  =>  true
            tasks.a.output.ratio < 1  =>  true
            tasks.a.output.big > 5  =>  true
            tasks.a.output.ok  =>  true
            !tasks.a.output.ok || tasks.a.output.text.startsWith('fi')  =>  true
            tasks.a.output.text.contains('in') && tasks.a.output.text.endsWith('e')  =>  true
            tasks.a.output["findings"][1].severity == 'high'  =>  true
            size(tasks.a.output.findings) == tasks.a.output.findings.size()  =>  true
            tasks.b.output == null && tasks.b.status == 'skipped'  =>  true
            tasks["gen-x"].status in ['error', 'cancelled']  =>  true
            has(tasks.a.output.score) && !has(tasks.a.output.scores)  =>  true
            input.node_type == 'Effect' && config.max_workers > 3  =>  true
            config.timeout_seconds == 300  =>  true
            tasks.a.output.none == null  =>  true
            (tasks.a.output.ok ? 1 : 2) == 1  =>  true
            string(tasks.a.output.score) == '1' && int('7') > 6 && double('0.5') < 1.0  =>  true
            dyn(tasks.a.output.text) == 'fine'  =>  true
            'text' in tasks.a.output  =>  true
            1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1 == 29  =>  true"#]],
    );
}

#[test]
fn loops_go_over_lists() {
    check_all(
        &[
            "tasks.a.output.findings.exists(it, it.severity == 'high')",
            "tasks.a.output.findings.all(it, it.severity == 'high')",
            "tasks.a.output.findings.exists_one(it, it.severity == 'high')",
            "tasks.a.output.findings.filter(it, it.severity == 'low').size() == 1",
            "tasks.a.output.findings.map(it, it.severity) == ['low', 'high']",
            "tasks.a.output.findings.exists(it, it.lines.exists(line, line == 3))",
        ],
        &expect![[r"
            tasks.a.output.findings.exists(it, it.severity == 'high')  =>  true
            tasks.a.output.findings.all(it, it.severity == 'high')  =>  false
            tasks.a.output.findings.exists_one(it, it.severity == 'high')  =>  true
            tasks.a.output.findings.filter(it, it.severity == 'low').size() == 1  =>  true
            tasks.a.output.findings.map(it, it.severity) == ['low', 'high']  =>  true
            tasks.a.output.findings.exists(it, it.lines.exists(line, line == 3))  =>  true"]],
    );
}

#[test]
fn what_cannot_be_evaluated_says_why() {
    check_all(
        &[
            "tasks.a.output.scores > 1",
            "tasks.b.output.score > 1",
            "tasks.a.output.text > 1",
            "tasks.a.output.text",
            "tasks.a.output.score / 0 == 1",
            "tasks.a.output.findings[7].severity == 'low'",
            "int(tasks.a.output.text) == 1",
            "tasks.a.output.score.exists(it, it)",
        ],
        &expect![[r#"
            tasks.a.output.scores > 1  =>  condition_error: the condition cannot be evaluated: there is no "scores"; guard it with has(…)
            tasks.b.output.score > 1  =>  condition_error: the condition cannot be evaluated: what it asks for a field is null, as is the output of a task without one; compare it with null first
            tasks.a.output.text > 1  =>  condition_error: the condition cannot be evaluated: found no matching overload for '_>_' applied to '(string, int)'
            tasks.a.output.text  =>  condition_error: the condition cannot be evaluated: it is a string, not true or false
            tasks.a.output.score / 0 == 1  =>  condition_error: the condition cannot be evaluated: Division by zero of Int(1)
            tasks.a.output.findings[7].severity == 'low'  =>  condition_error: the condition cannot be evaluated: Index out of bounds: Int(7)
            int(tasks.a.output.text) == 1  =>  condition_error: the condition cannot be evaluated: Error executing function 'int': string parse error: invalid digit found in string
            tasks.a.output.score.exists(it, it)  =>  condition_error: the condition cannot be evaluated: Unexpected type: got 'int', want 'iterable'"#]],
    );
}

#[test]
fn what_does_not_parse_is_refused() {
    check_all(
        &[
            "1 +",
            "",
            "tasks.a.output.ok &&",
            "a b",
            "'open",
            "tasks.a.output ok",
            "if x",
            "x = 1",
            "💥",
        ],
        &expect![[r#"
            1 +  =>  invalid_expression: does not parse at column 4: mismatched input '<EOF>' expecting expression
              hint: write an expression as tasks.ID.output.score >= 0.8 && tasks.ID.status == "success"
              =>  invalid_expression: does not parse: mismatched input '<EOF>' expecting expression
              hint: write an expression as tasks.ID.output.score >= 0.8 && tasks.ID.status == "success"
            tasks.a.output.ok &&  =>  invalid_expression: does not parse at column 21: mismatched input '<EOF>' expecting expression
              hint: write an expression as tasks.ID.output.score >= 0.8 && tasks.ID.status == "success"
            a b  =>  invalid_expression: does not parse at column 3: mismatched input 'b' expecting <EOF>
              hint: write an expression as tasks.ID.output.score >= 0.8 && tasks.ID.status == "success"
            'open  =>  invalid_expression: does not parse at column 1: unterminated string literal
              hint: write an expression as tasks.ID.output.score >= 0.8 && tasks.ID.status == "success"
            tasks.a.output ok  =>  invalid_expression: does not parse at column 16: mismatched input 'ok' expecting <EOF>
              hint: write an expression as tasks.ID.output.score >= 0.8 && tasks.ID.status == "success"
            if x  =>  invalid_expression: does not parse at column 1: reserved identifier: if
              hint: write an expression as tasks.ID.output.score >= 0.8 && tasks.ID.status == "success"
            x = 1  =>  invalid_expression: does not parse at column 3: mismatched input '=' expecting <EOF>
              hint: write an expression as tasks.ID.output.score >= 0.8 && tasks.ID.status == "success"
            💥  =>  invalid_expression: does not parse at column 1: unexpected character
              hint: write an expression as tasks.ID.output.score >= 0.8 && tasks.ID.status == "success""#]],
    );
}

#[test]
fn what_it_may_name_is_known() {
    check_all(
        &[
            "task.a.output",
            "outputs.a",
            "tasks",
            "tasks.a",
            "tasks.a.result == 1",
            "tasks.a.ouput == 1",
            "tasks['a'] == 1",
            "tasks[input.x].output",
            "tasks.gen-x.status == 'error'",
            "tasks.exists(it, it == 1)",
            "tasks.a['output']",
            "config.max_worker > 1",
            "config.trace_dir == 'x'",
            "input.list.exists(tasks, tasks.a)",
            "tasks.a.status == 'sucess'",
            "'done' != tasks.a.status",
            ".tasks.a.output",
        ],
        &expect![[r#"
            task.a.output  =>  invalid_expression: names "task", which is unknown; did you mean "tasks"?
              hint: name tasks, input or config; an id with dots or dashes is written tasks["ID"]
            outputs.a  =>  invalid_expression: names "outputs", which is unknown
              hint: name tasks, input or config; an id with dots or dashes is written tasks["ID"]
            tasks  =>  invalid_expression: must name a task after "tasks", and what of it is meant
              hint: write tasks.ID.output or tasks.ID.status; an id with dots or dashes is written tasks["ID"]
            tasks.a  =>  invalid_expression: does not say what of task "a" is meant
              hint: write tasks.ID.output or tasks.ID.status; an id with dots or dashes is written tasks["ID"]
            tasks.a.result == 1  =>  invalid_expression: asks for "result" of task "a", which has none
              hint: write tasks.ID.output or tasks.ID.status; an id with dots or dashes is written tasks["ID"]
            tasks.a.ouput == 1  =>  invalid_expression: asks for "ouput" of task "a", which has none; did you mean "output"?
              hint: write tasks.ID.output or tasks.ID.status; an id with dots or dashes is written tasks["ID"]
            tasks['a'] == 1  =>  invalid_expression: does not say what of a task is meant
              hint: write tasks.ID.output or tasks.ID.status; an id with dots or dashes is written tasks["ID"]
            tasks[input.x].output  =>  invalid_expression: does not say what of a task is meant
              hint: write tasks.ID.output or tasks.ID.status; an id with dots or dashes is written tasks["ID"]
            tasks.gen-x.status == 'error'  =>  invalid_expression: does not say what of task "gen" is meant
              hint: write tasks.ID.output or tasks.ID.status; an id with dots or dashes is written tasks["ID"]
            invalid_expression: names "x", which is unknown
              hint: name tasks, input or config; an id with dots or dashes is written tasks["ID"]
            tasks.exists(it, it == 1)  =>  invalid_expression: must name a task after "tasks", and what of it is meant
              hint: write tasks.ID.output or tasks.ID.status; an id with dots or dashes is written tasks["ID"]
            tasks.a['output']  =>  invalid_expression: does not say what of a task is meant
              hint: write tasks.ID.output or tasks.ID.status; an id with dots or dashes is written tasks["ID"]
            config.max_worker > 1  =>  invalid_expression: asks for "max_worker" of config, which has none; did you mean "max_workers"?
              hint: config has max_workers, timeout_seconds, on_failure, enable_context
            config.trace_dir == 'x'  =>  invalid_expression: asks for "trace_dir" of config, which has none
              hint: config has max_workers, timeout_seconds, on_failure, enable_context
            input.list.exists(tasks, tasks.a)  =>  invalid_expression: names the variable of a loop "tasks", which means another
              hint: choose another name
            tasks.a.status == 'sucess'  =>  invalid_expression: compares a status with "sucess", which none is; did you mean "success"?
              hint: a status is one of pending, running, success, error, skipped, cancelled
            'done' != tasks.a.status  =>  invalid_expression: compares a status with "done", which none is
              hint: a status is one of pending, running, success, error, skipped, cancelled
            .tasks.a.output  =>  invalid_expression: names ".tasks", which is unknown; did you mean "tasks"?
              hint: name tasks, input or config; an id with dots or dashes is written tasks["ID"]"#]],
    );
}

#[test]
fn functions_are_known() {
    check_all(
        &[
            "matches(input.x, 'a')",
            "input.x.matches('a')",
            "contain(input.x)",
            "input.x.contain('a')",
            "size(input.x, 1) == 1",
            "timestamp(input.x) == 1",
            "Foo{a: 1}.a",
        ],
        &expect![[r#"
            matches(input.x, 'a')  =>  invalid_expression: calls "matches", which is unknown
              hint: there are size, contains, startsWith, endsWith, string, int, double, dyn, has, all, exists, exists_one, filter and map
            input.x.matches('a')  =>  invalid_expression: calls "matches", which is unknown
              hint: there are size, contains, startsWith, endsWith, string, int, double, dyn, has, all, exists, exists_one, filter and map
            contain(input.x)  =>  invalid_expression: calls "contain", which is unknown; did you mean "contains"?
              hint: there are size, contains, startsWith, endsWith, string, int, double, dyn, has, all, exists, exists_one, filter and map
            input.x.contain('a')  =>  invalid_expression: calls "contain", which is unknown; did you mean "contains"?
              hint: there are size, contains, startsWith, endsWith, string, int, double, dyn, has, all, exists, exists_one, filter and map
            size(input.x, 1) == 1  =>  invalid_expression: calls "size" with other arguments than it takes
              hint: write size(value)
            timestamp(input.x) == 1  =>  invalid_expression: calls "timestamp", which is unknown
              hint: there are size, contains, startsWith, endsWith, string, int, double, dyn, has, all, exists, exists_one, filter and map
            Foo{a: 1}.a  =>  invalid_expression: makes a message, and there are no types of messages here
              hint: write a map as {"key": value}"#]],
    );
}

#[test]
fn what_cannot_be_true_or_false_is_refused() {
    check_all(
        &[
            "'true'",
            "1",
            "1 + input.x",
            "tasks.a.status",
            "input",
            "[1]",
            "{'a': 1}",
            "null",
            "input.x && 1",
            "!'a'",
            "'a' < 1",
            "'a' + 1 == 'a1'",
            "'a' - 1 == 2",
            "'a'.b",
            "'abc'.exists(it, it)",
            "input.list.map(it, it)",
            "1 ? true : false",
            "true ? 1 : 2",
            "tasks.a.status > 1",
        ],
        &expect![[r#"
            'true'  =>  invalid_expression: does not type-check: it is a string, not true or false
              hint: compare it with something, so that it is true or false
            1  =>  invalid_expression: does not type-check: it is a number, not true or false
              hint: compare it with something, so that it is true or false
            1 + input.x  =>  invalid_expression: does not type-check: it is a number, not true or false
              hint: compare it with something, so that it is true or false
            tasks.a.status  =>  invalid_expression: does not type-check: it is the status of a task, not true or false
              hint: compare it with something, so that it is true or false
            input  =>  invalid_expression: does not type-check: it is a map, not true or false
              hint: compare it with something, so that it is true or false
            [1]  =>  invalid_expression: does not type-check: it is a list, not true or false
              hint: compare it with something, so that it is true or false
            {'a': 1}  =>  invalid_expression: does not type-check: it is a map, not true or false
              hint: compare it with something, so that it is true or false
            null  =>  invalid_expression: does not type-check: it is null, not true or false
              hint: compare it with something, so that it is true or false
            input.x && 1  =>  invalid_expression: does not type-check: a number stands where true or false must
              hint: compare it with something
            !'a'  =>  invalid_expression: does not type-check: a string stands where true or false must
              hint: compare it with something
            'a' < 1  =>  invalid_expression: does not type-check: a string is not comparable to a number
              hint: compare numbers with numbers and strings with strings
            'a' + 1 == 'a1'  =>  invalid_expression: does not type-check: a number cannot be added to a string
              hint: convert one of them with string(…), int(…) or double(…)
            'a' - 1 == 2  =>  invalid_expression: does not type-check: a string stands where a number must
              hint: convert it with int(…) or double(…)
            'a'.b  =>  invalid_expression: does not type-check: a string has no field "b"
              hint: ask for fields of maps only
            'abc'.exists(it, it)  =>  invalid_expression: does not type-check: a string has no items
              hint: loop over a list or a map
            input.list.map(it, it)  =>  invalid_expression: does not type-check: it is a list, not true or false
              hint: compare it with something, so that it is true or false
            1 ? true : false  =>  invalid_expression: does not type-check: a number stands where true or false must
              hint: compare it with something
            true ? 1 : 2  =>  invalid_expression: does not type-check: it is a number, not true or false
              hint: compare it with something, so that it is true or false
            tasks.a.status > 1  =>  invalid_expression: does not type-check: a string is not comparable to a number
              hint: compare numbers with numbers and strings with strings"#]],
    );
}

#[test]
fn what_would_take_long_is_refused_before_it_is_read() {
    for source in [
        "a".repeat(4_000) + &"[0]".repeat(400),
        "(".repeat(40),
        "input.a.map(x, input.b.map(y, input.c.map(z, z)))".to_owned(),
        ["true"; 200].join("?true:"),
        ["1"; 800].join(" in "),
        "[".repeat(40),
        vec!["1"; 40].join("+") + " == 1",
        vec!["1"; 400].join("+") + " == 1",
    ] {
        let faults = Condition::read(&source).unwrap_err();
        let is_limit =
            |it: &ConditionFault| matches!(it.code, ErrorCode::LimitExceeded | ErrorCode::TooDeep);
        assert!(faults.iter().any(is_limit), "{source:.40}: {faults:?}");
    }
}

#[test]
fn what_would_take_long_is_refused_before_it_is_evaluated() {
    let list = |n: u64| json!({ "list": (0..n).collect::<Vec<_>>(), "text": "x".repeat(100_000) });
    let answer = |source: &str, output: &Value| {
        let source = source.replace('$', "tasks.a.output");
        let condition = Condition::read(&source).unwrap_or_else(|it| panic!("{source}: {it:?}"));
        evaluate(&condition, output)
    };
    let many = list(20_000);
    for (source, output) in [
        ("$.list.all(x, x >= 0)", &many),
        ("$.list.filter(x, x > 10).size() > 10", &many),
        ("$.list.exists(x, $.list.size() > x)", &list(1_000)),
        ("$.list.all(x, $.list.exists(y, x + 1 > 5 || y == 7))", &list(400)),
    ] {
        assert_eq!(answer(source, output), Ok(true), "{source}");
    }
    for (source, output) in [
        ("$.list.all(x, $.list.exists(y, y == x))", &list(2_000)),
        ("$.list.map(x, $.text + 'x').size() > 1", &many),
        ("$.list.map(x, $.text).size() > 1", &many),
        ("$.list.exists(x, $ == x)", &many),
        ("$.list.exists(x, {'a': $.text}.a == '')", &many),
        ("($.list + $.list + $.list).all(x, $.list.all(y, y == 1))", &list(500)),
        ("$.text == 'x'", &json!({ "text": "x".repeat(5 << 20) })),
    ] {
        let failure = answer(source, output).unwrap_err();
        assert_eq!(failure.code, crate::model::FailureCode::ConditionError);
        assert!(failure.message.contains("at most"), "{source}: {}", failure.message);
    }
}

#[test]
fn no_text_makes_the_reader_or_the_evaluation_panic() {
    let seeds = [
        "tasks.a.output.score >= 0.8 && tasks['gen-x'].status == 'success'",
        "tasks.a.output.findings.exists(x, x.lines.map(y, y > 1, y + 1).size() > 2) ? true : false",
        "has(tasks.a.output.x) || {'a': [1, 2u, -3.5e1]} == {} || \"\\u00e9\" in [b'x', null]",
    ];
    let words = [
        "?",
        "[?",
        ".?",
        "\"",
        "'",
        "\\",
        "`b`",
        "@result",
        "💥",
        "9223372036854775808",
        "- ",
        "{",
        "}",
        "(",
        ")",
        "1e999",
        "%0",
        "/0",
        "x.all(",
        "\0",
        "Foo{",
        "r'",
        "0x",
        "..",
        "[",
    ];
    // Any sequence will do, as long as it is always the same.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(state >> 33).unwrap() % n
    };
    let mut n_read = 0;
    for _ in 0..4_000 {
        let mut text: Vec<char> = seeds[next(seeds.len())].chars().collect();
        for _ in 0..=next(3) {
            let from = next(text.len());
            let to = (from + next(4)).min(text.len());
            let word = if next(2) == 0 { words[next(words.len())] } else { "" };
            text.splice(from..to, word.chars());
            text.push(' ');
        }
        if let Ok(condition) = Condition::read(&text.into_iter().collect::<String>()) {
            n_read += 1;
            let _answer = evaluate(&condition, &output());
        }
    }
    assert!(n_read > 200, "{n_read}");
}
