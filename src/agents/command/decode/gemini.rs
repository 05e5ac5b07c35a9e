//! Gemini CLI: `-o stream-json`, a line an event, or `-o json`, one object at the end.

use serde_json::{Map, Value, json};

use super::{
    super::process::Ended,
    Decode, Event, Kept, Reply,
    fault::{exited, failed, no_result},
    shown, text_of, to_event,
};
use crate::model::{Failure, FailureCode, Usage};

/// The exit code of an input that it does not take.
const BAD_INPUT: i32 = 42;
/// The exit code where it has made as many turns as it may.
const TURNS_EXCEEDED: i32 = 53;

/// What was read so far.
#[derive(Debug, Default)]
pub(super) struct Gemini {
    session: Option<String>,
    /// What the model said so far.
    response: String,
    /// What was said of a failure.
    error: Option<String>,
    /// The event of the type `result`.
    result: Option<Map<String, Value>>,
    others: Kept,
}

impl Gemini {
    fn take(&mut self, event: Map<String, Value>) -> Event {
        let kind = text_of(&event, "type").unwrap_or_default().to_owned();
        let said = match kind.as_str() {
            "init" => {
                self.session = text_of(&event, "session_id").map(str::to_owned);
                text_of(&event, "model").unwrap_or_default().to_owned()
            }
            "message" => self.message(&event),
            "tool_use" => {
                let name = text_of(&event, "tool_name").unwrap_or_default();
                format!("{name} {}", event.get("parameters").map(shown).unwrap_or_default())
            }
            "tool_result" => text_of(&event, "status").unwrap_or_default().to_owned(),
            "error" => {
                let said = text_of(&event, "message").unwrap_or_default().to_owned();
                // A warning is no failure.
                if text_of(&event, "severity") != Some("warning") {
                    self.error = Some(said.clone());
                }
                said
            }
            "result" => {
                let said = text_of(&event, "status").unwrap_or_default().to_owned();
                if let Some(error) = event.get("error") {
                    self.error = Some(error_of(error));
                }
                self.result = Some(event);
                said
            }
            _ => String::new(),
        };
        Event::new(&kind, &said)
    }

    fn message(&mut self, event: &Map<String, Value>) -> String {
        let said = text_of(event, "content").unwrap_or_default();
        if text_of(event, "role") != Some("assistant") {
            return String::new();
        }
        if event.get("delta").and_then(Value::as_bool) == Some(true) {
            self.response.push_str(said);
        } else {
            said.clone_into(&mut self.response);
        }
        said.to_owned()
    }

    /// Takes the one object that `-o json` writes.
    fn take_whole(&mut self, mut whole: Map<String, Value>) {
        self.session = text_of(&whole, "session_id").map(str::to_owned);
        self.error = whole.get("error").filter(|it| !it.is_null()).map(error_of);
        if let Some(response) = text_of(&whole, "response") {
            response.clone_into(&mut self.response);
        } else if self.error.is_none() {
            return;
        }
        if let Some(stats) = whole.remove("stats") {
            whole = Map::from_iter([("stats".to_owned(), stats)]);
        }
        self.result = Some(whole);
    }

    /// What was used, under the names that are common.
    fn usage(&self) -> Option<Value> {
        let stats = self.result.as_ref()?.get("stats")?;
        if let Some(Value::Object(models)) = stats.get("models") {
            return Some(sum(models));
        }
        stats.get("total_tokens").map(|total| {
            let field = |name: &str| stats.get(name).cloned().unwrap_or_default();
            json!({ "input_tokens": field("input_tokens"),
                "output_tokens": field("output_tokens"), "total_tokens": total })
        })
    }

    fn to_result(&self, ended: &Ended) -> Result<Value, Failure> {
        let status = self.result.as_ref().and_then(|it| text_of(it, "status"));
        if ended.code == TURNS_EXCEEDED {
            let message = format!(
                "it was not done after as many turns as it may make: {}",
                exited(ended).message
            );
            return Err(Failure::new(FailureCode::AgentError, message));
        }
        if let Some(said) = &self.error
            && (ended.code != 0 || status != Some("success"))
        {
            return Err(failed(said));
        }
        match (ended.code, &self.result) {
            (0, Some(_)) if status.is_none_or(|it| it == "success") => Ok(self.output()),
            (0, Some(_)) => Err(failed(status.unwrap_or_default())),
            (BAD_INPUT, _) => {
                let message = format!("it does not take this input: {}", exited(ended).message);
                Err(Failure::new(FailureCode::AgentError, message))
            }
            (0, None) => Err(no_result(ended, "an event of the type `result`, or a `response`")),
            (_, _) => Err(exited(ended)),
        }
    }

    fn output(&self) -> Value {
        let mut output = Map::from_iter([("result".to_owned(), self.response.as_str().into())]);
        if let Some(session) = &self.session {
            output.insert("session_id".to_owned(), session.as_str().into());
        }
        if let Some(usage) = self.usage() {
            output.insert("usage".to_owned(), usage);
        }
        Value::Object(output)
    }
}

impl Decode for Gemini {
    fn line(&mut self, line: &[u8]) -> Option<Event> {
        if let Some(event) = to_event(line) {
            return Some(self.take(event));
        }
        self.others.line(line);
        None
    }

    fn finish(mut self: Box<Self>, ended: &Ended) -> Reply {
        if self.result.is_none()
            && let Some(Value::Object(whole)) = self.others.json()
        {
            self.take_whole(whole);
        }
        let usage = self.usage().map(|it| json!({ "usage": it }));
        let usage = usage.as_ref().and_then(Usage::of_output);
        Reply { result: self.to_result(ended), usage }
    }
}

fn error_of(error: &Value) -> String {
    error.get("message").map_or_else(|| shown(error), shown)
}

/// What all models used together.
fn sum(models: &Map<String, Value>) -> Value {
    let tokens = |name: &str| -> u64 {
        let of = |it: &Value| it.get("tokens")?.get(name)?.as_u64();
        models.values().filter_map(of).fold(0, u64::saturating_add)
    };
    let output = tokens("candidates").saturating_add(tokens("thoughts"));
    json!({ "input_tokens": tokens("prompt"), "output_tokens": output,
        "total_tokens": tokens("total") })
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::{
        super::testing::{check, events, reply},
        *,
    };

    const STREAM: &str = r#"{"type":"init","timestamp":"2025-10-10T12:00:00.000Z","session_id":"abc123","model":"gemini-2.5-pro"}
{"type":"message","role":"user","content":"List files","timestamp":"2025-10-10T12:00:01.000Z"}
{"type":"tool_use","tool_name":"Bash","tool_id":"bash-123","parameters":{"command":"ls"},"timestamp":"2025-10-10T12:00:02.000Z"}
{"type":"tool_result","tool_id":"bash-123","status":"success","output":"a.txt","timestamp":"2025-10-10T12:00:03.000Z"}
{"type":"message","role":"assistant","content":"Here are ","delta":true,"timestamp":"2025-10-10T12:00:04.000Z"}
{"type":"message","role":"assistant","content":"the files.","delta":true,"timestamp":"2025-10-10T12:00:04.000Z"}
"#;
    const END: &str = r#"{"type":"result","status":"success","stats":{"total_tokens":250,"input_tokens":50,"output_tokens":200,"duration_ms":3000,"tool_calls":1},"timestamp":"2025-10-10T12:00:05.000Z"}"#;
    const WHOLE: &str = r#"{
  "session_id": "abc123",
  "response": "Rome.",
  "stats": {
    "models": {
      "gemini-2.5-flash": {
        "api": { "totalRequests": 1 },
        "tokens": { "prompt": 100, "candidates": 5, "total": 115, "cached": 0, "thoughts": 10, "tool": 0 }
      },
      "gemini-2.5-pro": {
        "tokens": { "prompt": 1, "candidates": 1, "total": 2 }
      }
    },
    "tools": {}
  }
}"#;

    #[test]
    fn pieces_of_the_answer_are_put_together() {
        check(
            reply(Gemini::default(), &format!("{STREAM}{END}\n"), (0, "")),
            &expect![[r#"
                {"result":"Here are the files.","session_id":"abc123","usage":{"input_tokens":50,"output_tokens":200,"total_tokens":250}}
                used {"input_tokens":50,"output_tokens":200,"total_tokens":250}"#]],
        );
    }

    #[test]
    fn one_object_is_read_too() {
        check(
            reply(Gemini::default(), WHOLE, (0, "")),
            &expect![[r#"
                {"result":"Rome.","session_id":"abc123","usage":{"input_tokens":101,"output_tokens":16,"total_tokens":117}}
                used {"input_tokens":101,"output_tokens":16,"total_tokens":117}"#]],
        );
    }

    #[test]
    fn failures_are_told_apart() {
        check(
            reply(
                Gemini::default(),
                r#"{"error": {"type": "ApiError", "message": "429 RESOURCE_EXHAUSTED", "code": 429}}"#,
                (1, ""),
            ),
            &expect!["rate_limited: the program failed: 429 RESOURCE_EXHAUSTED"],
        );
        let failed_end = r#"{"type":"result","status":"error","error":{"type":"Error","message":"no"},"stats":{"total_tokens":3,"input_tokens":2,"output_tokens":1}}"#;
        check(
            reply(Gemini::default(), &format!("{STREAM}{failed_end}"), (1, "")),
            &expect![[r#"
                agent_error: the program failed: no
                used {"input_tokens":2,"output_tokens":1,"total_tokens":3}"#]],
        );
        check(
            reply(Gemini::default(), STREAM, (53, "Reached max session turns")),
            &expect![
                "agent_error: it was not done after as many turns as it may make: the program ended with exit code 53: Reached max session turns"
            ],
        );
        check(
            reply(Gemini::default(), "", (42, "No input")),
            &expect![
                "agent_error: it does not take this input: the program ended with exit code 42: No input"
            ],
        );
        let warned = r#"{"type":"error","severity":"warning","message":"careful"}"#;
        let replied = reply(Gemini::default(), &format!("{warned}\n{STREAM}{END}"), (0, ""));
        assert!(replied.result.is_ok());
    }

    #[test]
    fn each_event_shows_what_happens() {
        expect![[r#"
            init: gemini-2.5-pro
            message: 
            tool_use: Bash {"command":"ls"}
            tool_result: success
            message: Here are 
            message: the files.
            result: success"#]]
        .assert_eq(&events(Gemini::default(), &format!("{STREAM}{END}")));
    }
}
