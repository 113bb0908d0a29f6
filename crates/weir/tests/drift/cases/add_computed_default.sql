-- about: a column whose default is computed for every row that is there: the log has none of these values, they stay NULL until a row is written
-- evolve: equal in SELECT id, a, b, CASE WHEN id >= 100 OR id = 1 THEN c END FROM t == SELECT id, a, b, c FROM t
-- discard_column: equal without c
-- freeze: refused WEIR-PG-046
-- hold: held
--- setup
CREATE TABLE t (id int PRIMARY KEY, a text, b int);
INSERT INTO t SELECT g, 'a' || g, g * 10 FROM generate_series(1, 3) g;
--- change
INSERT INTO t (id, a, b) VALUES (10, 'before', 100);
UPDATE t SET a = 'touched' WHERE id = 2;
---
CREATE SEQUENCE s;
---
ALTER TABLE t ADD COLUMN c bigint DEFAULT nextval('s');
---
INSERT INTO t VALUES (100, 'after', 1);
UPDATE t SET b = 0 WHERE id = 1;
