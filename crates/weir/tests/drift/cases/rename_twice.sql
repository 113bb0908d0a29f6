-- about: a column is renamed twice, with rows between
-- evolve: equal
-- discard_column: equal in SELECT id, b FROM t
-- freeze: refused WEIR-PG-046
-- hold: held
--- setup
CREATE TABLE t (id int PRIMARY KEY, a text, b int);
INSERT INTO t SELECT g, 'a' || g, g * 10 FROM generate_series(1, 3) g;
--- change
INSERT INTO t (id, a, b) VALUES (10, 'before', 100);
UPDATE t SET a = 'touched' WHERE id = 2;
---
ALTER TABLE t RENAME COLUMN a TO y;
---
INSERT INTO t VALUES (100, 'between', 1);
---
ALTER TABLE t RENAME COLUMN y TO z;
---
INSERT INTO t VALUES (101, 'after', 1);
UPDATE t SET z = 'set' WHERE id = 1;
