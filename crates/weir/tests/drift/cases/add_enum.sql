-- about: a column of a new enum type
-- evolve: equal
-- discard_column: equal without c
-- freeze: refused WEIR-PG-046
-- hold: held
--- setup
CREATE TABLE t (id int PRIMARY KEY, a text, b int);
INSERT INTO t SELECT g, 'a' || g, g * 10 FROM generate_series(1, 3) g;
--- change
INSERT INTO t (id, a, b) VALUES (10, 'before', 100);
UPDATE t SET a = 'touched' WHERE id = 2;
---
CREATE TYPE mood AS ENUM ('sad', 'ok');
---
ALTER TABLE t ADD COLUMN c mood;
---
INSERT INTO t VALUES (100, 'after', 1, 'ok'), (101, 'after', 1, NULL);
