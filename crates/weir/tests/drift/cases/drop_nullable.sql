-- about: a column is dropped: it stays, NULL in rows that are written from then on
-- evolve: equal in SELECT id, a, CASE id WHEN 1 THEN 10 WHEN 2 THEN 20 WHEN 3 THEN 30 WHEN 10 THEN 100 END FROM t == SELECT id, a, b FROM t
-- discard_column: equal in SELECT id, a, CASE id WHEN 1 THEN 10 WHEN 2 THEN 20 WHEN 3 THEN 30 WHEN 10 THEN 100 END FROM t == SELECT id, a, b FROM t
-- freeze: refused WEIR-PG-046
-- hold: held
--- setup
CREATE TABLE t (id int PRIMARY KEY, a text, b int);
INSERT INTO t SELECT g, 'a' || g, g * 10 FROM generate_series(1, 3) g;
--- change
INSERT INTO t (id, a, b) VALUES (10, 'before', 100);
UPDATE t SET a = 'touched' WHERE id = 2;
---
ALTER TABLE t DROP COLUMN b;
---
INSERT INTO t VALUES (100, 'after');
