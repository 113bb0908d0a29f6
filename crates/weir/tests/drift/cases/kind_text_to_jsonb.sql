-- about: text to jsonb: the target's text takes it as it is printed, and stays text
-- all: equal
-- freeze: refused WEIR-PG-046
-- hold: held
--- setup
CREATE TABLE t (id int PRIMARY KEY, v text);
INSERT INTO t VALUES (1, '[]'), (2, NULL);
--- change
INSERT INTO t VALUES (10, '[1]');
---
ALTER TABLE t ALTER COLUMN v TYPE jsonb USING v::jsonb;
---
INSERT INTO t VALUES (100, '{"a": 1}');
