-- about: the enum's type is renamed: the log has its number only, so a run does not notice, and the next start finds another type
-- evolve: equal
-- discard_column: equal
-- stopped freeze: refused WEIR-PG-046
-- stopped hold: held
-- running freeze: refused later WEIR-PG-046
-- running hold: held later
--- setup
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TABLE t (id int PRIMARY KEY, v mood);
INSERT INTO t VALUES (1, 'sad'), (2, NULL);
--- change
INSERT INTO t VALUES (10, 'ok');
---
ALTER TYPE mood RENAME TO feeling;
---
INSERT INTO t VALUES (20, 'ok');
---
ALTER TABLE t ALTER COLUMN v SET DEFAULT 'ok';
---
INSERT INTO t VALUES (21, 'sad');
