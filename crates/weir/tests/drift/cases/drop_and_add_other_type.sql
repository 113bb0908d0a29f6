-- about: dropped and added again with a type that the target's column cannot hold
-- evolve: refused WEIR-PG-045
-- discard_column: refused WEIR-PG-045
-- remedy: ALTER TABLE t RENAME COLUMN b TO b_old
-- freeze: refused WEIR-PG-046
-- hold: held
--- setup
CREATE TABLE t (id int PRIMARY KEY, a text, b int);
INSERT INTO t SELECT g, 'a' || g, g * 10 FROM generate_series(1, 3) g;
--- change
INSERT INTO t (id, a, b) VALUES (10, 'before', 100);
UPDATE t SET a = 'touched' WHERE id = 2;
---
ALTER TABLE t DROP COLUMN b, ADD COLUMN b jsonb;
---
INSERT INTO t VALUES (100, 'after', '[1]');
