-- Items that sell about as well in each channel in one week: a scalar sub-query inside IN.
WITH ss AS (
    SELECT i_item_id AS item_id, sum(ss_ext_sales_price) AS revenue
    FROM store_sales, item, date_dim
    WHERE ss_item_sk = i_item_sk
      AND d_date IN (
          SELECT d_date
          FROM date_dim
          WHERE d_week_seq = (SELECT d_week_seq FROM date_dim WHERE d_date = date '2001-01-02')
      )
      AND ss_sold_date_sk = d_date_sk
    GROUP BY i_item_id
), cs AS (
    SELECT i_item_id AS item_id, sum(cs_ext_sales_price) AS revenue
    FROM catalog_sales, item, date_dim
    WHERE cs_item_sk = i_item_sk
      AND d_date IN (
          SELECT d_date
          FROM date_dim
          WHERE d_week_seq = (SELECT d_week_seq FROM date_dim WHERE d_date = date '2001-01-02')
      )
      AND cs_sold_date_sk = d_date_sk
    GROUP BY i_item_id
), ws AS (
    SELECT i_item_id AS item_id, sum(ws_ext_sales_price) AS revenue
    FROM web_sales, item, date_dim
    WHERE ws_item_sk = i_item_sk
      AND d_date IN (
          SELECT d_date
          FROM date_dim
          WHERE d_week_seq = (SELECT d_week_seq FROM date_dim WHERE d_date = date '2001-01-02')
      )
      AND ws_sold_date_sk = d_date_sk
    GROUP BY i_item_id
)
SELECT
    ss.item_id,
    ss.revenue AS store_revenue,
    ss.revenue / ((ss.revenue + cs.revenue + ws.revenue) / 3) * 100 AS store_share,
    cs.revenue AS catalog_revenue,
    cs.revenue / ((ss.revenue + cs.revenue + ws.revenue) / 3) * 100 AS catalog_share,
    ws.revenue AS web_revenue,
    ws.revenue / ((ss.revenue + cs.revenue + ws.revenue) / 3) * 100 AS web_share,
    (ss.revenue + cs.revenue + ws.revenue) / 3 AS average
FROM ss, cs, ws
WHERE ss.item_id = cs.item_id
  AND ss.item_id = ws.item_id
  AND ss.revenue BETWEEN 0.5 * cs.revenue AND 1.5 * cs.revenue
  AND ss.revenue BETWEEN 0.5 * ws.revenue AND 1.5 * ws.revenue
  AND cs.revenue BETWEEN 0.5 * ss.revenue AND 1.5 * ss.revenue
  AND cs.revenue BETWEEN 0.5 * ws.revenue AND 1.5 * ws.revenue
  AND ws.revenue BETWEEN 0.5 * ss.revenue AND 1.5 * ss.revenue
  AND ws.revenue BETWEEN 0.5 * cs.revenue AND 1.5 * cs.revenue
ORDER BY ss.item_id, store_revenue
LIMIT 100
