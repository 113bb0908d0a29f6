-- about: two columns of the same type exchange their names
-- evolve: equal
-- discard_column: refused WEIR-PG-046
-- freeze: refused WEIR-PG-046
-- hold: held
--- setup
CREATE TABLE t (id int PRIMARY KEY, a text, b int, c text);
INSERT INTO t SELECT g, 'a' || g, g * 10, 'c' || g FROM generate_series(1, 3) g;
--- change
INSERT INTO t (id, a, b) VALUES (10, 'before', 100);
UPDATE t SET a = 'touched' WHERE id = 2;
---
BEGIN;
ALTER TABLE t RENAME COLUMN a TO x;
ALTER TABLE t RENAME COLUMN c TO a;
ALTER TABLE t RENAME COLUMN x TO c;
COMMIT;
---
INSERT INTO t (id, a, c) VALUES (100, 'new a', 'new c');
