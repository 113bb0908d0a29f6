-- about: smallint to int
-- evolve: equal
-- discard_column: refused WEIR-PG-045
-- freeze: refused WEIR-PG-046
-- hold: held
--- setup
CREATE TABLE t (id int PRIMARY KEY, v smallint);
INSERT INTO t VALUES (1, 32767), (2, NULL);
--- change
INSERT INTO t VALUES (10, 32767);
---
ALTER TABLE t ALTER COLUMN v TYPE int;
---
INSERT INTO t VALUES (100, 2147483647);
UPDATE t SET v = 2147483647 WHERE id = 1;
