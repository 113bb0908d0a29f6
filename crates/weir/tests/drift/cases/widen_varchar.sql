-- about: varchar(10) to varchar(50)
-- evolve: equal
-- discard_column: refused WEIR-PG-045
-- freeze: refused WEIR-PG-046
-- hold: held
--- setup
CREATE TABLE t (id int PRIMARY KEY, v varchar(10));
INSERT INTO t VALUES (1, 'ten'), (2, NULL);
--- change
INSERT INTO t VALUES (10, 'ten');
---
ALTER TABLE t ALTER COLUMN v TYPE varchar(50);
---
INSERT INTO t VALUES (100, 'a text of more than ten characters');
UPDATE t SET v = 'a text of more than ten characters' WHERE id = 1;
