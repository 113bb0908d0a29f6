-- about: double precision to real: the target keeps the wider type
-- all: equal in SELECT id, v::float8 FROM t == SELECT id, v FROM t
-- freeze: refused WEIR-PG-046
-- hold: held
--- setup
CREATE TABLE t (id int PRIMARY KEY, v double precision);
INSERT INTO t VALUES (1, 1.5), (2, NULL);
--- change
INSERT INTO t VALUES (10, 1.25);
---
ALTER TABLE t ALTER COLUMN v TYPE real;
---
INSERT INTO t VALUES (100, 0.5);
