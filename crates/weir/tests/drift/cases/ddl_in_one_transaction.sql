-- about: several DDL in one transaction with rows between
-- evolve: equal
-- discard_column: equal without c, d
-- freeze: refused WEIR-PG-046
-- hold: held
--- setup
CREATE TABLE t (id int PRIMARY KEY, a text, b int);
INSERT INTO t SELECT g, 'a' || g, g * 10 FROM generate_series(1, 3) g;
--- change
INSERT INTO t (id, a, b) VALUES (10, 'before', 100);
UPDATE t SET a = 'touched' WHERE id = 2;
---
BEGIN;
INSERT INTO t VALUES (11, 'in', 1);
ALTER TABLE t ADD COLUMN c text;
INSERT INTO t VALUES (100, 'in', 1, 'c');
ALTER TABLE t ADD COLUMN d int;
INSERT INTO t VALUES (101, 'in', 1, 'c', 2);
UPDATE t SET d = 3 WHERE id = 1;
COMMIT;
---
INSERT INTO t VALUES (102, 'after', 1, 'c', 2);
