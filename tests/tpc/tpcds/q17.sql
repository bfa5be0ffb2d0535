-- Deviations of quantities that were bought, returned, and bought again by catalogue.
SELECT
    i_item_id,
    i_item_desc,
    s_state,
    count(ss_quantity) AS store_sales_count,
    avg(ss_quantity) AS store_sales_average,
    stddev_samp(ss_quantity) AS store_sales_deviation,
    stddev_samp(ss_quantity) / avg(ss_quantity) AS store_sales_variation,
    count(sr_return_quantity) AS store_returns_count,
    avg(sr_return_quantity) AS store_returns_average,
    stddev_samp(sr_return_quantity) AS store_returns_deviation,
    stddev_samp(sr_return_quantity) / avg(sr_return_quantity) AS store_returns_variation,
    count(cs_quantity) AS catalog_sales_count,
    avg(cs_quantity) AS catalog_sales_average,
    stddev_samp(cs_quantity) AS catalog_sales_deviation,
    stddev_samp(cs_quantity) / avg(cs_quantity) AS catalog_sales_variation
FROM store_sales, store_returns, catalog_sales, date_dim d1, date_dim d2, date_dim d3, store, item
WHERE d1.d_year = 2001
  AND d1.d_date_sk = ss_sold_date_sk
  AND i_item_sk = ss_item_sk
  AND s_store_sk = ss_store_sk
  AND ss_customer_sk = sr_customer_sk
  AND ss_item_sk = sr_item_sk
  AND ss_ticket_number = sr_ticket_number
  AND sr_returned_date_sk = d2.d_date_sk
  AND d2.d_year = 2001
  AND sr_customer_sk = cs_bill_customer_sk
  AND sr_item_sk = cs_item_sk
  AND cs_sold_date_sk = d3.d_date_sk
  AND d3.d_year IN (2001, 2002)
GROUP BY i_item_id, i_item_desc, s_state
ORDER BY i_item_id, i_item_desc, s_state
LIMIT 100
