CREATE TABLE orders (
  id BIGINT,
  ts TIMESTAMP(3),
  currency STRING,
  price DECIMAL(10, 2),
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH (@orders@);

CREATE TABLE rates (
  currency STRING,
  since TIMESTAMP(3),
  rate DECIMAL(10, 2),
  WATERMARK FOR since AS since - INTERVAL '5' SECOND,
  PRIMARY KEY (currency) NOT ENFORCED
) WITH (@rates@);

CREATE TEMPORARY VIEW priced AS
SELECT o.ts, o.currency, r.rate
FROM orders o
JOIN rates FOR SYSTEM_TIME AS OF o.ts AS r ON o.currency = r.currency;

SELECT window_start, window_end, currency, COUNT(*) AS orders, MIN(rate) AS least
FROM TABLE(TUMBLE(TABLE priced, DESCRIPTOR(ts), INTERVAL '30' SECOND))
GROUP BY window_start, window_end, currency;
