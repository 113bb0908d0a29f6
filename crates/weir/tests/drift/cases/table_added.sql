-- about: a table is added to `tables`
-- all: equal
-- tables after: [public.t, public.u]
--- setup
CREATE TABLE t (id int PRIMARY KEY, a text, b int);
INSERT INTO t SELECT g, 'a' || g, g * 10 FROM generate_series(1, 3) g;
CREATE TABLE u (id int PRIMARY KEY, x text);
INSERT INTO u VALUES (1, 'one'), (2, 'two');
--- change
INSERT INTO t (id, a, b) VALUES (10, 'before', 100);
UPDATE t SET a = 'touched' WHERE id = 2;
---
INSERT INTO u VALUES (10, 'u');
---
INSERT INTO t VALUES (100, 'after', 1);
UPDATE u SET x = 'set' WHERE id = 1;
