-- about: a column for all partitions
-- evolve: equal
-- discard_column: equal without c
-- freeze: refused WEIR-PG-046
-- hold: held
--- setup
CREATE TABLE t (id int PRIMARY KEY, a text) PARTITION BY RANGE (id);
CREATE TABLE p1 PARTITION OF t FOR VALUES FROM (0) TO (100);
INSERT INTO t VALUES (1, 'one'), (2, 'two');
--- change
INSERT INTO t VALUES (10, 'old');
---
CREATE TABLE p2 PARTITION OF t FOR VALUES FROM (100) TO (200);
ALTER TABLE t ADD COLUMN c int;
---
INSERT INTO t VALUES (100, 'after', 1);
UPDATE t SET c = 5 WHERE id = 1;
