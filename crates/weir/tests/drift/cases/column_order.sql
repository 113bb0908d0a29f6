-- about: a column is dropped in the middle and another added at the end: order differs from the target's
-- evolve: equal
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
ALTER TABLE t DROP COLUMN a, ADD COLUMN c text;
---
INSERT INTO t VALUES (100, 1, 'new');
UPDATE t SET c = 'set', b = 7 WHERE id = 1;
