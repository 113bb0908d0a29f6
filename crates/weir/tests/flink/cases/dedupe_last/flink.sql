CREATE TABLE bids (
  ts TIMESTAMP(3),
  item STRING,
  bidder BIGINT,
  price DECIMAL(10, 2),
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH (@bids@);

SELECT item, ts, price
FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY item ORDER BY ts DESC) AS place FROM bids)
WHERE place = 1;
