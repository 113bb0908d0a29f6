-- about: a value of an enum is renamed: rows that nobody writes keep the old word, as they were sent
-- all: equal in SELECT id, CASE id WHEN 1 THEN 'sad' ELSE v::text END FROM t == SELECT id, v FROM t
--- setup
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TABLE t (id int PRIMARY KEY, v mood);
INSERT INTO t VALUES (1, 'sad'), (2, NULL);
--- change
INSERT INTO t VALUES (10, 'ok');
---
ALTER TYPE mood RENAME VALUE 'sad' TO 'blue';
---
INSERT INTO t VALUES (100, 'blue');
