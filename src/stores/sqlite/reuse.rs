//! Results to be taken by later tasks: found by the digest of what decided on them.

use rusqlite::{Connection, Row, Statement, params};

use super::{
    query::one,
    row::{count, read_time, time},
    trouble::Trouble,
};
use crate::{
    model::{DispatchId, Reused, TaskId, Timestamp},
    ports::{Digest, KnownResult, Remember},
    stores::head::RESULTS_MAX,
};

/// The statements that keep results, prepared once.
#[derive(Debug)]
pub(super) struct ReuseStatements<'c> {
    put: Statement<'c>,
    forget: Statement<'c>,
}

impl<'c> ReuseStatements<'c> {
    pub(super) fn prepare(connection: &'c Connection) -> Result<Self, Trouble> {
        Ok(Self {
            // The row gets the highest id, also where it takes another one's place.
            put: connection.prepare(
                "INSERT OR REPLACE INTO results (work, output, at, evidence) \
                 VALUES (?1, ?2, ?3, ?4)",
            )?,
            // Ids may have gaps, so there are never more than that.
            forget: connection.prepare("DELETE FROM results WHERE id <= ?1 - ?2")?,
        })
    }

    /// Keeps a result whose output has the key `output`.
    pub(super) fn remember(&mut self, output: i64, result: &Remember) -> Result<(), Trouble> {
        let Remember { work, at, evidence, .. } = result;
        let evidence = evidence.iter().flat_map(|it| it.0).collect::<Vec<u8>>();
        let id = self.put.insert(params![work.0, output, time(*at), evidence])?;
        self.forget.execute(params![id, count(RESULTS_MAX)])?;
        Ok(())
    }
}

pub(super) fn known_result(
    connection: &Connection,
    work: Digest,
) -> Result<Option<KnownResult>, Trouble> {
    // A dispatch that is forgotten is no longer found, even before its rows are swept.
    let sql = "SELECT dispatches.uuid, tasks.task_id, results.at, outputs.json, results.evidence \
               FROM results \
               JOIN dispatches ON dispatches.id = results.output >> 32 \
               JOIN tasks ON tasks.key = results.output \
               JOIN outputs ON outputs.key = results.output \
               WHERE results.work = ?1";
    one(connection, sql, [work.0], result_row)
}

fn result_row(row: &Row<'_>) -> Result<KnownResult, Trouble> {
    let task_id: String = row.get(1)?;
    let evidence: Vec<u8> = row.get(4)?;
    let (digests, rest) = evidence.as_chunks();
    if !rest.is_empty() {
        return Err(Trouble::corrupt("the evidence of a result is cut"));
    }
    Ok(KnownResult {
        from: Reused {
            dispatch_id: DispatchId::from_bytes(row.get(0)?),
            task_id: TaskId::new(&task_id),
            at: Timestamp(read_time(row.get(2)?)),
        },
        output: row.get(3)?,
        evidence: digests.iter().copied().map(Digest).collect(),
    })
}
