CREATE TABLE instants (
  seen TIMESTAMP_LTZ(3),
  v BIGINT,
  WATERMARK FOR seen AS seen - INTERVAL '5' SECOND
) WITH (@instants@);

SELECT window_start, window_end, SUM(v) AS total
FROM TABLE(TUMBLE(TABLE instants, DESCRIPTOR(seen), INTERVAL '1' DAY))
GROUP BY window_start, window_end;
