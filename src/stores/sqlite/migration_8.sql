-- Version 8: whom a dispatch or a plan belongs to, by the name of the caller that asked for it; nobody where
-- callers need not show who they are. It is not `owner`, which is the process that runs the dispatch.

ALTER TABLE dispatches ADD COLUMN caller TEXT;

ALTER TABLE plans ADD COLUMN caller TEXT;

CREATE INDEX dispatches_by_caller ON dispatches (caller, uuid) WHERE caller IS NOT NULL;

CREATE INDEX plans_by_caller ON plans (caller, id) WHERE caller IS NOT NULL;
