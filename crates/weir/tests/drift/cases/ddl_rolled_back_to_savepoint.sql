-- about: DDL that is rolled back to a savepoint, rows around it
-- all: equal
--- setup
CREATE TABLE t (id int PRIMARY KEY, a text, b int);
INSERT INTO t SELECT g, 'a' || g, g * 10 FROM generate_series(1, 3) g;
--- change
INSERT INTO t (id, a, b) VALUES (10, 'before', 100);
UPDATE t SET a = 'touched' WHERE id = 2;
---
BEGIN;
INSERT INTO t VALUES (11, 'in', 1);
SAVEPOINT s;
ALTER TABLE t ADD COLUMN c text;
INSERT INTO t VALUES (100, 'never', 1, 'c');
ROLLBACK TO s;
INSERT INTO t VALUES (101, 'in', 1);
COMMIT;
