-- about: a generated column, which the log of this version does not have
-- all: equal without c
--- setup
CREATE TABLE t (id int PRIMARY KEY, a text, b int);
INSERT INTO t SELECT g, 'a' || g, g * 10 FROM generate_series(1, 3) g;
--- change
INSERT INTO t (id, a, b) VALUES (10, 'before', 100);
UPDATE t SET a = 'touched' WHERE id = 2;
---
ALTER TABLE t ADD COLUMN c int GENERATED ALWAYS AS (b * 2) STORED;
---
INSERT INTO t VALUES (100, 'after', 1);
