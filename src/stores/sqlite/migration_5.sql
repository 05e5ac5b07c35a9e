-- Version 5: whatever may be asked of a dispatch by another process than its owner, and the answer
-- where it was refused; what is asked before a task may start. Both are JSON of the program.

CREATE TABLE requests (
    id INTEGER PRIMARY KEY,
    uuid BLOB NOT NULL UNIQUE,
    dispatch INTEGER NOT NULL,
    body TEXT NOT NULL,
    refusal TEXT
) STRICT;

CREATE INDEX requests_by_dispatch ON requests (dispatch);

INSERT INTO requests (uuid, dispatch, body)
    SELECT randomblob(16), dispatch,
        json_object('cancel', json_object('tasks', json(tasks), 'reason', reason))
    FROM cancel_requests ORDER BY id;

DROP TABLE cancel_requests;

ALTER TABLE tasks ADD COLUMN approval TEXT;
