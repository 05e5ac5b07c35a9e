//! `control_dispatch`: pauses, resumes, and steers a dispatch while it runs.

use crate::{
    mcp::catalog::{Effect, Entry},
    model::{ControlRequest, DispatchResult, Refusal, json::Json},
    runtime::DispatcherHandle,
};

pub(super) const NAME: &str = "control_dispatch";

pub(super) fn entry() -> Entry {
    Entry::new::<ControlRequest, DispatchResult>(
        NAME,
        "Control dispatch",
        Effect::Steers,
        "Steer a dispatch while it runs. action \"pause\": nothing new starts, what runs goes on; \
         with task_ids only there and in what depends on them. \"resume\" lifts that; without \
         task_ids it lifts every pause. \"set_max_workers\" changes how many tasks run at once \
         (max_workers). \"replace_input\" gives a task (task_id) that has not started another \
         input_data (the whole of it) or description. \"set_budget\" changes limits of its budget. \
         To stop work use cancel_dispatch.",
    )
}

pub(super) async fn call(
    handle: &DispatcherHandle,
    args: &Json<'_>,
) -> Result<DispatchResult, Refusal> {
    handle.control(handle.check_control(args)?).await
}
