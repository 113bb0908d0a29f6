CREATE TABLE orders (id bigint PRIMARY KEY, customer text, amount numeric(12,2), ratio double precision, paid boolean, placed date, at timestamp, small smallint);
INSERT INTO orders SELECT g, CASE WHEN g % 9 = 0 THEN NULL ELSE 'customer ' || g % 7 || ' ø🙂' END, CASE WHEN g % 11 = 0 THEN NULL ELSE g * 7.35 END,
  g / 8.0, CASE WHEN g % 5 = 0 THEN NULL ELSE g % 2 = 0 END, DATE '2024-02-29' + g, TIMESTAMP '2026-01-01 00:00:00.123456' + g * INTERVAL '1 hour', g % 100
  FROM generate_series(1, 500) g;
INSERT INTO orders VALUES (1001, '', -9999999999.99, 'NaN'::double precision - 'NaN'::double precision + 0, NULL, '1900-02-28', '1969-12-31 23:59:59.999999', -32768);
UPDATE orders SET ratio = 0.1 WHERE id = 1001;
