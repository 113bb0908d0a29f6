CREATE TABLE bids (
  ts TIMESTAMP(3),
  item STRING,
  bidder BIGINT,
  price DECIMAL(10, 2),
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH (@bids@);

SELECT window_start, window_end, bidder, COUNT(*) AS bids, SUM(price) AS total
FROM TABLE(SESSION(TABLE bids PARTITION BY bidder, DESCRIPTOR(ts), INTERVAL '5' MINUTES))
GROUP BY window_start, window_end, bidder;
