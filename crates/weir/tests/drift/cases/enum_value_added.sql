-- about: a value is added to an enum: the same type
-- all: equal
--- setup
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TABLE t (id int PRIMARY KEY, v mood);
INSERT INTO t VALUES (1, 'sad'), (2, NULL);
--- change
INSERT INTO t VALUES (10, 'ok');
---
ALTER TYPE mood ADD VALUE 'great' AFTER 'ok';
---
INSERT INTO t VALUES (100, 'great');
