-- about: int to bigint
-- evolve: equal
-- discard_column: refused WEIR-PG-045
-- freeze: refused WEIR-PG-046
-- hold: held
--- setup
CREATE TABLE t (id int PRIMARY KEY, v int);
INSERT INTO t VALUES (1, 2147483647), (2, NULL);
--- change
INSERT INTO t VALUES (10, 2147483647);
---
ALTER TABLE t ALTER COLUMN v TYPE bigint;
---
INSERT INTO t VALUES (100, 9007199254740993);
UPDATE t SET v = 9007199254740993 WHERE id = 1;
