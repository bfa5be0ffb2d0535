-- Web orders from several warehouses that came back: IN over a self-join, twice.
WITH ws_wh AS (
    SELECT ws1.ws_order_number AS order_number
    FROM web_sales ws1, web_sales ws2
    WHERE ws1.ws_order_number = ws2.ws_order_number AND ws1.ws_warehouse_sk <> ws2.ws_warehouse_sk
)
SELECT
    count(DISTINCT ws_order_number) AS order_count,
    sum(ws_ext_ship_cost) AS total_shipping_cost,
    sum(ws_net_profit) AS total_net_profit
FROM web_sales ws1, date_dim, customer_address, web_site
WHERE d_date BETWEEN date '1999-02-01' AND date '1999-02-01' + interval '60' day
  AND ws1.ws_ship_date_sk = d_date_sk
  AND ws1.ws_ship_addr_sk = ca_address_sk
  AND ca_state IN ('IL', 'TX', 'OH', 'GA')
  AND ws1.ws_web_site_sk = web_site_sk
  AND web_company_name = 'pri'
  AND ws1.ws_order_number IN (SELECT order_number FROM ws_wh)
  AND ws1.ws_order_number IN (
      SELECT wr_order_number FROM web_returns, ws_wh WHERE wr_order_number = order_number
  )
ORDER BY order_count
LIMIT 100
