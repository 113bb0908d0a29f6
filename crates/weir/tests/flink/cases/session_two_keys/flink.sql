CREATE TABLE clicks (
  ts TIMESTAMP(3),
  who STRING,
  page STRING,
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH (@clicks@);

SELECT who, page, window_start, window_end, COUNT(*) AS clicks
FROM TABLE(SESSION(TABLE clicks PARTITION BY (who, page), DESCRIPTOR(ts), INTERVAL '5' SECOND))
GROUP BY window_start, window_end, who, page;
