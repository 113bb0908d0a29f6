-- about: int to int[]
-- evolve: refused WEIR-PG-045
-- discard_column: refused WEIR-PG-045
-- remedy: ALTER TABLE t ALTER COLUMN v TYPE int[] USING ARRAY[v]
-- freeze: refused WEIR-PG-046
-- hold: held
--- setup
CREATE TABLE t (id int PRIMARY KEY, v int);
INSERT INTO t VALUES (1, 1), (2, 2);
--- change
INSERT INTO t VALUES (10, 10);
---
ALTER TABLE t ALTER COLUMN v TYPE int[] USING ARRAY[v];
---
INSERT INTO t VALUES (100, '{1,2}');
