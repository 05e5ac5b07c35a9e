-- Version 1. Times are milliseconds since 1970; statuses and kinds are the names they have in JSON.
--
-- Rows of a dispatch are found by one integer: dispatches.id * 2^32 + the task's index or the
-- record's number. So each table is a single b-tree that is read and appended in order.

CREATE TABLE dispatches (
    id INTEGER PRIMARY KEY,
    uuid BLOB NOT NULL UNIQUE,
    owner BLOB NOT NULL,
    status TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    ended_at INTEGER,
    n_tasks INTEGER NOT NULL,
    n_successful INTEGER NOT NULL DEFAULT 0,
    n_unsuccessful INTEGER NOT NULL DEFAULT 0,
    last_seq INTEGER NOT NULL DEFAULT 0,
    critical_path INTEGER NOT NULL DEFAULT 0,
    meta TEXT NOT NULL,
    idempotency_key TEXT UNIQUE,
    idempotency_digest BLOB
) STRICT;

CREATE INDEX open_dispatches ON dispatches (uuid) WHERE status = 'running';

CREATE TABLE documents (
    dispatch INTEGER PRIMARY KEY,
    json TEXT NOT NULL
) STRICT;

CREATE TABLE tasks (
    key INTEGER PRIMARY KEY,
    task_id TEXT NOT NULL,
    agent TEXT NOT NULL,
    status TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    started_at INTEGER,
    ended_at INTEGER,
    failure_code TEXT,
    failure_message TEXT,
    caused_by INTEGER
) STRICT;

CREATE TABLE outputs (
    key INTEGER PRIMARY KEY,
    json TEXT NOT NULL
) STRICT;

CREATE TABLE records (
    key INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    task INTEGER,
    kind TEXT NOT NULL,
    body TEXT NOT NULL
) STRICT;

CREATE TABLE cancel_requests (
    id INTEGER PRIMARY KEY,
    dispatch INTEGER NOT NULL,
    tasks TEXT NOT NULL,
    reason TEXT NOT NULL
) STRICT;

CREATE TABLE plans (
    id TEXT PRIMARY KEY,
    at INTEGER NOT NULL,
    document TEXT NOT NULL
) STRICT;
