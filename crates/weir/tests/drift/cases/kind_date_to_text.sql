-- about: date to text
-- evolve: refused WEIR-PG-045
-- discard_column: refused WEIR-PG-045
-- remedy: ALTER TABLE t ALTER COLUMN v TYPE text USING v::text
-- freeze: refused WEIR-PG-046
-- hold: held
--- setup
CREATE TABLE t (id int PRIMARY KEY, v date);
INSERT INTO t VALUES (1, '2024-02-29'), (2, NULL);
--- change
INSERT INTO t VALUES (10, '2024-02-29');
---
ALTER TABLE t ALTER COLUMN v TYPE text USING v::text;
---
INSERT INTO t VALUES (100, 'soon');
