-- Version 3: owners of dispatches change by epochs, and say by leases that they go on; what was forgotten is
-- swept away bit by bit.

ALTER TABLE dispatches ADD COLUMN epoch INTEGER NOT NULL DEFAULT 1;

CREATE INDEX open_owners ON dispatches (owner) WHERE status = 'running';

CREATE INDEX ended_dispatches ON dispatches (ended_at, uuid) WHERE ended_at IS NOT NULL;

CREATE TABLE owners (
    id BLOB PRIMARY KEY,
    pid INTEGER NOT NULL,
    lease_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Ids of dispatches that are gone and whose rows are not yet; no new dispatch takes one of them.
CREATE TABLE forgotten (
    id INTEGER PRIMARY KEY
) STRICT;

CREATE INDEX plans_by_time ON plans (at);
