//! What a tool's answer means: the agent's output, or why it failed.

use rmcp::model::{CallToolResult, ContentBlock};
use serde_json::{Map, Value};

use super::UpstreamError;
use crate::model::{Failure, FailureCode, Usage};

/// Reads an agent's output from a tool's result; strings are not changed.
///
/// Structured content counts before text, text that is JSON counts as JSON. A lone `result` that
/// holds JSON as text, as `FastMCP` wraps it, is unwrapped. Besides `isError`, an object with
/// `success: false` is a failure: Archon tells its own that way.
///
/// What the agent used comes besides, also of a failure: from the `usage` of its answer, or of the
/// result's `_meta`.
pub fn decode(result: CallToolResult) -> (Result<Value, Failure>, Option<Usage>) {
    let is_error = result.is_error == Some(true);
    let in_meta = result.meta.as_ref().and_then(|it| Usage::of_fields(&it.0));
    let value = match result.structured_content {
        Some(structured) if !structured.is_null() => unwrap_result(structured),
        _ => read_content(&result.content),
    };
    let usage = Usage::of_output(&value).or(in_meta);
    if is_error || is_unsuccessful(&value) {
        (Err(read_failure(&value)), usage)
    } else {
        (Ok(value), usage)
    }
}

/// Unwraps `{"result": "<JSON text of an object or a list>"}`.
fn unwrap_result(value: Value) -> Value {
    let lone = value.as_object().filter(|it| it.len() == 1).and_then(|it| it.get("result"));
    let inner = lone.and_then(Value::as_str).and_then(|it| serde_json::from_str(it).ok());
    match inner {
        Some(inner @ (Value::Object(_) | Value::Array(_))) => inner,
        _ => value,
    }
}

/// Joins text blocks and reads them as JSON where they are; other blocks stay as they came.
fn read_content(blocks: &[ContentBlock]) -> Value {
    if !blocks.iter().all(|it| it.as_text().is_some()) {
        return serde_json::to_value(blocks).unwrap_or_default();
    }
    let texts: Vec<_> = blocks.iter().filter_map(|it| Some(it.as_text()?.text.as_str())).collect();
    let text = texts.join("\n");
    match serde_json::from_str(&text) {
        Ok(value) => unwrap_result(value),
        Err(_) => Value::String(text),
    }
}

fn is_unsuccessful(value: &Value) -> bool {
    value.get("success").and_then(Value::as_bool) == Some(false)
}

/// Reads `{"error": "…"}`, `{"error": {"code", "message"}}`, `{"message": "…"}`, or plain text.
fn read_failure(value: &Value) -> Failure {
    let fields = value.as_object();
    let error = fields.and_then(|it| it.get("error"));
    let details = error.and_then(Value::as_object).or(fields);
    let code = details.and_then(|it| it.get("code")).and_then(Value::as_str);
    let kind = match code {
        Some("check_failed") => FailureCode::CheckFailed,
        Some("rate_limited") => FailureCode::RateLimited,
        _ => FailureCode::AgentError,
    };
    let message = match error {
        Some(Value::String(it)) if !it.is_empty() => Some(it.as_str()),
        _ => details.and_then(read_message),
    };
    let message = message.map_or_else(|| read_rest(value), str::to_owned);
    let retry_after = details.and_then(|it| it.get("retry_after_ms")).and_then(Value::as_u64);
    let failure = Failure::from(UpstreamError::new(kind, &message));
    failure.retry_after(retry_after.filter(|_| kind == FailureCode::RateLimited))
}

fn read_message(fields: &Map<String, Value>) -> Option<&str> {
    let keys = ["message", "detail", "reason"].into_iter();
    keys.filter_map(|it| fields.get(it)?.as_str()).find(|it| !it.is_empty())
}

fn read_rest(value: &Value) -> String {
    let text = match value.as_str() {
        Some(text) => text.trim().to_owned(),
        None if value.is_null() => String::new(),
        None => value.to_string(),
    };
    if text.is_empty() { "the agent failed and did not say why".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(result: Value, expected: &Expect) {
        let got = match decode(serde_json::from_value(result).unwrap()).0 {
            Ok(output) => output.to_string(),
            Err(failure) => format!("{}: {}", failure.code.as_str(), failure.message),
        };
        expected.assert_eq(&got);
    }

    fn text(text: &str) -> Value {
        json!({ "type": "text", "text": text })
    }

    #[test]
    fn structured_content_counts_first() {
        check(
            json!({ "content": [text("ignored")], "structuredContent": { "a": 1, "b": " x " } }),
            &expect![[r#"{"a":1,"b":" x "}"#]],
        );
        check(
            json!({ "content": [], "structuredContent": { "result": "{\"ok\": [1]}" } }),
            &expect![[r#"{"ok":[1]}"#]],
        );
        check(
            json!({ "content": [], "structuredContent": { "result": "just words" } }),
            &expect![[r#"{"result":"just words"}"#]],
        );
        check(
            json!({ "content": [], "structuredContent": { "result": "[1]", "n": 2 } }),
            &expect![[r#"{"result":"[1]","n":2}"#]],
        );
    }

    #[test]
    fn text_is_read_as_json_where_it_is() {
        check(json!({ "content": [text("{\"a\":"), text("1}")] }), &expect![[r#"{"a":1}"#]]);
        check(
            json!({ "content": [text("line 1\n"), text("line 2")] }),
            &expect![[r#""line 1\n\nline 2""#]],
        );
        check(
            json!({ "content": [text("{\"success\": true}")], "structuredContent": null }),
            &expect![[r#"{"success":true}"#]],
        );
        check(json!({ "content": [] }), &expect![[r#""""#]]);
    }

    #[test]
    fn other_content_stays_as_it_came() {
        check(
            json!({ "content": [text("see"), { "type": "image", "data": "A", "mimeType": "b" }] }),
            &expect![[
                r#"[{"type":"text","text":"see"},{"type":"image","data":"A","mimeType":"b"}]"#
            ]],
        );
    }

    #[test]
    fn failures_say_why() {
        let failed = |content: &str| json!({ "content": [text(content)], "isError": true });
        check(failed("no such file "), &expect!["agent_error: no such file"]);
        check(failed(r#"{"error": "boom"}"#), &expect!["agent_error: boom"]);
        check(
            failed(r#"{"error": {"message": "tests are missing", "code": "check_failed"}}"#),
            &expect!["check_failed: tests are missing"],
        );
        check(failed(""), &expect!["agent_error: the agent failed and did not say why"]);
        check(failed(r#"{"n": 1}"#), &expect![[r#"agent_error: {"n":1}"#]]);
        check(
            json!({ "content": [], "structuredContent": { "message": "m" }, "isError": true }),
            &expect!["agent_error: m"],
        );
    }

    #[test]
    fn success_false_is_a_failure_whatever_is_error_says() {
        let archon = json!({ "success": false, "error": "Project not found" }).to_string();
        check(
            json!({ "content": [text(&archon)], "structuredContent": { "result": archon },
                    "isError": false }),
            &expect!["agent_error: Project not found"],
        );
        check(
            json!({ "content": [text(r#"{"success": false, "message": "later"}"#)] }),
            &expect!["agent_error: later"],
        );
    }

    #[test]
    fn usage_comes_from_the_answer_or_from_beside_it_also_of_failures() {
        let usage = |result: Value| {
            let usage = decode(serde_json::from_value(result).unwrap()).1;
            usage.and_then(|it| it.tokens())
        };
        let used = |n: u64| json!({ "usage": { "total_tokens": n } });
        assert_eq!(usage(json!({ "content": [], "structuredContent": used(5) })), Some(5));
        assert_eq!(usage(json!({ "content": [text(&used(6).to_string())] })), Some(6));
        let meta = json!({ "content": [text("done")], "_meta": used(7) });
        assert_eq!(usage(meta), Some(7));
        let failed = json!({ "content": [text("no")], "_meta": used(8), "isError": true });
        assert_eq!(usage(failed), Some(8));
        assert_eq!(usage(json!({ "content": [text("done")] })), None);
    }

    #[test]
    fn what_an_agent_says_is_made_safe_to_show() {
        check(
            json!({ "content": [text("bad \u{1b}[31m sk-abcdefghij0123456789")], "isError": true }),
            &expect![[r"agent_error: bad \u{1b}[31m [redacted]"]],
        );
    }
}
