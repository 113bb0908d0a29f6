-- about: a new partition
-- all: equal
--- setup
CREATE TABLE t (id int PRIMARY KEY, a text) PARTITION BY RANGE (id);
CREATE TABLE p1 PARTITION OF t FOR VALUES FROM (0) TO (100);
INSERT INTO t VALUES (1, 'one'), (2, 'two');
--- change
INSERT INTO t VALUES (10, 'old');
---
CREATE TABLE p2 PARTITION OF t FOR VALUES FROM (100) TO (200);
---
INSERT INTO t VALUES (100, 'after');
UPDATE t SET id = 101 WHERE id = 2;
