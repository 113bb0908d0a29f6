CREATE TABLE bids (
  ts TIMESTAMP(3),
  item STRING,
  bidder BIGINT,
  price DECIMAL(10, 2),
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH (@bids@);

SELECT window_start, window_end, COUNT(*) AS bids
FROM TABLE(TUMBLE(
  DATA => TABLE bids,
  TIMECOL => DESCRIPTOR(ts),
  SIZE => INTERVAL '5' MINUTES))
GROUP BY window_start, window_end;
