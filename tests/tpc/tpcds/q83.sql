-- What came back of each item by channel in three weeks: IN within IN.
WITH sr AS (
    SELECT i_item_id AS item_id, sum(sr_return_quantity) AS quantity
    FROM store_returns, item, date_dim
    WHERE sr_item_sk = i_item_sk
      AND d_date IN (
          SELECT d_date
          FROM date_dim
          WHERE d_week_seq IN (
              SELECT d_week_seq
              FROM date_dim
              WHERE d_date IN (date '2000-07-02', date '2001-01-26', date '2000-11-13')
          )
      )
      AND sr_returned_date_sk = d_date_sk
    GROUP BY i_item_id
), cr AS (
    SELECT i_item_id AS item_id, sum(cr_return_quantity) AS quantity
    FROM catalog_returns, item, date_dim
    WHERE cr_item_sk = i_item_sk
      AND d_date IN (
          SELECT d_date
          FROM date_dim
          WHERE d_week_seq IN (
              SELECT d_week_seq
              FROM date_dim
              WHERE d_date IN (date '2000-07-02', date '2001-01-26', date '2000-11-13')
          )
      )
      AND cr_returned_date_sk = d_date_sk
    GROUP BY i_item_id
), wr AS (
    SELECT i_item_id AS item_id, sum(wr_return_quantity) AS quantity
    FROM web_returns, item, date_dim
    WHERE wr_item_sk = i_item_sk
      AND d_date IN (
          SELECT d_date
          FROM date_dim
          WHERE d_week_seq IN (
              SELECT d_week_seq
              FROM date_dim
              WHERE d_date IN (date '2000-07-02', date '2001-01-26', date '2000-11-13')
          )
      )
      AND wr_returned_date_sk = d_date_sk
    GROUP BY i_item_id
)
SELECT
    sr.item_id,
    sr.quantity AS store_quantity,
    CAST(sr.quantity AS decimal(15,4)) / (sr.quantity + cr.quantity + wr.quantity) / 3.0 * 100 AS store_share,
    cr.quantity AS catalog_quantity,
    CAST(cr.quantity AS decimal(15,4)) / (sr.quantity + cr.quantity + wr.quantity) / 3.0 * 100 AS catalog_share,
    wr.quantity AS web_quantity,
    CAST(wr.quantity AS decimal(15,4)) / (sr.quantity + cr.quantity + wr.quantity) / 3.0 * 100 AS web_share,
    (sr.quantity + cr.quantity + wr.quantity) / 3.0 AS average
FROM sr, cr, wr
WHERE sr.item_id = cr.item_id
  AND sr.item_id = wr.item_id
ORDER BY sr.item_id, store_quantity
LIMIT 100
