-- What warehouses ship by web and by catalogue, month beside month.
SELECT w_warehouse_name, w_state, sm_type, sum(feb_sales) AS feb_sales, sum(mar_sales) AS mar_sales,
    sum(apr_sales) AS apr_sales, sum(mar_net) AS mar_net
FROM (
    SELECT
        w_warehouse_name,
        w_state,
        sm_type,
        sum(CASE WHEN d_moy = 2 THEN ws_ext_sales_price * ws_quantity ELSE 0 END) AS feb_sales,
        sum(CASE WHEN d_moy = 3 THEN ws_ext_sales_price * ws_quantity ELSE 0 END) AS mar_sales,
        sum(CASE WHEN d_moy = 4 THEN ws_ext_sales_price * ws_quantity ELSE 0 END) AS apr_sales,
        sum(CASE WHEN d_moy = 3 THEN ws_net_paid * ws_quantity ELSE 0 END) AS mar_net
    FROM web_sales, warehouse, date_dim, time_dim, ship_mode
    WHERE ws_warehouse_sk = w_warehouse_sk
      AND ws_sold_date_sk = d_date_sk
      AND ws_sold_time_sk = t_time_sk
      AND ws_ship_mode_sk = sm_ship_mode_sk
      AND d_year = 2000
      AND t_hour BETWEEN 8 AND 19
    GROUP BY w_warehouse_name, w_state, sm_type
    UNION ALL
    SELECT
        w_warehouse_name,
        w_state,
        sm_type,
        sum(CASE WHEN d_moy = 2 THEN cs_ext_sales_price * cs_quantity ELSE 0 END) AS feb_sales,
        sum(CASE WHEN d_moy = 3 THEN cs_ext_sales_price * cs_quantity ELSE 0 END) AS mar_sales,
        sum(CASE WHEN d_moy = 4 THEN cs_ext_sales_price * cs_quantity ELSE 0 END) AS apr_sales,
        sum(CASE WHEN d_moy = 3 THEN cs_net_paid * cs_quantity ELSE 0 END) AS mar_net
    FROM catalog_sales, warehouse, date_dim, time_dim, ship_mode
    WHERE cs_warehouse_sk = w_warehouse_sk
      AND cs_sold_date_sk = d_date_sk
      AND cs_sold_time_sk = t_time_sk
      AND cs_ship_mode_sk = sm_ship_mode_sk
      AND d_year = 2000
      AND t_hour BETWEEN 8 AND 19
    GROUP BY w_warehouse_name, w_state, sm_type
) x
GROUP BY w_warehouse_name, w_state, sm_type
ORDER BY w_warehouse_name, w_state, sm_type
LIMIT 100
