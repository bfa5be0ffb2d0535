-- Profits of stores near preferred customers: INTERSECT below a join of prefixes.
SELECT s_store_name, sum(ss_net_profit) AS profit
FROM store_sales, date_dim, store, (
    SELECT zip
    FROM (
        SELECT substr(ca_zip, 1, 5) AS zip
        FROM customer_address
        WHERE substr(ca_zip, 1, 5) IN ('85669', '86197', '88274', '83405', '11111', '31904')
        INTERSECT
        SELECT zip
        FROM (
            SELECT substr(ca_zip, 1, 5) AS zip, count(*) AS cnt
            FROM customer_address, customer
            WHERE ca_address_sk = c_current_addr_sk AND c_preferred_cust_flag = 'Y'
            GROUP BY ca_zip
            HAVING count(*) > 1
        ) preferred
    ) both_lists
) v1
WHERE ss_store_sk = s_store_sk
  AND ss_sold_date_sk = d_date_sk
  AND d_qoy = 2
  AND d_year = 1998
  AND substr(s_zip, 1, 2) = substr(v1.zip, 1, 2)
GROUP BY s_store_name
ORDER BY s_store_name
LIMIT 100
