CREATE TABLE bids (
  ts TIMESTAMP(3),
  item STRING,
  bidder BIGINT,
  price DECIMAL(10, 2),
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH (@bids@);

WITH fives AS (
  SELECT window_time AS rowtime, item, SUM(price) AS part
  FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '5' MINUTES))
  GROUP BY window_start, window_end, window_time, item
)
SELECT window_start, window_end, SUM(part) AS total, COUNT(*) AS parts
FROM TABLE(TUMBLE(TABLE fives, DESCRIPTOR(rowtime), INTERVAL '10' MINUTES))
GROUP BY window_start, window_end;
