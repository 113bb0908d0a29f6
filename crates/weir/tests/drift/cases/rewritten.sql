-- about: VACUUM FULL writes the table anew
-- all: equal
--- setup
CREATE TABLE t (id int PRIMARY KEY, a text, b int);
INSERT INTO t SELECT g, 'a' || g, g * 10 FROM generate_series(1, 3) g;
--- change
INSERT INTO t (id, a, b) VALUES (10, 'before', 100);
UPDATE t SET a = 'touched' WHERE id = 2;
---
VACUUM FULL t
---
INSERT INTO t VALUES (100, 'after', 1);
UPDATE t SET a = 'set' WHERE id = 1;
