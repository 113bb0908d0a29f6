-- about: the source cuts its own texts: rows that nobody writes keep what they were at the target
-- all: equal in SELECT id, CASE id WHEN 1 THEN 'a long one' ELSE v END FROM t == SELECT id, v FROM t
-- freeze: refused WEIR-PG-046
-- hold: held
--- setup
CREATE TABLE t (id int PRIMARY KEY, v varchar(50));
INSERT INTO t VALUES (1, 'a long one'), (2, NULL);
--- change
INSERT INTO t VALUES (10, 'ten');
---
ALTER TABLE t ALTER COLUMN v TYPE varchar(5) USING left(v, 5);
---
INSERT INTO t VALUES (100, 'abcde');
