-- about: indexes and constraints come and go
-- all: equal
--- setup
CREATE TABLE t (id int PRIMARY KEY, a text, b int);
INSERT INTO t SELECT g, 'a' || g, g * 10 FROM generate_series(1, 3) g;
--- change
INSERT INTO t (id, a, b) VALUES (10, 'before', 100);
UPDATE t SET a = 'touched' WHERE id = 2;
---
CREATE INDEX one ON t (b);
CREATE UNIQUE INDEX two ON t (a, b);
ALTER TABLE t ADD CHECK (b > 0), ADD UNIQUE (a, id);
ALTER TABLE t CLUSTER ON t_pkey;
---
INSERT INTO t VALUES (100, 'after', 1);
DROP INDEX one;
---
INSERT INTO t VALUES (101, 'after', 2);
