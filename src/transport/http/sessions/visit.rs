//! Visits of a client to its session, and what else keeps a session awake.

use std::{fmt, sync::Arc};

use rmcp::transport::streamable_http_server::session::SessionId;
use tokio::time::Instant;

use super::table::SharedTable;
use crate::model::KeepAwake;

/// A request of a session's client, until it is answered to its end. As long as there is one, the
/// session neither sleeps nor ends for being idle.
pub(in crate::transport::http) struct Visit {
    table: SharedTable,
    id: SessionId,
}

/// A reason for a session to stay awake, until it is dropped.
struct Reason {
    table: SharedTable,
    id: SessionId,
}

impl Visit {
    /// Stands for a visit that the table has counted.
    pub(super) fn counted(table: SharedTable, id: SessionId) -> Self {
        Self { table, id }
    }

    pub(super) fn id(&self) -> &SessionId {
        &self.id
    }

    /// What keeps the session awake for the handler's sake: a request may run after its client
    /// has left.
    pub(in crate::transport::http) fn keep_awake(&self) -> KeepAwake {
        self.table.with(|it| it.keep(&self.id));
        KeepAwake::new(Reason { table: self.table.clone(), id: Arc::clone(&self.id) })
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.table.with(|it| it.leave(&self.id, Instant::now()));
    }
}

impl Drop for Reason {
    fn drop(&mut self) {
        self.table.with(|it| it.release(&self.id));
    }
}

impl fmt::Debug for Visit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Visit").field("id", &self.id).finish_non_exhaustive()
    }
}
