//! Values that are read each time a connection is made, such as headers that hold secrets.

use std::{collections::BTreeMap, fmt, sync::Arc};

use super::{UpstreamError, error::SessionFault};
use crate::model::FailureCode;

type Read = dyn Fn() -> Result<BTreeMap<String, String>, String> + Send + Sync;

/// Names with values that are read when they are needed and shown never.
#[derive(Clone)]
pub struct Supply {
    names: Arc<[String]>,
    read: Arc<Read>,
}

impl Supply {
    /// Values that `read` gives, under `names`; it may look at the disk. An error of it names what
    /// is missing, and no value.
    pub fn new(
        names: impl IntoIterator<Item = String>,
        read: impl Fn() -> Result<BTreeMap<String, String>, String> + Send + Sync + 'static,
    ) -> Self {
        Self { names: names.into_iter().collect(), read: Arc::new(read) }
    }

    /// Values that stand.
    pub fn fixed(values: BTreeMap<String, String>) -> Self {
        let names: Vec<_> = values.keys().cloned().collect();
        Self::new(names, move || Ok(values.clone()))
    }

    /// Reads the values.
    pub(super) async fn read(&self) -> Result<BTreeMap<String, String>, SessionFault> {
        if self.names.is_empty() {
            return Ok(BTreeMap::new());
        }
        let read = Arc::clone(&self.read);
        let values = tokio::task::spawn_blocking(move || read()).await;
        let missing = values.unwrap_or_else(|error| Err(error.to_string()));
        missing.map_err(|cause| {
            let message = format!("its settings cannot be read: {cause}");
            let error = UpstreamError::new(FailureCode::UpstreamUnavailable, &message);
            SessionFault { error, is_session_gone: false, is_unsent: false }
        })
    }
}

impl Default for Supply {
    fn default() -> Self {
        Self::fixed(BTreeMap::new())
    }
}

impl fmt::Debug for Supply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names.iter()).finish()
    }
}
