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

SELECT o.id, o.customer, o.placed, s.order_id, s.shipped
FROM orders o, shipments s
WHERE o.id = s.order_id AND s.shipped > o.placed - INTERVAL '10' SECOND AND s.shipped < o.placed + INTERVAL '10' SECOND;
