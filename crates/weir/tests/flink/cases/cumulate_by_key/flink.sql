CREATE TABLE bids (
  ts TIMESTAMP(3),
  item STRING,
  bidder BIGINT,
  price DECIMAL(10, 2),
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH (@bids@);

SELECT window_start, window_end, item, AVG(price) AS mean
FROM TABLE(CUMULATE(TABLE bids, DESCRIPTOR(ts), INTERVAL '2' MINUTES, INTERVAL '10' MINUTES))
GROUP BY window_start, window_end, item;
