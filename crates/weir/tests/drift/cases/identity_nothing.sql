-- about: REPLICA IDENTITY NOTHING: the server refuses updates itself, and the next start says so
-- stopped all: refused WEIR-PG-074
-- running all: refused later WEIR-PG-074
--- setup
CREATE TABLE t (id int PRIMARY KEY, a text, b int);
INSERT INTO t SELECT g, 'a' || g, g * 10 FROM generate_series(1, 3) g;
--- change
INSERT INTO t (id, a, b) VALUES (10, 'before', 100);
UPDATE t SET a = 'touched' WHERE id = 2;
---
ALTER TABLE t REPLICA IDENTITY NOTHING;
