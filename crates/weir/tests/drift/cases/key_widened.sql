-- about: the key's type becomes wider
-- evolve: equal
-- discard_column: refused WEIR-PG-045
-- freeze: refused WEIR-PG-046
-- hold: held
--- setup
CREATE TABLE t (id int PRIMARY KEY, a text, b int);
INSERT INTO t SELECT g, 'a' || g, g * 10 FROM generate_series(1, 3) g;
--- change
INSERT INTO t (id, a, b) VALUES (10, 'before', 100);
UPDATE t SET a = 'touched' WHERE id = 2;
---
ALTER TABLE t ALTER COLUMN id TYPE bigint;
---
INSERT INTO t VALUES (10000000000, 'after', 1);
UPDATE t SET a = 'set' WHERE id = 1;
DELETE FROM t WHERE id = 3;
