-- Version 2: how long work of each kind has taken, for estimates. A row is read, changed and
-- written back inside the transaction of the attempt's end; the histogram is JSON of the program.

CREATE TABLE durations (
    agent TEXT NOT NULL,
    kind TEXT NOT NULL,
    size INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    histogram TEXT NOT NULL,
    PRIMARY KEY (agent, kind, size)
) STRICT, WITHOUT ROWID;
