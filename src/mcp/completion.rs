//! What an argument that somebody types may become: ids of dispatches, plans and tasks, agents.

use rmcp::{
    ErrorData,
    model::{CompleteRequestParams, CompleteResult, CompletionInfo, Reference},
};

use super::{
    prompts::{self, Values},
    resources::{self, to_error},
};
use crate::{
    model::{DispatchId, Refusal, text},
    runtime::{DispatcherHandle, Found},
};

/// The templates, with the arguments that each has.
const TEMPLATES: [(&str, &[&str]); 4] = [
    (resources::DISPATCH, &["id"]),
    (resources::TASK, &["id", "task_id"]),
    (resources::TRACE, &["id", "task_id"]),
    (resources::PLAN, &["id"]),
];

/// Completes an argument of a template or of a prompt; at most 100 values.
pub(super) async fn complete(
    handle: &DispatcherHandle,
    request: CompleteRequestParams,
) -> Result<CompleteResult, ErrorData> {
    let typed = request.argument.value.as_str();
    let found = match &request.r#ref {
        Reference::Prompt(prompt) => {
            match prompts::values_of(&prompt.name, &request.argument.name)? {
                Values::Free => Ok(none()),
                Values::Dispatches => handle.dispatches_like(typed).await,
                Values::Agents => Ok(agents(handle, typed)),
            }
        }
        Reference::Resource(resource) => {
            let template = check(&resource.uri, &request.argument.name)?;
            match request.argument.name.as_str() {
                "task_id" => tasks(handle, &request).await,
                _ if template == resources::PLAN => handle.plans_like(typed).await,
                _ => handle.dispatches_like(typed).await,
            }
        }
        // A kind of reference that came after this was written.
        _ => Ok(none()),
    };
    answer(found.map_err(|it| to_error(&it))?)
}

/// The tasks of the dispatch that was chosen before; without one there is nothing to choose from.
async fn tasks(
    handle: &DispatcherHandle,
    request: &CompleteRequestParams,
) -> Result<Found, Refusal> {
    let chosen = request.context.as_ref().and_then(|it| it.arguments.as_ref()?.get("id"));
    match chosen.and_then(|it| it.parse::<DispatchId>().ok()) {
        Some(dispatch) => handle.tasks_like(dispatch, &request.argument.value).await,
        None => Ok(none()),
    }
}

fn agents(handle: &DispatcherHandle, typed: &str) -> Found {
    let names = handle.agents().map(|it| it.as_str().to_owned());
    let mut names: Vec<_> = names.filter(|it| it.starts_with(typed)).collect();
    let total = Some(names.len());
    names.truncate(CompletionInfo::MAX_VALUES);
    Found { names, total }
}

fn none() -> Found {
    Found { names: Vec::new(), total: Some(0) }
}

fn check(uri: &str, argument: &str) -> Result<&'static str, ErrorData> {
    let Some((template, arguments)) = TEMPLATES.iter().find(|it| it.0 == uri) else {
        let shown = text::escape(&text::cut(uri, 200));
        let known = TEMPLATES.map(|it| it.0).join(", ");
        let message = format!("there is no template \"{shown}\": there are {known}");
        return Err(ErrorData::invalid_params(message, None));
    };
    if !arguments.contains(&argument) {
        let shown = text::escape(&text::cut(argument, 100));
        let known = arguments.join(", ");
        let message = format!("{template} has no argument \"{shown}\": it has {known}");
        return Err(ErrorData::invalid_params(message, None));
    }
    Ok(*template)
}

fn answer(found: Found) -> Result<CompleteResult, ErrorData> {
    let has_more = found.total.is_none_or(|it| it > found.names.len());
    let total = found.total.and_then(|it| u32::try_from(it).ok());
    let info = CompletionInfo::with_pagination(found.names, total, has_more);
    info.map(CompleteResult::new).map_err(|error| ErrorData::internal_error(error, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_has_more() {
        let answer = |n_names: usize, total| {
            let names = (0..n_names).map(|it| it.to_string()).collect();
            let info = answer(Found { names, total }).unwrap().completion;
            (info.values.len(), info.total, info.has_more)
        };
        assert_eq!(answer(0, Some(0)), (0, Some(0), Some(false)));
        assert_eq!(answer(100, Some(100)), (100, Some(100), Some(false)));
        assert_eq!(answer(100, Some(250)), (100, Some(250), Some(true)));
        assert_eq!(answer(100, None), (100, None, Some(true)));
    }

    #[test]
    fn only_templates_and_their_arguments_are_completed() {
        assert_eq!(check("dispatch://{id}/tasks/{task_id}", "task_id").unwrap(), resources::TASK);
        let wrong = check("plan://{id}", "task_id").unwrap_err();
        assert_eq!(wrong.message, "plan://{id} has no argument \"task_id\": it has id");
        assert!(check("plan://x", "id").unwrap_err().message.contains("there is no template"));
    }
}
