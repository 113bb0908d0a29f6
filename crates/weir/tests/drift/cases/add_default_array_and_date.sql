-- about: constant defaults of kinds whose text has commas, quotes and braces
-- evolve: equal
-- freeze: refused WEIR-PG-046
-- hold: held
-- discard_column: equal without c, d, e
--- setup
CREATE TABLE t (id int PRIMARY KEY, a text);
INSERT INTO t VALUES (1, 'one'), (2, 'two');
--- change
INSERT INTO t VALUES (10, 'before');
---
ALTER TABLE t ADD COLUMN c text[] DEFAULT '{"a,b","{}",NULL}', ADD COLUMN d timestamptz DEFAULT '2024-02-29 12:00+02', ADD COLUMN e jsonb DEFAULT '{"a": ["\"", null]}';
---
INSERT INTO t VALUES (100, 'after', '{x}', NULL, 'null');
INSERT INTO t VALUES (101, 'after');
UPDATE t SET a = 'set' WHERE id = 1;
