-- about: varchar(50) to varchar(5)
-- all: equal
-- freeze: refused WEIR-PG-046
-- hold: held
--- setup
CREATE TABLE t (id int PRIMARY KEY, v varchar(50));
INSERT INTO t VALUES (1, 'one'), (2, NULL);
--- change
INSERT INTO t VALUES (10, 'ten');
---
ALTER TABLE t ALTER COLUMN v TYPE varchar(5);
---
INSERT INTO t VALUES (100, 'abcde');
