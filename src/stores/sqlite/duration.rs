//! How long attempts took: samples gathered in a transaction, each kind's row changed once at its
//! end.

use std::{collections::BTreeMap, sync::Arc};

use rusqlite::{Connection, OptionalExtension as _, Statement, params};

use super::{
    row::{count, time},
    trouble::Trouble,
};
use crate::{
    model::{DurationKey, Durations, Millis},
    stores::head::KINDS_MAX,
};

/// Samples of a transaction, by kind, with the time of the last.
pub(super) type Samples = BTreeMap<Arc<DurationKey>, (Millis, Vec<Millis>)>;

/// The statements that change rows, prepared once.
#[derive(Debug)]
pub(super) struct DurationStatements<'c> {
    load: Statement<'c>,
    put: Statement<'c>,
    forget: Statement<'c>,
}

impl<'c> DurationStatements<'c> {
    pub(super) fn prepare(connection: &'c Connection) -> Result<Self, Trouble> {
        Ok(Self {
            load: connection.prepare(
                "SELECT histogram FROM durations WHERE agent = ?1 AND kind = ?2 AND size = ?3",
            )?,
            put: connection.prepare(
                "INSERT INTO durations (agent, kind, size, updated_at, histogram) \
                 VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (agent, kind, size) DO UPDATE \
                 SET updated_at = excluded.updated_at, histogram = excluded.histogram",
            )?,
            forget: connection.prepare(
                "DELETE FROM durations WHERE agent = ?1 AND (kind, size) IN \
                 (SELECT kind, size FROM durations WHERE agent = ?1 \
                  ORDER BY updated_at DESC, kind, size LIMIT -1 OFFSET ?2)",
            )?,
        })
    }

    /// Changes the rows of all kinds that have samples: one read and one write each.
    pub(super) fn save(&mut self, samples: &Samples) -> Result<(), Trouble> {
        samples.iter().try_for_each(|(key, (at, spans))| self.add(key, *at, spans))
    }

    fn add(&mut self, key: &DurationKey, at: Millis, spans: &[Millis]) -> Result<(), Trouble> {
        let (agent, kind) = (key.agent.as_str(), &key.kind);
        let known: Option<String> =
            self.load.query_row(params![agent, kind, key.size], |row| row.get(0)).optional()?;
        let mut durations = known.as_deref().map(read).unwrap_or_default();
        for it in spans {
            durations.add(*it);
        }
        let histogram = serde_json::to_string(&durations)
            .map_err(|error| Trouble::corrupt(error.to_string()))?;
        self.put.execute(params![agent, kind, key.size, time(at), histogram])?;
        if known.is_none() {
            self.forget.execute(params![agent, count(KINDS_MAX)])?;
        }
        Ok(())
    }
}

/// Reads a histogram. One that cannot be read counts as empty: nothing that was promised rests on
/// it, and no attempt may fail to end because of it.
pub(super) fn read(histogram: &str) -> Durations {
    serde_json::from_str(histogram).unwrap_or_default()
}
