-- about: dropped and made again: another table under the same name
-- stopped all: refused WEIR-PG-080
-- running all: refused later WEIR-PG-080
--- setup
CREATE TABLE t (id int PRIMARY KEY, a text, b int);
INSERT INTO t SELECT g, 'a' || g, g * 10 FROM generate_series(1, 3) g;
--- change
INSERT INTO t (id, a, b) VALUES (10, 'before', 100);
UPDATE t SET a = 'touched' WHERE id = 2;
---
DROP TABLE t;
CREATE TABLE t (id int PRIMARY KEY, a text, b int);
---
INSERT INTO t VALUES (11, 'after', 1);
