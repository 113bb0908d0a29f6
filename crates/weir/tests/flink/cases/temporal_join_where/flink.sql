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

SELECT o.id, o.price * r.rate AS amount
FROM orders o
JOIN rates FOR SYSTEM_TIME AS OF o.ts AS r ON o.currency = r.currency
WHERE r.rate < 1.25;
