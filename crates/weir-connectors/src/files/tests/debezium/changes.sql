-- What a table is made of, and what happens to it. A real Debezium and Weir both see it; golden.py keeps what Debezium said.
CREATE EXTENSION IF NOT EXISTS hstore;
CREATE EXTENSION IF NOT EXISTS citext;
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TABLE kinds (
  id bigint PRIMARY KEY, i2 smallint, i4 integer, i8 bigint, f4 real, f8 double precision, b boolean,
  n numeric(12,3), nbig numeric(40,5), nfree numeric, m money,
  t text, vc varchar(20), c char(5), ct citext,
  by bytea, d date, ti time, ti0 time(0), ti3 time(3), tz timetz, ts timestamp, ts0 timestamp(0), ts3 timestamp(3), tstz timestamptz, tstz0 timestamptz(0), tstz3 timestamptz(3),
  iv interval, u uuid, j json, jb jsonb, x xml, e mood, b1 bit(1), b5 bit(5), b12 bit(12), vb varbit(10),
  ip inet, ci cidr, mac macaddr, p point, r4 int4range, rn numrange, rts tsrange, rtz tstzrange, rd daterange, h hstore, o oid,
  ai integer[], at text[], ab boolean[], ad date[], an numeric(8,2)[], au uuid[]
);
CREATE TABLE plain (id integer NOT NULL, part text NOT NULL, name text NOT NULL, qty integer, big text, PRIMARY KEY (id, part));
ALTER TABLE plain ALTER big SET STORAGE EXTERNAL;
CREATE TABLE strict (id integer PRIMARY KEY, i2 smallint NOT NULL, i8 bigint NOT NULL, f8 double precision NOT NULL, b boolean NOT NULL, t text NOT NULL, n numeric(8,2) NOT NULL, by bytea NOT NULL, d date NOT NULL, ts timestamp NOT NULL, tstz timestamptz NOT NULL, u uuid NOT NULL, j jsonb NOT NULL, ai integer[] NOT NULL, iv interval NOT NULL, ti time NOT NULL, nf numeric NOT NULL, e mood NOT NULL, m money NOT NULL, b5 bit(5) NOT NULL, ip inet NOT NULL, p point NOT NULL);
CREATE TABLE whole (id integer PRIMARY KEY, name text, big text);
ALTER TABLE whole ALTER big SET STORAGE EXTERNAL;
ALTER TABLE whole REPLICA IDENTITY FULL;
INSERT INTO plain VALUES (1, 'a', 'first', 10, repeat('x', 2100)), (2, 'a', 'second', NULL, NULL);
INSERT INTO whole VALUES (1, 'one', repeat('y', 2100));
INSERT INTO kinds (id, i4, t) VALUES (1, 7, 'snapshot');
INSERT INTO strict VALUES (1, 1, 1, 1, true, 'x', 1, '\x01', '2026-01-01', '2026-01-01', '2026-01-01 00:00:00+00', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{}', '{1}', '1 hour', '01:00', 1.5, 'sad', 1, B'00011', '10.0.0.1', '(1,2)');
-- changes
INSERT INTO kinds VALUES (
  2, -32768, 2147483647, -9223372036854775808, 1.5, 0.1, true,
  123456789.125, 12345678901234567890123456789012345.67891, 3.14159, '12.34',
  E'text "quoted" \\ ünï', 'varchar', 'ab', 'CiText',
  '\x00ff10', '2026-01-31', '12:34:56.789012', '12:34:56', '12:34:56.789', '12:34:56.789+02', '2026-01-31 12:34:56.789012', '2026-01-31 12:34:56', '2026-01-31 12:34:56.789',
  '2026-01-31 12:34:56.789012+02', '2026-01-31 12:34:56+02', '2026-01-31 12:34:56.789+02',
  '1 year 2 months 3 days 04:05:06.789', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{"a": 1,  "b":[1,2]}', '{"b":[1,2],"a":1}', '<a>x</a>', 'ok', B'1', B'10110', B'101100001111', B'101',
  '192.168.1.5', '10.0.0.0/8', '08:00:2b:01:02:03', '(1.5,-2)', '[1,10)', '[1.5,2.5]', '[2026-01-01 00:00:00,2026-01-02 12:00:00)', '[2026-01-01 00:00:00+00,2026-01-02 12:00:00+00)', '[2026-01-01,2026-02-01)', 'k=>v, n=>NULL', 4294967295,
  '{1,NULL,3}', '{"a,b",NULL,"q\"x"}', '{t,f}', '{2026-01-31,1999-12-31}', '{1.50,-2.25}', '{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}'
);
INSERT INTO kinds (id, i2, f4, f8, n, nbig, nfree, m, t, d, ti, ts, ts3, tstz, tstz3, iv, b5, b12, ai) VALUES
  (3, 0, 3.4028235e38, -1e-300, -0.001, -1, 12345678901234567890123456789.0100, '-0.01', '', '1969-12-31', '00:00:00', '1969-12-31 23:59:59.999999', '1900-01-01 00:00:00.001', '2026-01-31 12:00:00.5+00', '1969-12-31 23:59:59.9+00', '-1 day -00:00:01', B'00001', B'000000000001', '{}');
INSERT INTO kinds (id, f4, f8, n, nfree) VALUES (4, 1e10, 1e21, 0, 0), (5, 123456.789, 100, 128, 128), (6, 1, 1e7, -128, -128), (7, 0.001, 0.0001, 32767.999, 1e10), (8, 'NaN', 'Infinity', 1, 1);
INSERT INTO kinds (id) VALUES (9);
INSERT INTO plain VALUES (3, 'b', 'third', 30, 'short');
UPDATE plain SET qty = 11 WHERE id = 1;
UPDATE plain SET big = repeat('z', 2100) WHERE id = 1;
UPDATE plain SET name = 'renamed' WHERE id = 3;
UPDATE plain SET part = 'c' WHERE id = 3;
UPDATE plain SET id = 7, qty = 70 WHERE id = 2;
BEGIN; INSERT INTO plain VALUES (4, 'd', 'fourth', 40, NULL); UPDATE plain SET qty = 41 WHERE id = 4; DELETE FROM plain WHERE id = 4; COMMIT;
DELETE FROM plain WHERE id = 7;
INSERT INTO whole VALUES (2, 'two', NULL);
UPDATE whole SET name = 'uno' WHERE id = 1;
UPDATE whole SET id = 20 WHERE id = 2;
DELETE FROM whole WHERE id = 20;
DELETE FROM whole WHERE id = 1;
TRUNCATE plain;
INSERT INTO plain VALUES (9, 'z', 'after', 1, NULL);
DELETE FROM strict WHERE id = 1;
