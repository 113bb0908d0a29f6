-- about: three columns at once, of kinds with and without a binary form
-- evolve: equal
-- discard_column: equal without c, d, e
-- freeze: refused WEIR-PG-046
-- hold: held
--- setup
CREATE TABLE t (id int PRIMARY KEY, a text, b int);
INSERT INTO t SELECT g, 'a' || g, g * 10 FROM generate_series(1, 3) g;
--- change
INSERT INTO t (id, a, b) VALUES (10, 'before', 100);
UPDATE t SET a = 'touched' WHERE id = 2;
---
ALTER TABLE t ADD COLUMN c inet, ADD COLUMN d jsonb, ADD COLUMN e timestamptz;
---
INSERT INTO t VALUES (100, 'after', 1, '10.0.0.1/8', '{"a": [1]}', '2024-02-29 12:00:00.123456+02');
