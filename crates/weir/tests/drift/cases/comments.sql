-- about: comments on table, column and type
-- all: equal
--- setup
CREATE TABLE t (id int PRIMARY KEY, a text, b int);
INSERT INTO t SELECT g, 'a' || g, g * 10 FROM generate_series(1, 3) g;
--- change
INSERT INTO t (id, a, b) VALUES (10, 'before', 100);
UPDATE t SET a = 'touched' WHERE id = 2;
---
COMMENT ON TABLE t IS 'x';
COMMENT ON COLUMN t.a IS 'y';
---
INSERT INTO t VALUES (100, 'after', 1);
