-- about: a table with rows becomes a partition: the log does not have its rows, those that are written later come
-- all: equal in SELECT id, a FROM t WHERE id NOT IN (100, 102) == SELECT id, a FROM t
--- setup
CREATE TABLE t (id int PRIMARY KEY, a text) PARTITION BY RANGE (id);
CREATE TABLE p1 PARTITION OF t FOR VALUES FROM (0) TO (100);
INSERT INTO t VALUES (1, 'one'), (2, 'two');
--- change
CREATE TABLE p2 (id int PRIMARY KEY, a text);
INSERT INTO p2 VALUES (100, 'there'), (101, 'there'), (102, 'there');
---
ALTER TABLE t ATTACH PARTITION p2 FOR VALUES FROM (100) TO (200);
---
UPDATE t SET a = 'set' WHERE id = 101;
INSERT INTO t VALUES (103, 'after');
