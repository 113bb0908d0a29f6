-- about: boolean to int
-- evolve: refused WEIR-PG-045
-- discard_column: refused WEIR-PG-045
-- remedy: ALTER TABLE t ALTER COLUMN v TYPE int USING v::int
-- freeze: refused WEIR-PG-046
-- hold: held
--- setup
CREATE TABLE t (id int PRIMARY KEY, v boolean);
INSERT INTO t VALUES (1, true), (2, NULL);
--- change
INSERT INTO t VALUES (10, true);
---
ALTER TABLE t ALTER COLUMN v TYPE int USING v::int;
---
INSERT INTO t VALUES (100, 2);
