CREATE TABLE bids (
  ts TIMESTAMP(3),
  item STRING,
  bidder BIGINT,
  price DECIMAL(10, 2),
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH (@bids@);

SELECT window_start, window_end, MIN(price) AS cheapest, MAX(price) AS dearest, MIN(item) AS first_item, MAX(item) AS last_item, MAX(ts) AS newest
FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' MINUTES))
GROUP BY window_start, window_end;
