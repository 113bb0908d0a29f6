-- about: another unique index identifies rows
-- evolve: refused WEIR-PG-044
-- discard_column: refused WEIR-PG-044
-- freeze: refused WEIR-PG-046
-- hold: held
-- remedy: CREATE UNIQUE INDEX ON t (b)
--- setup
CREATE TABLE t (id int PRIMARY KEY, a text, b int);
INSERT INTO t SELECT g, 'a' || g, g * 10 FROM generate_series(1, 3) g;
--- change
INSERT INTO t (id, a, b) VALUES (10, 'before', 100);
UPDATE t SET a = 'touched' WHERE id = 2;
---
ALTER TABLE t ALTER b SET NOT NULL;
CREATE UNIQUE INDEX other ON t (b);
ALTER TABLE t REPLICA IDENTITY USING INDEX other;
---
INSERT INTO t VALUES (100, 'after', 1);
UPDATE t SET a = 'set' WHERE id = 1;
DELETE FROM t WHERE id = 3;
