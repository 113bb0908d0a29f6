CREATE TABLE nums (
  ts TIMESTAMP(3),
  k STRING,
  x DOUBLE,
  n BIGINT,
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH (@nums@);

SELECT window_start, window_end, k, AVG(n) AS mean, SUM(n) AS total
FROM TABLE(TUMBLE(TABLE nums, DESCRIPTOR(ts), INTERVAL '10' SECOND))
GROUP BY window_start, window_end, k;
