CREATE TABLE orders (
  id BIGINT,
  placed TIMESTAMP(3),
  customer STRING,
  WATERMARK FOR placed AS placed - INTERVAL '5' SECOND
) WITH (@orders@);

CREATE TABLE shipments (
  order_id BIGINT,
  shipped TIMESTAMP(3),
  WATERMARK FOR shipped AS shipped - INTERVAL '5' SECOND
) WITH (@shipments@);

CREATE TEMPORARY VIEW pairs AS
SELECT o.id, o.placed
FROM orders o
JOIN shipments s ON o.id = s.order_id AND s.shipped BETWEEN o.placed - INTERVAL '5' SECOND AND o.placed + INTERVAL '10' SECOND;

SELECT window_start, window_end, COUNT(*) AS pairs, COUNT(DISTINCT id) AS ids
FROM TABLE(TUMBLE(TABLE pairs, DESCRIPTOR(placed), INTERVAL '30' SECOND))
GROUP BY window_start, window_end;
