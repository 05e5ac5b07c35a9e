//! `debug-then-fix`: has agents find out why something fails, and then mend it.

use rmcp::model::{PromptMessage, Role};
use serde_json::json;

use super::{Argument, Entry, Values, arguments::Arguments, fence::fence};

pub(super) const NAME: &str = "debug-then-fix";

pub(super) const ENTRY: Entry = Entry {
    name: NAME,
    title: "Debug, then fix",
    description: "Find out in parallel why something fails, and then mend it.",
    arguments: &[
        Argument {
            name: "problem",
            title: "Problem",
            description: "what fails, and how that shows",
            is_required: true,
            values: Values::Free,
        },
        Argument {
            name: "affected_files",
            title: "Files",
            description: "the files that it may come from, absolute paths with commas between them",
            is_required: false,
            values: Values::Free,
        },
    ],
};

pub(super) fn messages(arguments: &Arguments) -> Vec<PromptMessage> {
    let files = arguments.optional("affected_files").unwrap_or_default();
    let files: Vec<_> = files.split(',').map(str::trim).filter(|it| !it.is_empty()).collect();
    let files = match files.as_slice() {
        [] => "Find out which files it may come from, and name them as `affected_files`, as \
               absolute paths."
            .to_owned(),
        files => {
            let files: Vec<_> = files.iter().map(|it| json!(it).to_string()).collect();
            format!("`affected_files` are [{}].", files.join(", "))
        }
    };
    let text = format!(
        "Find out why the problem below occurs, and mend it, with the tools of the server \
         parallel-dispatch.\n\n\
         1. Write one task of the agent `debug` for each hypothesis that can be looked into by \
         itself, none depending on another: input_data has `problem_description`, \
         `affected_files`, and `hypothesis`. {files}\n\
         2. Check them with `plan_tasks`, and run them with `dispatch` and its `plan_id`. While \
         the status is running, call `get_result` with the dispatch_id and wait_ms 45000.\n\
         3. Compare what they found with the files themselves, and say in a few lines what the \
         cause is. If the evidence does not suffice, go back to 1 with other hypotheses, twice at \
         most.\n\
         4. Write one task of the agent `coder` for each file to be changed, with \
         `contract_description` (the cause, what is wrong, what must hold afterwards), \
         `node_type`, `output_path` and `context_files`. Plan and dispatch them as before. Where \
         `coder` cannot do it, because it only writes new files for example, make the change \
         yourself.\n\
         5. Run the tests that show the problem. Where a task failed, find out why with \
         `read_trace`, and call `retry_dispatch` with `overrides`, which keeps what succeeded.\n\
         \n{}",
        fence("problem", arguments.required("problem")),
    );
    vec![PromptMessage::new_text(Role::User, text)]
}
