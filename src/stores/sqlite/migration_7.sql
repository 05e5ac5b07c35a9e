-- Version 7: what was found of what is expected of a task, as JSON text, where something is.

ALTER TABLE tasks ADD COLUMN evidence TEXT;
