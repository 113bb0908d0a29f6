-- about: numeric(14,4) to numeric(10,2): the target keeps its scale
-- all: equal in SELECT id, v::numeric(14,4) FROM t == SELECT id, v FROM t
-- freeze: refused WEIR-PG-046
-- hold: held
--- setup
CREATE TABLE t (id int PRIMARY KEY, v numeric(14,4));
INSERT INTO t VALUES (1, 1.5), (2, NULL);
--- change
INSERT INTO t VALUES (10, 10.25);
---
ALTER TABLE t ALTER COLUMN v TYPE numeric(10,2);
---
INSERT INTO t VALUES (100, 99.99);
