-- about: a new column is the key
-- evolve: refused WEIR-PG-044
-- discard_column: refused WEIR-PG-044
-- freeze: refused WEIR-PG-046
-- hold: held
-- remedy: ALTER TABLE t DROP CONSTRAINT t_pkey; ALTER TABLE t ADD COLUMN IF NOT EXISTS k bigint; UPDATE t SET k = id; ALTER TABLE t ADD PRIMARY KEY (k)
-- partly: the column and its values are there before the key
--- setup
CREATE TABLE t (id int PRIMARY KEY, a text, b int);
INSERT INTO t SELECT g, 'a' || g, g * 10 FROM generate_series(1, 3) g;
--- change
INSERT INTO t (id, a, b) VALUES (10, 'before', 100);
UPDATE t SET a = 'touched' WHERE id = 2;
---
BEGIN;
ALTER TABLE t ADD COLUMN k bigint;
UPDATE t SET k = id;
ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (k);
COMMIT;
---
INSERT INTO t VALUES (100, 'after', 1, 100), (100, 'after', 1, 101);
DELETE FROM t WHERE k = 3;
