CREATE TABLE prices (
  ts TIMESTAMP(3),
  k STRING,
  price DECIMAL(10, 2),
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH (@prices@);

SELECT k, price, place
FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY k ORDER BY price ASC) AS place FROM prices)
WHERE place <= 2;
