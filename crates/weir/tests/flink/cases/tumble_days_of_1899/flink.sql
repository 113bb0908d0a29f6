CREATE TABLE days_ago (
  ts TIMESTAMP(3),
  v BIGINT,
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH (@days_ago@);

SELECT window_start, window_end, SUM(v) AS total, COUNT(*) AS n
FROM TABLE(TUMBLE(TABLE days_ago, DESCRIPTOR(ts), INTERVAL '1' DAY))
GROUP BY window_start, window_end;
