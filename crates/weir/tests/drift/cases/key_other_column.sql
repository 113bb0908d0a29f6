-- about: another column becomes the key
-- evolve: refused WEIR-PG-044
-- discard_column: refused WEIR-PG-044
-- freeze: refused WEIR-PG-046
-- hold: held
-- remedy: ALTER TABLE t ALTER b SET NOT NULL, DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (b)
--- setup
CREATE TABLE t (id int PRIMARY KEY, a text, b int);
INSERT INTO t SELECT g, 'a' || g, g * 10 FROM generate_series(1, 3) g;
--- change
INSERT INTO t (id, a, b) VALUES (10, 'before', 100);
UPDATE t SET a = 'touched' WHERE id = 2;
---
ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (b);
---
INSERT INTO t VALUES (100, 'after', 1000), (100, 'after', 1001);
UPDATE t SET a = 'set' WHERE b = 10;
DELETE FROM t WHERE b = 30;
