-- about: numeric(10,2) to numeric(14,2)
-- evolve: equal
-- discard_column: refused WEIR-PG-045
-- freeze: refused WEIR-PG-046
-- hold: held
--- setup
CREATE TABLE t (id int PRIMARY KEY, v numeric(10,2));
INSERT INTO t VALUES (1, 12345678.25), (2, NULL);
--- change
INSERT INTO t VALUES (10, 12345678.25);
---
ALTER TABLE t ALTER COLUMN v TYPE numeric(14,2);
---
INSERT INTO t VALUES (100, 123456789012.25);
UPDATE t SET v = 123456789012.25 WHERE id = 1;
