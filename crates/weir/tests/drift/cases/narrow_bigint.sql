-- about: bigint to int: the target stays wide
-- all: equal
-- freeze: refused WEIR-PG-046
-- hold: held
--- setup
CREATE TABLE t (id int PRIMARY KEY, v bigint);
INSERT INTO t VALUES (1, 1), (2, NULL);
--- change
INSERT INTO t VALUES (10, 10);
---
ALTER TABLE t ALTER COLUMN v TYPE int;
---
INSERT INTO t VALUES (100, 2147483647);
