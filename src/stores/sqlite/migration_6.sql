-- Version 6: what the attempts at a task used, as JSON text, where anything is known of it.

ALTER TABLE tasks ADD COLUMN usage TEXT;
