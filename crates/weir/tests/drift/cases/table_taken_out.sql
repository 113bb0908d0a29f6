-- about: a table is taken out of `tables`: the target keeps what it has
-- tables: [public.t, public.u]
-- tables after: [public.t]
-- all: equal in SELECT id, a, b, 2 FROM t == SELECT id, a, b, (SELECT count(*)::int FROM u) FROM t
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
