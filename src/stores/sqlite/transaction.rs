//! One transaction of the writer: the writes of one commit, or of a group of them.

use std::{
    collections::{BTreeMap, btree_map},
    sync::Arc,
};

use rusqlite::{Connection, Row, Statement, params};

use super::{
    duration::{DurationStatements, Samples},
    reuse::ReuseStatements,
    row::{count, key, name, named, read_count, read_owner, time},
    trouble::Trouble,
};
use crate::{
    model::{AgentName, DispatchId, DispatchStatus, Millis, TaskId, TaskIdx, TaskStatus},
    ports::{
        Accept, Asked, Committed, Epoch, Failpoint, OwnerId, Record, RequestId, TaskRow, Write,
    },
    stores::head::{Head, accepted_twice, fence, refuse, takes_effect, unknown},
};

/// The statements of a connection that writes, prepared once.
#[derive(Debug)]
pub(super) struct Statements<'c> {
    begin: Statement<'c>,
    commit: Statement<'c>,
    rollback: Statement<'c>,
    key_taken: Statement<'c>,
    load_head: Statement<'c>,
    save_head: Statement<'c>,
    add_dispatch: Statement<'c>,
    add_document: Statement<'c>,
    set_document: Statement<'c>,
    add_task: Statement<'c>,
    add_record: Statement<'c>,
    task_status: Statement<'c>,
    set_task: Statement<'c>,
    put_output: Statement<'c>,
    end: Statement<'c>,
    set_meta: Statement<'c>,
    add_request: Statement<'c>,
    drop_request: Statement<'c>,
    refuse_request: Statement<'c>,
    adopt: Statement<'c>,
    lease: Statement<'c>,
    put_plan: Statement<'c>,
    durations: DurationStatements<'c>,
    reuse: ReuseStatements<'c>,
}

impl<'c> Statements<'c> {
    pub(super) fn prepare(connection: &'c Connection) -> Result<Self, Trouble> {
        let sql = |text: &str| connection.prepare(text);
        Ok(Self {
            begin: sql("BEGIN IMMEDIATE")?,
            commit: sql("COMMIT")?,
            rollback: sql("ROLLBACK")?,
            key_taken: sql("SELECT 1 FROM dispatches WHERE idempotency_key = ?1")?,
            load_head: sql("SELECT id, n_tasks, n_successful, n_unsuccessful, last_seq, \
                            owner, epoch, status <> 'running' FROM dispatches WHERE uuid = ?1")?,
            save_head: sql("UPDATE dispatches SET n_successful = ?2, n_unsuccessful = ?3, \
                            last_seq = ?4, n_tasks = ?5 WHERE id = ?1")?,
            add_dispatch: sql(
                // No id of a dispatch whose rows are still to be swept is given again.
                "INSERT INTO dispatches (id, uuid, owner, status, created_at, n_tasks, \
                               meta, idempotency_key, idempotency_digest, caller) \
                               VALUES (1 + max((SELECT coalesce(max(id), 0) FROM dispatches), \
                                               (SELECT coalesce(max(id), 0) FROM forgotten)), \
                                       ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?,
            add_document: sql("INSERT INTO documents (dispatch, json) VALUES (?1, ?2)")?,
            set_document: sql("UPDATE documents SET json = ?2 WHERE dispatch = ?1")?,
            add_task: sql("INSERT INTO tasks (key, task_id, agent, status) \
                           VALUES (?1, ?2, ?3, ?4)")?,
            add_record: sql("INSERT INTO records (key, at, task, kind, body) \
                             VALUES (?1, ?2, ?3, ?4, ?5)")?,
            task_status: sql("SELECT status FROM tasks WHERE key = ?1")?,
            set_task: sql("UPDATE tasks SET status = ?2, attempts = ?3, started_at = ?4, \
                           ended_at = ?5, failure_code = ?6, failure_message = ?7, \
                           caused_by = ?8, reused = ?9, approval = ?10, \
                           usage = ?11, evidence = ?12 WHERE key = ?1")?,
            put_output: sql("INSERT INTO outputs (key, json) VALUES (?1, ?2) \
                             ON CONFLICT (key) DO UPDATE SET json = excluded.json")?,
            end: sql("UPDATE dispatches SET status = ?2, ended_at = ?3, critical_path = ?4 \
                      WHERE id = ?1")?,
            set_meta: sql("UPDATE dispatches SET meta = ?2 WHERE id = ?1")?,
            add_request: sql("INSERT INTO requests (uuid, dispatch, body) VALUES (?1, ?2, ?3)")?,
            drop_request: sql("DELETE FROM requests WHERE uuid = ?1")?,
            refuse_request: sql("UPDATE requests SET refusal = ?2 WHERE uuid = ?1")?,
            adopt: sql("UPDATE dispatches SET owner = ?2, epoch = ?3 WHERE id = ?1")?,
            lease: sql("INSERT INTO owners (id, pid, lease_until) VALUES (?1, ?2, ?3) \
                        ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until")?,
            put_plan: sql("INSERT INTO plans (id, at, document, caller) VALUES (?1, ?2, ?3, ?4) \
                           ON CONFLICT (id) DO UPDATE \
                           SET at = excluded.at, document = excluded.document, \
                           caller = excluded.caller")?,
            durations: DurationStatements::prepare(connection)?,
            reuse: ReuseStatements::prepare(connection)?,
        })
    }

    /// Makes all of `commits` durable, or none; answers each.
    pub(super) fn transact(&mut self, commits: &[&[Write]]) -> Result<Vec<Committed>, Trouble> {
        Failpoint::StoreAsked.reach();
        self.begin.execute(())?;
        Failpoint::StoreBegun.reach();
        let done = self.write_all(commits);
        if done.is_err() {
            // Where even this fails, SQLite has rolled back already, or the connection is dropped.
            self.rollback.execute(()).ok();
        }
        done
    }

    fn write_all(&mut self, commits: &[&[Write]]) -> Result<Vec<Committed>, Trouble> {
        let mut transaction =
            Transaction { statements: self, heads: BTreeMap::new(), samples: Samples::new() };
        let done = commits.iter().map(|it| transaction.write(it)).collect::<Result<Vec<_>, _>>()?;
        transaction.save_heads()?;
        let samples = transaction.samples;
        self.durations.save(&samples)?;
        Failpoint::StoreWritten.reach();
        self.commit.execute(())?;
        Failpoint::StoreCommitted.reach();
        Ok(done)
    }
}

/// A transaction under way. Heads are read once each and saved at the end; they are never kept
/// from one transaction to the next, because another process may have written in between.
struct Transaction<'s, 'c> {
    statements: &'s mut Statements<'c>,
    heads: BTreeMap<DispatchId, StoredHead>,
    samples: Samples,
}

#[derive(Clone, Copy)]
struct StoredHead {
    id: i64,
    stored: Head,
    head: Head,
}

impl Transaction<'_, '_> {
    fn write(&mut self, writes: &[Write]) -> Result<Committed, Trouble> {
        let refused = refuse(writes, |key| self.is_key_taken(key))?;
        let head_of = |it| Ok::<_, Trouble>(self.head_if_known(it)?.map(|it| it.head));
        let (fenced, lost) = fence(writes, head_of)?;
        let committed = Committed { refused, fenced, lost };
        for write in writes.iter().filter(|it| takes_effect(it, &committed)) {
            self.write_one(write)?;
            Failpoint::reach_after(write);
        }
        Ok(committed)
    }

    fn write_one(&mut self, write: &Write) -> Result<(), Trouble> {
        match write {
            Write::Accept(accept) => self.accept(accept),
            Write::Record { dispatch, record } => self.record(*dispatch, record),
            Write::Task { dispatch, task, row } => self.task(*dispatch, *task, row),
            Write::Output { dispatch, task, json } => self.output(*dispatch, *task, json),
            Write::End { dispatch, status, at, critical_path } => {
                self.end(*dispatch, *status, (*at, *critical_path))
            }
            Write::Meta { dispatch, json } => {
                let id = self.head(*dispatch)?.id;
                self.statements.set_meta.execute(params![id, json])?;
                Ok(())
            }
            Write::Document { dispatch, json, added } => self.set_document(*dispatch, json, added),
            Write::Request(asked) => self.request(asked),
            Write::RequestHandled { request, refusal, .. } => {
                self.handle_request(*request, refusal.as_deref())
            }
            // It was checked before anything else.
            Write::Claim { .. } => Ok(()),
            Write::Adopt { dispatch, found, owner } => {
                self.adopt(*dispatch, *owner, found.epoch.next())
            }
            Write::Lease { owner, pid, until } => {
                let row = params![owner.0.as_bytes(), pid, time(*until)];
                self.statements.lease.execute(row)?;
                Ok(())
            }
            Write::Plan { plan, at, document, caller } => {
                let id = plan.to_string();
                self.statements.put_plan.execute(params![id, time(*at), document, caller])?;
                Ok(())
            }
            Write::Duration { key, at, took } => {
                let (last, spans) = self.samples.entry(Arc::clone(key)).or_default();
                *last = *at;
                spans.push(*took);
                Ok(())
            }
            Write::Remember(result) => {
                let stored = self.head(result.dispatch)?;
                stored.head.check_task(result.dispatch, result.task)?;
                let output = key(stored.id, result.task.as_u32());
                self.statements.reuse.remember(output, result)
            }
        }
    }

    fn is_key_taken(&mut self, key: &str) -> Result<bool, Trouble> {
        Ok(self.statements.key_taken.exists([key])?)
    }

    fn accept(&mut self, accept: &Accept) -> Result<(), Trouble> {
        if self.head_if_known(accept.dispatch)?.is_some() {
            return Err(accepted_twice(accept.dispatch).into());
        }
        let id = self.add_dispatch(accept)?;
        self.statements.add_document.execute(params![id, accept.document])?;
        self.add_tasks(id, 0, &accept.tasks)?;
        let head = Head::new(accept.tasks.len(), accept.owner);
        self.heads.insert(accept.dispatch, StoredHead { id, stored: head, head });
        Ok(())
    }

    fn set_document(
        &mut self,
        dispatch: DispatchId,
        json: &str,
        added: &[(TaskId, AgentName)],
    ) -> Result<(), Trouble> {
        let stored = self.head(dispatch)?;
        let (id, first) = (stored.id, stored.head.n_tasks);
        stored.head.n_tasks += added.len();
        self.statements.set_document.execute(params![id, json])?;
        self.add_tasks(id, u32::try_from(first).unwrap_or(u32::MAX), added)
    }

    fn add_tasks(
        &mut self,
        id: i64,
        first: u32,
        tasks: &[(TaskId, AgentName)],
    ) -> Result<(), Trouble> {
        let pending = name(&TaskStatus::Pending)?;
        for (number, (task_id, agent)) in (first..).zip(tasks) {
            let row = params![key(id, number), task_id.as_str(), agent.as_str(), pending];
            self.statements.add_task.execute(row)?;
        }
        Ok(())
    }

    fn add_dispatch(&mut self, accept: &Accept) -> Result<i64, Trouble> {
        let (key, digest) = accept.idempotency.as_ref().map(|(key, digest)| (key, digest)).unzip();
        let id = self.statements.add_dispatch.insert(params![
            accept.dispatch.as_bytes(),
            accept.owner.0.as_bytes(),
            name(&DispatchStatus::Running)?,
            time(accept.at),
            count(accept.tasks.len()),
            accept.meta,
            key,
            digest,
            accept.caller,
        ])?;
        if id >= i64::from(i32::MAX) {
            return Err(Trouble::corrupt("it holds too many dispatches"));
        }
        Ok(id)
    }

    fn record(&mut self, dispatch: DispatchId, record: &Record) -> Result<(), Trouble> {
        let stored = self.head(dispatch)?;
        stored.head.follow(dispatch, record.seq)?;
        let id = stored.id;
        let number = u32::try_from(record.seq)
            .map_err(|_| Trouble::corrupt(format!("dispatch {dispatch}: too many records")))?;
        let body = write_json(&record.body)?;
        let task = record.body.subject().0.map(TaskIdx::as_u32);
        let kind = name(&record.body.kind())?;
        let row = params![key(id, number), time(record.at), task, kind, body];
        self.statements.add_record.execute(row)?;
        Ok(())
    }

    fn task(&mut self, dispatch: DispatchId, task: TaskIdx, row: &TaskRow) -> Result<(), Trouble> {
        let stored = self.head(dispatch)?;
        stored.head.check_task(dispatch, task)?;
        row.caused_by.map_or(Ok(()), |it| stored.head.check_task(dispatch, it))?;
        let key = key(stored.id, task.as_u32());
        let before = self.task_status(key)?;
        self.head(dispatch)?.head.count(before, row.status);
        let failure = row.failure.as_ref();
        let usage = row.usage.as_ref().map(serde_json::to_string).transpose();
        let usage = usage.map_err(|error| Trouble::corrupt(error.to_string()))?;
        self.statements.set_task.execute(params![
            key,
            name(&row.status)?,
            row.attempts,
            row.started_at.map(time),
            row.ended_at.map(time),
            failure.map(|it| it.code.as_str()),
            failure.map(|it| &it.message),
            row.caused_by.map(TaskIdx::as_u32),
            row.reused.as_deref().map(write_json).transpose()?,
            row.approval.as_deref().map(write_json).transpose()?,
            usage,
            row.evidence.as_deref().map(write_json).transpose()?,
        ])?;
        Ok(())
    }

    fn task_status(&mut self, key: i64) -> Result<TaskStatus, Trouble> {
        let mut rows = self.statements.task_status.query([key])?;
        let row = rows.next()?.ok_or_else(|| Trouble::corrupt("the row of a task is missing"))?;
        named(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?)
    }

    fn output(&mut self, dispatch: DispatchId, task: TaskIdx, json: &str) -> Result<(), Trouble> {
        let stored = self.head(dispatch)?;
        stored.head.check_task(dispatch, task)?;
        let key = key(stored.id, task.as_u32());
        self.statements.put_output.execute(params![key, json])?;
        Ok(())
    }

    fn end(
        &mut self,
        dispatch: DispatchId,
        status: DispatchStatus,
        (at, critical_path): (Millis, Millis),
    ) -> Result<(), Trouble> {
        let stored = self.head(dispatch)?;
        (stored.stored.has_ended, stored.head.has_ended) = (true, true);
        let id = stored.id;
        let row = params![id, name(&status)?, time(at), time(critical_path)];
        self.statements.end.execute(row)?;
        Ok(())
    }

    fn request(&mut self, asked: &Asked) -> Result<(), Trouble> {
        let Asked { id, dispatch, request } = asked;
        let stored = self.head(*dispatch)?;
        request.tasks().iter().try_for_each(|it| stored.head.check_task(*dispatch, *it))?;
        let key = stored.id;
        let body = write_json(request)?;
        self.statements.add_request.execute(params![id.0.as_bytes(), key, body])?;
        Ok(())
    }

    fn handle_request(&mut self, id: RequestId, refusal: Option<&str>) -> Result<(), Trouble> {
        let uuid = id.0.as_bytes();
        match refusal {
            None => self.statements.drop_request.execute([uuid])?,
            Some(refusal) => self.statements.refuse_request.execute(params![uuid, refusal])?,
        };
        Ok(())
    }

    fn adopt(&mut self, dispatch: DispatchId, owner: OwnerId, epoch: Epoch) -> Result<(), Trouble> {
        let stored = self.head(dispatch)?;
        for it in [&mut stored.stored, &mut stored.head] {
            (it.owner, it.epoch) = (owner, epoch);
        }
        let id = stored.id;
        self.statements.adopt.execute(params![id, owner.0.as_bytes(), epoch.0])?;
        Ok(())
    }

    fn head(&mut self, dispatch: DispatchId) -> Result<&mut StoredHead, Trouble> {
        self.head_if_known(dispatch)?.ok_or_else(|| unknown(dispatch).into())
    }

    fn head_if_known(&mut self, dispatch: DispatchId) -> Result<Option<&mut StoredHead>, Trouble> {
        match self.heads.entry(dispatch) {
            btree_map::Entry::Occupied(entry) => Ok(Some(entry.into_mut())),
            btree_map::Entry::Vacant(entry) => {
                let mut rows = self.statements.load_head.query([dispatch.as_bytes()])?;
                let loaded = rows.next()?.map(read_head).transpose()?;
                Ok(loaded.map(|it| entry.insert(it)))
            }
        }
    }

    fn save_heads(&mut self) -> Result<(), Trouble> {
        for StoredHead { id, stored, head } in self.heads.values() {
            if stored == head {
                continue;
            }
            self.statements.save_head.execute(params![
                id,
                count(head.n_successful),
                count(head.n_unsuccessful),
                head.last_seq.cast_signed(),
                count(head.n_tasks),
            ])?;
        }
        Ok(())
    }
}

fn write_json(value: &(impl serde::Serialize + ?Sized)) -> Result<String, Trouble> {
    serde_json::to_string(value).map_err(|error| Trouble::corrupt(error.to_string()))
}

fn read_head(row: &Row<'_>) -> Result<StoredHead, Trouble> {
    let head = Head {
        n_tasks: read_count(row, 1)?,
        n_successful: read_count(row, 2)?,
        n_unsuccessful: read_count(row, 3)?,
        last_seq: row.get::<_, i64>(4)?.cast_unsigned(),
        owner: read_owner(row, 5)?,
        epoch: Epoch(row.get(6)?),
        has_ended: row.get(7)?,
    };
    Ok(StoredHead { id: row.get(0)?, stored: head, head })
}
