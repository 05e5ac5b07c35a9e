//! Questions for approval as the forms that clients show, and what is said in them.

use rmcp::model::{
    ElicitRequest, ElicitRequestParams, ElicitResult, ElicitationAction, ElicitationSchema,
    EnumSchema, InputRequest, InputRequests, InputResponses, PrimitiveSchemaDefinition,
    StringSchema,
};
use serde_json::Value;

use crate::{
    model::{DispatchId, text},
    plan::NOTE_CHARS_MAX,
    runtime::Question,
};

/// How many questions one answer holds; the others come after those are answered.
const QUESTIONS_MAX: usize = 20;
/// How many characters of JSON its questions have together, but for the first one.
const QUESTIONS_CHARS_MAX: usize = 30_000;

/// What a user says to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The decision, and what to say about it.
    Decided(String, Option<String>),
    /// No, without a decision.
    Declined,
    /// Nothing that could be understood, or that they will not say now.
    Nothing,
}

impl Verdict {
    /// Reads an answer to `question`: a stranger's word.
    pub(super) fn read(question: &Question, response: &Value) -> Self {
        let Ok(response) = serde_json::from_value::<ElicitResult>(response.clone()) else {
            return Self::Nothing;
        };
        let text = |name: &str| response.content.as_ref()?.get(name)?.as_str();
        if response.action == ElicitationAction::Decline {
            return Self::Declined;
        }
        let known = |it: &&str| question.decisions.iter().any(|known| known == it);
        let decision = text("decision").filter(known);
        let Some(decision) = decision.filter(|_| response.action == ElicitationAction::Accept)
        else {
            return Self::Nothing;
        };
        let note = text("note").map(|it| text::cut(it, NOTE_CHARS_MAX - 1));
        Self::Decided(decision.to_owned(), note.filter(|it| !it.is_empty()))
    }
}

/// The questions as a client is asked them, by their keys; the first of them where there are more
/// than one answer holds.
pub(super) fn requests(dispatch: DispatchId, questions: &[Question]) -> InputRequests {
    let mut requests = InputRequests::new();
    let mut n_chars = 0;
    for question in questions.iter().take(QUESTIONS_MAX) {
        let request = InputRequest::Elicitation(elicitation(dispatch, question));
        n_chars += serde_json::to_string(&request).map_or(0, |it| it.chars().count());
        if n_chars > QUESTIONS_CHARS_MAX && !requests.is_empty() {
            break;
        }
        requests.insert(key_of(question), request);
    }
    requests
}

/// What a client answered to `question`.
pub(super) fn response_to<'a>(
    question: &Question,
    responses: &'a InputResponses,
) -> Option<&'a Value> {
    responses.get(&key_of(question))
}

/// A task is asked about once, so this stands for one question as long as the dispatch is known.
fn key_of(question: &Question) -> String {
    format!("approval/{}", question.task_id)
}

/// One question as a form.
pub(super) fn elicitation(dispatch: DispatchId, question: &Question) -> ElicitRequest {
    let message = format!(
        "Task \"{}\" of dispatch {dispatch} waits for approval: {}",
        question.task_id, question.message
    );
    let params = ElicitRequestParams::FormElicitationParams {
        meta: None,
        message,
        requested_schema: form(question),
    };
    ElicitRequest::new(params)
}

/// What may be decided, and room for a note. Nothing is filled in beforehand.
fn form(question: &Question) -> ElicitationSchema {
    let what = if question.may_reject() {
        "reject fails the task; any other decision lets it run"
    } else {
        "every decision lets the task run"
    };
    let decision = EnumSchema::builder(question.decisions.clone());
    let decision = decision.title("Decision").description(what).build();
    let note = StringSchema::new().title("Note").description("stands in the result and the trace");
    let fields = [
        ("decision".to_owned(), PrimitiveSchemaDefinition::Enum(decision)),
        ("note".to_owned(), PrimitiveSchemaDefinition::String(note)),
    ];
    ElicitationSchema::new(fields.into()).with_required(vec!["decision".to_owned()])
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;
    use crate::model::{TaskId, TaskIdx};

    fn question() -> Question {
        Question {
            task: TaskIdx::from_usize(3),
            task_id: TaskId::new("deploy"),
            message: "may it go out?".to_owned(),
            decisions: ["canary", "all", "reject"].map(str::to_owned).into(),
        }
    }

    #[test]
    fn a_question_is_a_form_with_the_decisions() {
        let dispatch = "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap();
        let asked = serde_json::to_string_pretty(&requests(dispatch, &[question()])).unwrap();
        expect![[r#"
            {
              "approval/deploy": {
                "method": "elicitation/create",
                "params": {
                  "mode": "form",
                  "message": "Task \"deploy\" of dispatch 01890a5d-ac96-774b-bcce-b302099a8057 waits for approval: may it go out?",
                  "requestedSchema": {
                    "type": "object",
                    "properties": {
                      "decision": {
                        "type": "string",
                        "title": "Decision",
                        "description": "reject fails the task; any other decision lets it run",
                        "enum": [
                          "canary",
                          "all",
                          "reject"
                        ]
                      },
                      "note": {
                        "type": "string",
                        "title": "Note",
                        "description": "stands in the result and the trace"
                      }
                    },
                    "required": [
                      "decision"
                    ]
                  }
                }
              }
            }"#]].assert_eq(&asked);
    }

    #[test]
    fn one_answer_holds_so_many_questions_and_so_long_ones() {
        let dispatch = "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap();
        let asked = |n: usize, n_chars: usize| {
            let of = |it: usize| Question {
                task_id: TaskId::new(&format!("t{it:04}")),
                message: "é".repeat(n_chars),
                ..question()
            };
            let requests = requests(dispatch, &(0..n).map(of).collect::<Vec<_>>());
            let chars = serde_json::to_string(&requests).unwrap().chars().count();
            assert!(requests.len() == 1 || chars < 32_000, "{chars}");
            assert!(n == 0 || requests.contains_key("approval/t0000"));
            requests.len()
        };
        assert_eq!([asked(0, 1), asked(3, 10), asked(5_000, 10)], [0, 3, 20]);
        assert_eq!([asked(5_000, 4_000), asked(2, 40_000)], [6, 1]);
    }

    #[test]
    fn only_an_offered_decision_decides() {
        let read = |response: Value| Verdict::read(&question(), &response);
        let accept = |content: Value| read(json!({"action": "accept", "content": content}));
        let all = |note: Option<&str>| Verdict::Decided("all".into(), note.map(str::to_owned));
        assert_eq!(accept(json!({"decision": "all", "note": "now"})), all(Some("now")));
        assert_eq!(accept(json!({"decision": "all", "note": ""})), all(None));
        assert_eq!(accept(json!({"decision": "all", "note": 1, "more": true})), all(None));
        let long = accept(json!({"decision": "all", "note": "x".repeat(5_000)}));
        let Verdict::Decided(_, Some(note)) = long else { panic!("no note") };
        assert_eq!(note.chars().count(), NOTE_CHARS_MAX);
        assert_eq!(read(json!({"action": "decline"})), Verdict::Declined);
        for nothing in [
            accept(json!({"decision": "approve"})),
            accept(json!({"decision": ["all"]})),
            accept(json!("all")),
            read(json!({"action": "accept"})),
            read(json!({"action": "cancel"})),
            read(json!({"action": "perhaps"})),
            read(json!(null)),
            read(json!({"decision": "all"})),
        ] {
            assert_eq!(nothing, Verdict::Nothing);
        }
    }
}
