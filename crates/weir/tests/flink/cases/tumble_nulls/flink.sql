CREATE TABLE marks (
  ts TIMESTAMP(3),
  k STRING,
  v BIGINT,
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH (@marks@);

SELECT window_start, k, COUNT(*) AS n, COUNT(v) AS known, SUM(v) AS total, MIN(v) AS least, COUNT(DISTINCT v) AS kinds
FROM TABLE(TUMBLE(TABLE marks, DESCRIPTOR(ts), INTERVAL '10' SECOND))
GROUP BY window_start, window_end, k;
