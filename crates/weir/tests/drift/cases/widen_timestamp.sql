-- about: timestamp(0) to timestamp(6)
-- evolve: equal
-- discard_column: equal
-- freeze: refused WEIR-PG-046
-- hold: held
--- setup
CREATE TABLE t (id int PRIMARY KEY, v timestamp(0));
INSERT INTO t VALUES (1, '2024-01-01 00:00:01'), (2, NULL);
--- change
INSERT INTO t VALUES (10, '2024-01-01 00:00:01');
---
ALTER TABLE t ALTER COLUMN v TYPE timestamp(6);
---
INSERT INTO t VALUES (100, '2024-01-01 00:00:01.123456');
