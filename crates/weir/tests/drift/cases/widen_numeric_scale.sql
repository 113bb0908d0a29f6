-- about: numeric(10,2) to numeric(14,4): the source writes 1.50 as 1.5000
-- evolve: equal
-- discard_column: refused WEIR-PG-045
-- freeze: refused WEIR-PG-046
-- hold: held
--- setup
CREATE TABLE t (id int PRIMARY KEY, v numeric(10,2));
INSERT INTO t VALUES (1, 1.50), (2, NULL);
--- change
INSERT INTO t VALUES (10, 1.50);
---
ALTER TABLE t ALTER COLUMN v TYPE numeric(14,4);
---
INSERT INTO t VALUES (100, 1234567890.1234);
UPDATE t SET v = 1234567890.1234 WHERE id = 1;
