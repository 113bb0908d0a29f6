-- about: the table moves to another schema
-- stopped all: refused WEIR-PG-007
-- running all: refused WEIR-PG-007
--- setup
CREATE TABLE t (id int PRIMARY KEY, a text, b int);
INSERT INTO t SELECT g, 'a' || g, g * 10 FROM generate_series(1, 3) g;
--- change
INSERT INTO t (id, a, b) VALUES (10, 'before', 100);
UPDATE t SET a = 'touched' WHERE id = 2;
---
CREATE SCHEMA other;
ALTER TABLE t SET SCHEMA other;
---
INSERT INTO other.t VALUES (100, 'after', 1);
