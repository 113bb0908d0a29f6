-- about: NOT NULL is dropped: a target that Weir made has none
-- all: equal
-- stopped freeze: refused WEIR-PG-046
-- stopped hold: held
-- running freeze: equal
-- running hold: equal
--- setup
CREATE TABLE t (id int PRIMARY KEY, a text, b int NOT NULL);
INSERT INTO t SELECT g, 'a' || g, g * 10 FROM generate_series(1, 3) g;
--- change
INSERT INTO t (id, a, b) VALUES (10, 'before', 100);
UPDATE t SET a = 'touched' WHERE id = 2;
---
ALTER TABLE t ALTER COLUMN b DROP NOT NULL;
---
INSERT INTO t VALUES (100, 'after', NULL);
