-- about: a partition is detached: its rows leave the table without a word in the log
-- all: equal in SELECT id, a FROM t UNION ALL SELECT id, a FROM p1 WHERE id <> 99 == SELECT id, a FROM t
--- setup
CREATE TABLE t (id int PRIMARY KEY, a text) PARTITION BY RANGE (id);
CREATE TABLE p1 PARTITION OF t FOR VALUES FROM (0) TO (100);
INSERT INTO t VALUES (1, 'one'), (2, 'two');
--- change
CREATE TABLE p2 PARTITION OF t FOR VALUES FROM (100) TO (200);
---
INSERT INTO t VALUES (100, 'p2');
---
ALTER TABLE t DETACH PARTITION p1;
---
INSERT INTO t VALUES (101, 'after');
INSERT INTO p1 VALUES (99, 'nobody follows this');
