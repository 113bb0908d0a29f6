-- about: storage, compression and statistics
-- all: equal
--- setup
CREATE TABLE t (id int PRIMARY KEY, a text, b int);
INSERT INTO t SELECT g, 'a' || g, g * 10 FROM generate_series(1, 3) g;
--- change
INSERT INTO t (id, a, b) VALUES (10, 'before', 100);
UPDATE t SET a = 'touched' WHERE id = 2;
---
ALTER TABLE t ALTER a SET STORAGE EXTERNAL, ALTER a SET COMPRESSION pglz, ALTER a SET STATISTICS 10, SET (fillfactor = 70);
---
INSERT INTO t VALUES (100, repeat('after', 2000), 1);

---
UPDATE t SET b = 2 WHERE id = 100;
