//! The questions that a store answers, each on one connection.

use rusqlite::{Connection, OptionalExtension as _, Params, Row, params};

use super::{
    duration,
    row::{
        DISPATCH_COLUMNS, RECORD_COLUMNS, TASK_COLUMNS, asked_row, count, dispatch_row, key,
        keyed_row, listed_plan_row, name, only, open_owner_row, plan_row, record_row, task_row,
    },
    trouble::Trouble,
};
use crate::{
    model::{AgentName, DispatchId, DurationKey, Durations, Millis, PlanId, TaskIdx},
    ports::{
        Asked, DispatchRow, KeyedDispatch, OpenOwner, OwnerId, Record, RecordFilter, RequestId,
        RequestState, StoredPlan, StoredTask,
    },
};

pub(super) fn dispatch(
    connection: &Connection,
    dispatch: DispatchId,
) -> Result<Option<DispatchRow>, Trouble> {
    let sql = format!("SELECT {DISPATCH_COLUMNS} FROM dispatches WHERE uuid = ?1");
    one(connection, &sql, [dispatch.as_bytes()], dispatch_row)
}

pub(super) fn document(
    connection: &Connection,
    dispatch: DispatchId,
) -> Result<Option<String>, Trouble> {
    let Some(id) = id_of(connection, dispatch)? else { return Ok(None) };
    one(connection, "SELECT json FROM documents WHERE dispatch = ?1", [id], only)
}

pub(super) fn tasks(
    connection: &Connection,
    dispatch: DispatchId,
) -> Result<Vec<StoredTask>, Trouble> {
    let Some(id) = id_of(connection, dispatch)? else { return Ok(Vec::new()) };
    let sql = format!("SELECT {TASK_COLUMNS} FROM tasks WHERE key BETWEEN ?1 AND ?2 ORDER BY key");
    all(connection, &sql, [key(id, 0), key(id, u32::MAX)], task_row)
}

pub(super) fn outputs(
    connection: &Connection,
    dispatch: DispatchId,
    tasks: &[TaskIdx],
) -> Result<Vec<Option<String>>, Trouble> {
    let Some(id) = id_of(connection, dispatch)? else { return Ok(vec![None; tasks.len()]) };
    let mut statement = connection.prepare_cached("SELECT json FROM outputs WHERE key = ?1")?;
    let mut read =
        |task: &TaskIdx| statement.query_row([key(id, task.as_u32())], |row| row.get(0)).optional();
    Ok(tasks.iter().map(&mut read).collect::<Result<_, _>>()?)
}

pub(super) fn records(
    connection: &Connection,
    dispatch: DispatchId,
    filter: &RecordFilter,
) -> Result<Vec<Record>, Trouble> {
    let Some(id) = id_of(connection, dispatch)? else { return Ok(Vec::new()) };
    let Ok(after) = u32::try_from(filter.after) else { return Ok(Vec::new()) };
    let kinds = filter.kinds.iter().map(name).collect::<Result<Vec<_>, _>>()?;
    let kinds = (!kinds.is_empty()).then(|| format!(",{},", kinds.join(",")));
    let sql = format!(
        "SELECT {RECORD_COLUMNS} FROM records \
         WHERE key > ?1 AND key <= ?2 \
         AND (?3 IS NULL OR task = ?3) \
         AND (?4 IS NULL OR instr(?4, ',' || kind || ',') > 0) \
         ORDER BY key LIMIT ?5"
    );
    let task = filter.task.map(TaskIdx::as_u32);
    let limit = count(filter.limit);
    let wanted = params![key(id, after), key(id, u32::MAX), task, kinds, limit];
    all(connection, &sql, wanted, record_row)
}

pub(super) fn recent(
    connection: &Connection,
    caller: Option<&str>,
    before: Option<DispatchId>,
    limit: usize,
) -> Result<Vec<DispatchRow>, Trouble> {
    let before = before.unwrap_or_else(|| DispatchId::from_bytes([u8::MAX; 16]));
    let of_caller = if caller.is_some() { "caller = ?3 AND" } else { "?3 IS NULL AND" };
    let sql = format!(
        "SELECT {DISPATCH_COLUMNS} FROM dispatches WHERE {of_caller} uuid < ?1 \
         ORDER BY uuid DESC LIMIT ?2"
    );
    let wanted = params![before.as_bytes(), count(limit), caller];
    all(connection, &sql, wanted, dispatch_row)
}

pub(super) fn open_dispatches(connection: &Connection) -> Result<Vec<DispatchRow>, Trouble> {
    let sql =
        format!("SELECT {DISPATCH_COLUMNS} FROM dispatches WHERE status = 'running' ORDER BY uuid");
    all(connection, &sql, (), dispatch_row)
}

pub(super) fn open_owners(connection: &Connection) -> Result<Vec<OpenOwner>, Trouble> {
    let sql = "SELECT open.owner, owners.lease_until FROM \
               (SELECT DISTINCT owner FROM dispatches WHERE status = 'running') AS open \
               LEFT JOIN owners ON owners.id = open.owner";
    all(connection, sql, (), open_owner_row)
}

pub(super) fn by_idempotency_key(
    connection: &Connection,
    key: &str,
) -> Result<Option<KeyedDispatch>, Trouble> {
    let sql = "SELECT uuid, idempotency_digest FROM dispatches WHERE idempotency_key = ?1";
    one(connection, sql, [key], keyed_row)
}

pub(super) fn requests(connection: &Connection, owner: OwnerId) -> Result<Vec<Asked>, Trouble> {
    let sql = "SELECT requests.uuid, dispatches.uuid, requests.body \
               FROM requests JOIN dispatches ON dispatches.id = requests.dispatch \
               WHERE dispatches.owner = ?1 AND requests.refusal IS NULL ORDER BY requests.id";
    all(connection, sql, [owner.0.as_bytes()], asked_row)
}

pub(super) fn request(
    connection: &Connection,
    request: RequestId,
) -> Result<Option<RequestState>, Trouble> {
    let sql = "SELECT refusal FROM requests WHERE uuid = ?1";
    let refusal = one(connection, sql, [request.0.as_bytes()], only::<Option<String>>)?;
    Ok(refusal.map(|it| it.map_or(RequestState::Waits, RequestState::Refused)))
}

pub(super) fn plan(connection: &Connection, plan: PlanId) -> Result<Option<StoredPlan>, Trouble> {
    let sql = "SELECT document, caller FROM plans WHERE id = ?1";
    one(connection, sql, [plan.to_string()], plan_row)
}

pub(super) fn recent_plans(
    connection: &Connection,
    caller: Option<&str>,
    before: Option<PlanId>,
    limit: usize,
) -> Result<Vec<(PlanId, Millis)>, Trouble> {
    // Every id is below "g", for it is written in hexadecimal.
    let before = before.map_or_else(|| "g".to_owned(), |it| it.to_string());
    let of_caller = if caller.is_some() { "caller = ?3 AND" } else { "?3 IS NULL AND" };
    let sql =
        format!("SELECT id, at FROM plans WHERE {of_caller} id < ?1 ORDER BY id DESC LIMIT ?2");
    let wanted = params![before, count(limit), caller];
    all(connection, &sql, wanted, listed_plan_row)
}

pub(super) fn durations(
    connection: &Connection,
    agents: &[AgentName],
) -> Result<Vec<(DurationKey, Durations)>, Trouble> {
    let mut found = Vec::new();
    for agent in agents {
        let sql = "SELECT kind, size, histogram FROM durations WHERE agent = ?1";
        found.extend(all(connection, sql, [agent.as_str()], |row| {
            let key = DurationKey { agent: agent.clone(), kind: row.get(0)?, size: row.get(1)? };
            let histogram: String = row.get(2)?;
            Ok((key, duration::read(&histogram)))
        })?);
    }
    Ok(found)
}

fn id_of(connection: &Connection, dispatch: DispatchId) -> Result<Option<i64>, Trouble> {
    one(connection, "SELECT id FROM dispatches WHERE uuid = ?1", [dispatch.as_bytes()], only)
}

pub(super) fn one<T>(
    connection: &Connection,
    sql: &str,
    params: impl Params,
    read: impl FnOnce(&Row<'_>) -> Result<T, Trouble>,
) -> Result<Option<T>, Trouble> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    rows.next()?.map(read).transpose()
}

pub(super) fn all<T>(
    connection: &Connection,
    sql: &str,
    params: impl Params,
    read: impl Fn(&Row<'_>) -> Result<T, Trouble>,
) -> Result<Vec<T>, Trouble> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?);
    }
    Ok(found)
}
