-- Version 4: results that later tasks may take instead of doing the same work again. `output` is
-- the key of the row in `outputs`; ids grow with each result, so that the oldest are known. `work`
-- and `evidence` are digests, the latter several in a row.

CREATE TABLE results (
    id INTEGER PRIMARY KEY,
    work BLOB NOT NULL UNIQUE,
    output INTEGER NOT NULL,
    at INTEGER NOT NULL,
    evidence BLOB NOT NULL
) STRICT;

CREATE INDEX results_by_output ON results (output);

ALTER TABLE tasks ADD COLUMN reused TEXT;
