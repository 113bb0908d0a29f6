CREATE TABLE ticks (
  ts TIMESTAMP(3),
  v BIGINT,
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH (@ticks@);

SELECT window_start, window_end, SUM(v) AS total
FROM TABLE(HOP(TABLE ticks, DESCRIPTOR(ts), INTERVAL '5' SECOND, INTERVAL '10' SECOND))
GROUP BY window_start, window_end;
