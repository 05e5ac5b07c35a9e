//! `plan-and-dispatch`: splits a request into tasks, and has agents do them side by side.

use rmcp::{
    ErrorData,
    model::{PromptMessage, Role},
};
use serde_json::json;

use super::{Argument, Entry, Values, arguments::Arguments, fence::fence};

pub(super) const NAME: &str = "plan-and-dispatch";

pub(super) const ENTRY: Entry = Entry {
    name: NAME,
    title: "Plan and dispatch",
    description: "Split a request into tasks, check the plan, and run them in parallel.",
    arguments: &[
        Argument {
            name: "request",
            title: "Request",
            description: "what is to be done, in plain words",
            is_required: true,
            values: Values::Free,
        },
        Argument {
            name: "max_workers",
            title: "Workers",
            description: "how many tasks run at once at most",
            is_required: false,
            values: Values::Free,
        },
        Argument {
            name: "agent",
            title: "Agent",
            description: "the agent that does the tasks; chosen for each task unless set",
            is_required: false,
            values: Values::Agents,
        },
    ],
};

/// `workers_max` is the most workers that a document may ask for.
pub(super) fn messages(
    arguments: &Arguments,
    workers_max: u32,
) -> Result<Vec<PromptMessage>, ErrorData> {
    let workers = workers(arguments.optional("max_workers"), workers_max)?;
    let config = workers.map_or_else(String::new, |it| {
        format!(" Pass `config` {{\"max_workers\": {it}}} with it.")
    });
    let agent = arguments.optional("agent").map_or_else(
        || "The resource settings://agents lists the agents.".to_owned(),
        |it| format!("Every task is for the agent {}.", json!(it.trim())),
    );
    let text = format!(
        "Do what the request below says, with the tools of the server parallel-dispatch.\n\n\
         1. Call `plan_tasks` with the request, word for word, as `request`.{config} If its tasks \
         are not what the request needs, write `tasks` yourself and plan those: each with one \
         outcome, with the dependencies that it really has and no others, and with files of its \
         own to write. {agent} Mend every fault that the answer names, and plan again.\n\
         2. Read `warnings` and `recommendation`. If it says that the work is a single task, do it \
         yourself and stop here.\n\
         3. Show the waves, the critical path and the expected time in a few lines. Ask first if a \
         warning needs a decision.\n\
         4. Call `dispatch` with the `plan_id`.\n\
         5. While the status is running, call `get_result` with the dispatch_id, wait_ms 45000 and \
         view \"summary\". Where a task waits for an approval, ask me, and pass the decision on \
         with `approve_task`.\n\
         6. At the end say what each task did, from its output. Where one failed, find out why \
         with `read_trace`, mend the cause, and call `retry_dispatch`, which keeps what \
         succeeded.\n\
         \n{}",
        fence("request", arguments.required("request")),
    );
    Ok(vec![PromptMessage::new_text(Role::User, text)])
}

fn workers(given: Option<&str>, most: u32) -> Result<Option<u32>, ErrorData> {
    let Some(given) = given else { return Ok(None) };
    let workers = given.trim().parse().ok().filter(|it| (1..=most).contains(it));
    workers.map(Some).ok_or_else(|| {
        let message = format!("\"max_workers\" is a number from 1 to {most}");
        ErrorData::invalid_params(message, None)
    })
}
