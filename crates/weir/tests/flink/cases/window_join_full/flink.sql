CREATE TABLE bids (
  ts TIMESTAMP(3),
  item STRING,
  bidder BIGINT,
  price DECIMAL(10, 2),
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH (@bids@);

CREATE TABLE asks (
  ts TIMESTAMP(3),
  item STRING,
  ask DECIMAL(10, 2),
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH (@asks@);

SELECT L.item AS bid_item, L.price, R.item AS ask_item, R.ask,
  COALESCE(L.window_start, R.window_start) AS window_start
FROM (SELECT * FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' MINUTES))) L
FULL OUTER JOIN (SELECT * FROM TABLE(TUMBLE(TABLE asks, DESCRIPTOR(ts), INTERVAL '10' MINUTES))) R
ON L.item = R.item AND L.window_start = R.window_start AND L.window_end = R.window_end;
