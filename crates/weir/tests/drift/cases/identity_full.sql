-- about: REPLICA IDENTITY FULL: the key stays
-- all: equal
--- setup
CREATE TABLE t (id int PRIMARY KEY, a text, b int);
INSERT INTO t SELECT g, 'a' || g, g * 10 FROM generate_series(1, 3) g;
--- change
INSERT INTO t (id, a, b) VALUES (10, 'before', 100);
UPDATE t SET a = 'touched' WHERE id = 2;
---
ALTER TABLE t REPLICA IDENTITY FULL;
---
INSERT INTO t VALUES (100, 'after', 1);
UPDATE t SET a = 'set' WHERE id = 1;
DELETE FROM t WHERE id = 3;
UPDATE t SET id = 101 WHERE id = 2;
