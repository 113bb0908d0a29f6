-- about: the table is renamed
-- stopped all: refused WEIR-PG-007
-- running all: refused WEIR-PG-007
--- setup
CREATE TABLE t (id int PRIMARY KEY, a text, b int);
INSERT INTO t SELECT g, 'a' || g, g * 10 FROM generate_series(1, 3) g;
--- change
INSERT INTO t (id, a, b) VALUES (10, 'before', 100);
UPDATE t SET a = 'touched' WHERE id = 2;
---
ALTER TABLE t RENAME TO u;
---
INSERT INTO u VALUES (100, 'after', 1);
