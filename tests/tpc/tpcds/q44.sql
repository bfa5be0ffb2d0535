-- The best and the worst items of a store beside each other: ranks of averages over a scalar average.
WITH averages AS (
    SELECT ss_item_sk AS item_sk, avg(ss_net_profit) AS rank_col
    FROM store_sales
    WHERE ss_store_sk = 4
    GROUP BY ss_item_sk
    HAVING avg(ss_net_profit) > 0.1 * (SELECT avg(ss_net_profit) FROM store_sales WHERE ss_store_sk = 4)
)
SELECT ascending.rnk, i1.i_item_id AS best_performing, i2.i_item_id AS worst_performing
FROM (
    SELECT item_sk, rnk
    FROM (SELECT item_sk, rank() OVER (ORDER BY rank_col ASC) AS rnk FROM averages) v1
    WHERE rnk < 11
) ascending, (
    SELECT item_sk, rnk
    FROM (SELECT item_sk, rank() OVER (ORDER BY rank_col DESC) AS rnk FROM averages) v2
    WHERE rnk < 11
) descending, item i1, item i2
WHERE ascending.rnk = descending.rnk
  AND i1.i_item_sk = ascending.item_sk
  AND i2.i_item_sk = descending.item_sk
ORDER BY ascending.rnk, best_performing, worst_performing
LIMIT 100
