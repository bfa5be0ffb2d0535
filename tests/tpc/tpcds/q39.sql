-- Stocks that vary in two months: groups of deviations, joined to themselves.
WITH inv AS (
    SELECT
        w_warehouse_sk,
        i_manager_id,
        d_moy,
        stddev_samp(inv_quantity_on_hand) AS stdev,
        avg(inv_quantity_on_hand) AS mean
    FROM inventory, item, warehouse, date_dim
    WHERE inv_item_sk = i_item_sk
      AND inv_warehouse_sk = w_warehouse_sk
      AND inv_date_sk = d_date_sk
      AND d_year = 2000
    GROUP BY w_warehouse_sk, i_manager_id, d_moy
    HAVING CASE WHEN avg(inv_quantity_on_hand) = 0 THEN 0.0
        ELSE stddev_samp(inv_quantity_on_hand) / avg(inv_quantity_on_hand) END > 0.4
)
SELECT
    inv1.w_warehouse_sk,
    inv1.i_manager_id,
    inv1.d_moy,
    inv1.mean,
    inv1.stdev / inv1.mean AS cov,
    inv2.d_moy AS d_moy_2,
    inv2.mean AS mean_2,
    inv2.stdev / inv2.mean AS cov_2
FROM inv inv1, inv inv2
WHERE inv1.i_manager_id = inv2.i_manager_id
  AND inv1.w_warehouse_sk = inv2.w_warehouse_sk
  AND inv1.d_moy = 2
  AND inv2.d_moy = 3
ORDER BY inv1.w_warehouse_sk, inv1.i_manager_id
