-- about: real to double precision
-- evolve: equal
-- discard_column: refused WEIR-PG-045
-- freeze: refused WEIR-PG-046
-- hold: held
--- setup
CREATE TABLE t (id int PRIMARY KEY, v real);
INSERT INTO t VALUES (1, 1.5), (2, NULL);
--- change
INSERT INTO t VALUES (10, 1.5);
---
ALTER TABLE t ALTER COLUMN v TYPE double precision;
---
INSERT INTO t VALUES (100, 1.0000000000000002);
UPDATE t SET v = 1.0000000000000002 WHERE id = 1;
