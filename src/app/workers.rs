//! The agents of the settings whose workers pull.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    agents::PullWorkers,
    config::{Settings, Worker},
    model::{AgentName, Millis},
    ports::Clock,
};

/// The board of the agents whose workers pull; nothing where there are none.
pub(super) fn workers(settings: &Settings, clock: &Arc<dyn Clock>) -> Option<PullWorkers> {
    let mut heartbeats = BTreeMap::new();
    for (name, it) in &settings.agents {
        if let (Some(Worker::Pull), Some(seconds)) = (it.worker, it.heartbeat_seconds) {
            heartbeats.insert(AgentName::new(name), Millis::from_seconds(seconds));
        }
    }
    (!heartbeats.is_empty()).then(|| PullWorkers::new(heartbeats, Arc::clone(clock)))
}
