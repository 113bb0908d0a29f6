-- What a table is made of, and what happens to it. A real Debezium and Weir both see it, once of MySQL and once of MariaDB; golden.py keeps what Debezium said.
CREATE TABLE kinds (
  id bigint PRIMARY KEY,
  t1 tinyint, t1u tinyint unsigned, tb tinyint(1), tz tinyint(3) unsigned zerofill, s2 smallint, s2u smallint unsigned, m3 mediumint, m3u mediumint unsigned, i4 int, i4u int unsigned, iz int(8) zerofill, i8 bigint, i8u bigint unsigned,
  f4 float, f8 double, n decimal(12,3), nu decimal(8,2) unsigned, n0 decimal(20,0), nbig decimal(65,10),
  b1 bit(1), b5 bit(5), b12 bit(12), b64 bit(64),
  c char(5), vc varchar(20), tt tinytext, t text, mt mediumtext, lt longtext, l1 varchar(20) CHARACTER SET latin1,
  bi binary(4), vb varbinary(10), bl blob, lb longblob,
  d date, y year, ti time, ti3 time(3), ti6 time(6), dt datetime, dt3 datetime(3), dt6 datetime(6), ts timestamp NULL, ts3 timestamp(3) NULL, ts6 timestamp(6) NULL,
  e enum('sad','ok','happy, very'), se set('a','b','c d'), j json, g geometry, p point, l linestring
);
CREATE TABLE plain (id int NOT NULL, part varchar(10) NOT NULL, name varchar(50) NOT NULL, qty int, big text, PRIMARY KEY (id, part));
CREATE TABLE strict (id int PRIMARY KEY, t1 tinyint NOT NULL, i8u bigint unsigned NOT NULL, f8 double NOT NULL, b1 bit(1) NOT NULL, b5 bit(5) NOT NULL, t varchar(20) NOT NULL, n decimal(8,2) NOT NULL, bi varbinary(10) NOT NULL, sd date NOT NULL, sdt datetime NOT NULL, sdt6 datetime(6) NOT NULL, ti time NOT NULL, sts timestamp NOT NULL, y year NOT NULL, e enum('x','y') NOT NULL, se set('x','y') NOT NULL, j json NOT NULL, p point NOT NULL);
INSERT INTO plain VALUES (1, 'a', 'first', 10, repeat('x', 2100)), (2, 'a', 'second', NULL, NULL);
INSERT INTO kinds (id, i4, t, j, dt6, ts6, d, p) VALUES (1, 7, 'snapshot', '{"b": [1, 2], "a": 1.50}', '2026-01-31 12:34:56.789012', '2026-01-31 12:34:56.789012', '1969-12-31', ST_GeomFromText('POINT(1 2)'));
INSERT INTO strict VALUES (1, 1, 1, 1, b'1', b'00011', 'x', 1, x'01', '2026-01-01', '2026-01-01 00:00:00', '2026-01-01 00:00:00.000001', '01:00:00', '2026-01-01 00:00:00', 2026, 'x', 'x,y', '{}', ST_GeomFromText('POINT(1 2)'));
-- changes
INSERT INTO kinds VALUES (
  2, -128, 255, 1, 7, -32768, 65535, -8388608, 16777215, -2147483648, 4294967295, 42, -9223372036854775808, 9223372036854775807,
  1.5, 0.1, 123456789.125, 12.34, 12345678901234567890, 1234567890123456789012345678901234567890.0123456789,
  b'1', b'10110', b'101100001111', b'1000000000000000000000000000000000000000000000000000000000000001',
  'ab', 'varchar', 'tiny', 'text "quoted" \\ ünï 😀', 'medium', 'long', 'älä',
  x'00ff', x'00ff10', x'0102', x'ff',
  '2026-01-31', 2026, '12:34:56', '12:34:56.789', '12:34:56.789012', '2026-01-31 12:34:56', '2026-01-31 12:34:56.789', '2026-01-31 12:34:56.789012', '2026-01-31 12:34:56', '2026-01-31 12:34:56.789', '2026-01-31 12:34:56.789012',
  'ok', 'a,c d', '{"a": 1,  "b":[1,2, {"c": "x, y: z"}], "n": null, "t": true, "f": 1.5, "s": "q\\"x\\u00e9 😀", "big": 18446744073709551615, "neg": -5}',
  ST_GeomFromText('POLYGON((0 0,1 0,1 1,0 0))'), ST_GeomFromText('POINT(1.5 -2)'), ST_GeomFromText('LINESTRING(0 0,1 1)')
);
INSERT INTO kinds (id, t1, f4, f8, n, nbig, b5, b12, c, t, d, y, ti, ti6, dt, dt3, ts, ts3, ts6, e, se, j, p) VALUES
  (3, 0, 3.4e38, -1e-300, -0.001, -1, b'00001', b'000000000001', '', '', '1969-12-31', 1901, '00:00:00', '23:59:59.999999', '1900-01-01 00:00:00', '1969-12-31 23:59:59.999', '1970-01-01 00:00:01', '2026-01-31 12:00:00.5', '2026-01-31 12:00:00.5', 'sad', '', '[]', ST_GeomFromText('POINT(0 0)', 4326));
INSERT INTO kinds (id, f4, f8, n, j) VALUES (4, 1e10, 1e21, 0, '"text"'), (5, 123456.789, 100, 128, '1'), (6, 1, 1e7, -128, 'null'), (7, 0.001, 0.0001, 32767.999, '[1, [2, {}], "a b"]'), (8, 0, 0, 1, '{}');
INSERT INTO kinds (id) VALUES (9);
INSERT INTO plain VALUES (3, 'b', 'third', 30, 'short');
UPDATE plain SET qty = 11 WHERE id = 1;
UPDATE plain SET big = repeat('z', 2100) WHERE id = 1;
UPDATE plain SET name = 'renamed' WHERE id = 3;
UPDATE plain SET part = 'c' WHERE id = 3;
UPDATE plain SET id = 7, qty = 70 WHERE id = 2;
BEGIN;
INSERT INTO plain VALUES (4, 'd', 'fourth', 40, NULL), (5, 'd', 'fifth', 50, NULL);
UPDATE plain SET qty = qty + 1 WHERE id IN (4, 5);
DELETE FROM plain WHERE id = 4;
COMMIT;
DELETE FROM plain WHERE id = 7;
UPDATE kinds SET j = '{"after": [1]}', i8 = 5 WHERE id = 2;
SET sql_mode = '';
INSERT INTO kinds (id, d, dt, dt6, ts) VALUES (10, '0000-00-00', '0000-00-00 00:00:00', '0000-00-00 00:00:00', '0000-00-00 00:00:00');
CREATE TABLE other (id int PRIMARY KEY);
INSERT INTO other VALUES (1);
TRUNCATE plain;
INSERT INTO plain VALUES (9, 'z', 'after', 1, NULL);
DELETE FROM strict WHERE id = 1;
