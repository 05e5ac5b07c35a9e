//! The prompts, one a file: what a person asks for in a word, as messages for a model.

mod arguments;
mod debug_then_fix;
mod fence;
mod plan_and_dispatch;
mod review_results;

use rmcp::{
    ErrorData,
    model::{GetPromptRequestParams, GetPromptResult, ListPromptsResult, Prompt, PromptArgument},
};

use self::arguments::Arguments;
use crate::{model::text, runtime::DispatcherHandle};

/// What an argument of a prompt may be completed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Values {
    /// Nothing is known about it.
    Free,
    /// The ids of dispatches.
    Dispatches,
    /// The names of agents.
    Agents,
}

/// An argument of a prompt.
struct Argument {
    name: &'static str,
    title: &'static str,
    description: &'static str,
    is_required: bool,
    values: Values,
}

/// A prompt as it is declared.
struct Entry {
    name: &'static str,
    title: &'static str,
    description: &'static str,
    arguments: &'static [Argument],
}

impl Entry {
    fn to_prompt(&self) -> Prompt {
        let argument = |it: &Argument| {
            PromptArgument::new(it.name)
                .with_title(it.title)
                .with_description(it.description)
                .with_required(it.is_required)
        };
        let arguments = self.arguments.iter().map(argument).collect();
        Prompt::new(self.name, Some(self.description), Some(arguments)).with_title(self.title)
    }
}

const ENTRIES: [&Entry; 3] =
    [&plan_and_dispatch::ENTRY, &debug_then_fix::ENTRY, &review_results::ENTRY];

/// The prompts, in a fixed order.
pub(super) fn list() -> ListPromptsResult {
    ListPromptsResult::with_all_items(ENTRIES.iter().map(|it| it.to_prompt()).collect())
}

/// The messages of a prompt.
pub(super) async fn get(
    handle: &DispatcherHandle,
    request: GetPromptRequestParams,
) -> Result<GetPromptResult, ErrorData> {
    let entry = find(&request.name)?;
    let arguments = Arguments::read(entry, request.arguments.unwrap_or_default())?;
    let messages = match entry.name {
        plan_and_dispatch::NAME => plan_and_dispatch::messages(&arguments, handle.workers_max())?,
        debug_then_fix::NAME => debug_then_fix::messages(&arguments),
        _ => review_results::messages(handle, &arguments).await?,
    };
    Ok(GetPromptResult::new(messages).with_description(entry.description))
}

/// What an argument of a prompt may be completed with.
pub(super) fn values_of(prompt: &str, argument: &str) -> Result<Values, ErrorData> {
    let entry = find(prompt)?;
    let found = entry.arguments.iter().find(|it| it.name == argument);
    found.map(|it| it.values).ok_or_else(|| arguments::unknown(entry, argument))
}

fn find(name: &str) -> Result<&'static Entry, ErrorData> {
    ENTRIES.into_iter().find(|it| it.name == name).ok_or_else(|| {
        let shown = text::escape(&text::cut(name, 100));
        let names = ENTRIES.map(|it| it.name).join(", ");
        let message = format!("there is no prompt \"{shown}\": there are {names}");
        ErrorData::invalid_params(message, None)
    })
}

#[cfg(test)]
mod tests {
    use rmcp::model::{ErrorCode, PromptMessage};
    use serde_json::{Value, json};

    use super::*;

    fn read(prompt: &str, arguments: &Value) -> Result<Arguments, ErrorData> {
        Arguments::read(find(prompt)?, arguments.as_object().unwrap().clone())
    }

    fn said(messages: &[PromptMessage]) -> &str {
        &messages[0].content.as_text().unwrap().text
    }

    #[test]
    fn tools_stand_in_the_order_in_which_they_are_used() {
        let plan = json!({ "request": "write a parser and test it", "max_workers": "3" });
        let plan =
            plan_and_dispatch::messages(&read("plan-and-dispatch", &plan).unwrap(), 3).unwrap();
        let fix = json!({ "problem": "login fails", "affected_files": "/a/b.py, /a/c.py" });
        let fix = debug_then_fix::messages(&read("debug-then-fix", &fix).unwrap());
        for text in [said(&plan), said(&fix)] {
            let tools = ["`plan_tasks`", "`dispatch`", "`get_result`", "`retry_dispatch`"];
            let places: Vec<_> = tools.iter().map(|it| text.find(it).expect(it)).collect();
            assert!(places.is_sorted(), "{text}");
        }
        assert!(said(&plan).contains("\"max_workers\": 3"), "{}", said(&plan));
        assert!(said(&fix).contains("\"/a/b.py\", \"/a/c.py\""), "{}", said(&fix));
    }

    #[test]
    fn what_is_missing_unknown_or_no_text_is_refused_with_a_hint() {
        for (prompt, arguments, part) in [
            ("plan-and-dispatch", json!({}), "needs \"request\""),
            ("plan-and-dispatch", json!({ "request": " " }), "needs \"request\""),
            ("plan-and-dispatch", json!({ "request": 1 }), "\"request\" is a text"),
            ("plan-and-dispatch", json!({ "request": "a", "reqest": "b" }), "has no argument"),
            ("debug-then-fix", json!({ "problem": "x".repeat(100_001) }), "100,000 characters"),
            ("review-results", json!({ "dispatch": "a" }), "it has dispatch_id"),
            ("plan-and\u{202e}", json!({}), "there is no prompt \"plan-and\\u{202e}\""),
        ] {
            let error = read(prompt, &arguments).map(|_| ()).unwrap_err();
            assert_eq!(error.code, ErrorCode::INVALID_PARAMS);
            assert!(error.message.contains(part), "{}", error.message);
        }
        let workers = |it: &str| {
            let given = json!({ "request": "a", "max_workers": it });
            plan_and_dispatch::messages(&read("plan-and-dispatch", &given).unwrap(), 8)
        };
        for wrong in ["0", "many", "9", "-1"] {
            assert!(workers(wrong).unwrap_err().message.contains("1 to 8"), "{wrong}");
        }
        // Clients that show a form send an empty text for what was left out.
        assert!(workers("").is_ok() && workers("8").is_ok());
    }

    #[test]
    fn each_required_argument_comes_first() {
        for prompt in list().prompts {
            let arguments = prompt.arguments.unwrap();
            let required: Vec<_> = arguments.iter().map(|it| it.required.unwrap()).collect();
            assert!(required.is_sorted_by(|a, b| a >= b) && required[0], "{}", prompt.name);
            assert!(prompt.title.is_some() && prompt.description.is_some());
        }
    }
}
