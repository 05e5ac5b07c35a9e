//! How values of the model stand in columns.

use rusqlite::{Row, types::FromSql};
use serde::{
    Serialize,
    de::{DeserializeOwned, IntoDeserializer as _, value},
};
use uuid::Uuid;

use super::trouble::Trouble;
use crate::{
    model::{
        AgentName, ApprovalReport, DispatchId, Evidence, Failure, FailureCode, Millis, PlanId,
        Reused, TaskId, TaskIdx, TaskUsage,
    },
    ports::{
        Asked, DispatchRow, Epoch, KeyedDispatch, OpenOwner, OwnerId, Record, RequestId,
        StoredPlan, StoredTask, TaskRow, Tenure,
    },
};

/// The columns that [`dispatch_row`] reads.
pub(super) const DISPATCH_COLUMNS: &str = "uuid, owner, status, created_at, ended_at, n_tasks, \
     n_successful, n_unsuccessful, critical_path, meta, epoch, last_seq, caller";

/// The columns that [`task_row`] reads.
pub(super) const TASK_COLUMNS: &str = "key, task_id, agent, status, attempts, started_at, \
                                       ended_at, failure_code, failure_message, caused_by, \
                                       reused, approval, usage, evidence";

/// The columns that [`record_row`] reads.
pub(super) const RECORD_COLUMNS: &str = "key, at, body";

/// The key of a task's row, an output or a record; see `schema.sql`.
pub(super) fn key(dispatch: i64, number: u32) -> i64 {
    (dispatch << 32) | i64::from(number)
}

/// The number of a key that [`key`] made.
pub(super) fn number(key: i64) -> u32 {
    let bytes = key.to_be_bytes();
    u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]])
}

/// A time as it is stored; every one comes back as it was.
pub(super) fn time(at: Millis) -> i64 {
    at.0.cast_signed()
}

/// A count or a limit as it is stored.
pub(super) fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// The name that a status, a code or a kind has in JSON.
pub(super) fn name(of: &impl Serialize) -> Result<String, Trouble> {
    let quoted = serde_json::to_string(of).map_err(|error| Trouble::corrupt(error.to_string()))?;
    Ok(quoted.trim_matches('"').to_owned())
}

/// What a name that [`name`] gave stands for.
pub(super) fn named<T: DeserializeOwned>(name: &str) -> Result<T, Trouble> {
    T::deserialize(name.into_deserializer())
        .map_err(|error: value::Error| Trouble::corrupt(error.to_string()))
}

pub(super) fn dispatch_row(row: &Row<'_>) -> Result<DispatchRow, Trouble> {
    Ok(DispatchRow {
        dispatch: DispatchId::from_bytes(row.get(0)?),
        tenure: Tenure {
            owner: read_owner(row, 1)?,
            epoch: Epoch(row.get(10)?),
            last_seq: row.get::<_, i64>(11)?.cast_unsigned(),
        },
        status: named(row.get_ref(2)?.as_str().map_err(rusqlite::Error::from)?)?,
        created_at: read_time(row.get(3)?),
        ended_at: row.get::<_, Option<i64>>(4)?.map(read_time),
        n_tasks: read_count(row, 5)?,
        n_successful: read_count(row, 6)?,
        n_unsuccessful: read_count(row, 7)?,
        critical_path: read_time(row.get(8)?),
        meta: row.get(9)?,
        caller: row.get(12)?,
    })
}

pub(super) fn task_row(row: &Row<'_>) -> Result<StoredTask, Trouble> {
    Ok(StoredTask {
        task: read_task(number(row.get(0)?)),
        task_id: TaskId::new(text(row, 1)?),
        agent: AgentName::new(text(row, 2)?),
        row: TaskRow {
            status: named(text(row, 3)?)?,
            attempts: row.get(4)?,
            started_at: row.get::<_, Option<i64>>(5)?.map(read_time),
            ended_at: row.get::<_, Option<i64>>(6)?.map(read_time),
            failure: read_failure(row)?,
            caused_by: row.get::<_, Option<u32>>(9)?.map(read_task),
            reused: read_reused(row)?,
            approval: read_approval(row)?,
            usage: read_usage(row)?,
            evidence: read_evidence(row)?,
        },
    })
}

pub(super) fn record_row(row: &Row<'_>) -> Result<Record, Trouble> {
    let seq = u64::from(number(row.get(0)?));
    let body = serde_json::from_str(text(row, 2)?)
        .map_err(|error| Trouble::corrupt(format!("record {seq}: {error}")))?;
    Ok(Record { seq, at: read_time(row.get(1)?), body })
}

pub(super) fn open_owner_row(row: &Row<'_>) -> Result<OpenOwner, Trouble> {
    let lease_until = row.get::<_, Option<i64>>(1)?.map(read_time);
    Ok(OpenOwner { owner: read_owner(row, 0)?, lease_until })
}

pub(super) fn keyed_row(row: &Row<'_>) -> Result<KeyedDispatch, Trouble> {
    Ok(KeyedDispatch { dispatch: DispatchId::from_bytes(row.get(0)?), digest: row.get(1)? })
}

pub(super) fn asked_row(row: &Row<'_>) -> Result<Asked, Trouble> {
    let request = serde_json::from_str(text(row, 2)?)
        .map_err(|error| Trouble::corrupt(format!("a request: {error}")))?;
    let id = RequestId(Uuid::from_bytes(row.get(0)?));
    Ok(Asked { id, dispatch: DispatchId::from_bytes(row.get(1)?), request })
}

pub(super) fn plan_row(row: &Row<'_>) -> Result<StoredPlan, Trouble> {
    Ok(StoredPlan { document: row.get(0)?, caller: row.get(1)? })
}

/// A plan's id and time.
pub(super) fn listed_plan_row(row: &Row<'_>) -> Result<(PlanId, Millis), Trouble> {
    let id = text(row, 0)?;
    let id = id.parse().map_err(|_| Trouble::corrupt(format!("{id:?} is no plan's id")))?;
    Ok((id, read_time(row.get(1)?)))
}

/// The first column of a row that has only this one.
pub(super) fn only<T: FromSql>(row: &Row<'_>) -> Result<T, Trouble> {
    Ok(row.get(0)?)
}

/// A count that [`count`] stored.
pub(super) fn read_count(row: &Row<'_>, column: usize) -> Result<usize, Trouble> {
    let n: i64 = row.get(column)?;
    usize::try_from(n).map_err(|_| Trouble::corrupt(format!("{n} is not a count")))
}

pub(super) fn read_owner(row: &Row<'_>, column: usize) -> Result<OwnerId, Trouble> {
    Ok(OwnerId(Uuid::from_bytes(row.get(column)?)))
}

/// A time that [`time`] stored.
pub(super) fn read_time(stored: i64) -> Millis {
    Millis(stored.cast_unsigned())
}

fn read_failure(row: &Row<'_>) -> Result<Option<Failure>, Trouble> {
    let code: Option<String> = row.get(7)?;
    let Some(code) = code else { return Ok(None) };
    let message: Option<String> = row.get(8)?;
    Ok(Some(Failure::new(named::<FailureCode>(&code)?, message.unwrap_or_default())))
}

fn read_reused(row: &Row<'_>) -> Result<Option<Box<Reused>>, Trouble> {
    let json: Option<String> = row.get(10)?;
    let read = |it: String| serde_json::from_str(&it);
    json.map(read).transpose().map_err(|error| Trouble::corrupt(format!("a task: {error}")))
}

fn read_approval(row: &Row<'_>) -> Result<Option<Box<ApprovalReport>>, Trouble> {
    let json = row.get_ref(11)?.as_str_or_null().map_err(rusqlite::Error::from)?;
    let read = |it| serde_json::from_str(it);
    json.map(read).transpose().map_err(|error| Trouble::corrupt(format!("an approval: {error}")))
}

fn read_usage(row: &Row<'_>) -> Result<Option<Box<TaskUsage>>, Trouble> {
    let json = row.get_ref(12)?.as_str_or_null().map_err(rusqlite::Error::from)?;
    let usage = json.map(serde_json::from_str).transpose();
    usage.map_err(|error| Trouble::corrupt(format!("the usage of a task: {error}")))
}

fn read_evidence(row: &Row<'_>) -> Result<Option<Box<[Evidence]>>, Trouble> {
    let json = row.get_ref(13)?.as_str_or_null().map_err(rusqlite::Error::from)?;
    let evidence = json.map(serde_json::from_str).transpose();
    evidence.map_err(|error| Trouble::corrupt(format!("the evidence of a task: {error}")))
}

fn read_task(number: u32) -> TaskIdx {
    TaskIdx::from_usize(number as usize)
}

fn text<'r>(row: &'r Row<'_>, column: usize) -> Result<&'r str, Trouble> {
    Ok(row.get_ref(column)?.as_str().map_err(rusqlite::Error::from)?)
}
