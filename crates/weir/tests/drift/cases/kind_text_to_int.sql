-- about: text to int
-- evolve: refused WEIR-PG-045
-- discard_column: refused WEIR-PG-045
-- remedy: ALTER TABLE t ALTER COLUMN v TYPE int USING v::int
-- freeze: refused WEIR-PG-046
-- hold: held
--- setup
CREATE TABLE t (id int PRIMARY KEY, v text);
INSERT INTO t VALUES (1, '1'), (2, NULL);
--- change
INSERT INTO t VALUES (10, '1');
---
ALTER TABLE t ALTER COLUMN v TYPE int USING v::int;
---
INSERT INTO t VALUES (100, 2);
