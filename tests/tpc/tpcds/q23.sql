-- What the best customers of stores buy elsewhere of what is often sold: IN over groups, a scalar maximum of sums.
WITH frequent_items AS (
    SELECT i_item_sk AS item_sk, d_month_seq, count(*) AS cnt
    FROM store_sales, date_dim, item
    WHERE ss_sold_date_sk = d_date_sk AND ss_item_sk = i_item_sk AND d_year IN (2000, 2001, 2002)
    GROUP BY i_item_sk, d_month_seq
    HAVING count(*) > 1
), spent AS (
    SELECT ss_customer_sk AS customer_sk, sum(ss_quantity * ss_sales_price) AS sales
    FROM store_sales
    WHERE ss_customer_sk IS NOT NULL
    GROUP BY ss_customer_sk
), best_customers AS (
    SELECT customer_sk
    FROM spent
    WHERE sales > 0.3 * (SELECT max(sales) FROM spent)
)
SELECT c_last_name, c_first_name, sales
FROM (
    SELECT c_last_name, c_first_name, sum(cs_quantity * cs_list_price) AS sales
    FROM catalog_sales, customer, date_dim
    WHERE d_year = 2000
      AND cs_sold_date_sk = d_date_sk
      AND cs_item_sk IN (SELECT item_sk FROM frequent_items)
      AND cs_bill_customer_sk IN (SELECT customer_sk FROM best_customers)
      AND cs_bill_customer_sk = c_customer_sk
    GROUP BY c_last_name, c_first_name
    UNION ALL
    SELECT c_last_name, c_first_name, sum(ws_quantity * ws_list_price) AS sales
    FROM web_sales, customer, date_dim
    WHERE d_year = 2000
      AND ws_sold_date_sk = d_date_sk
      AND ws_item_sk IN (SELECT item_sk FROM frequent_items)
      AND ws_bill_customer_sk IN (SELECT customer_sk FROM best_customers)
      AND ws_bill_customer_sk = c_customer_sk
    GROUP BY c_last_name, c_first_name
) x
ORDER BY c_last_name, c_first_name, sales
LIMIT 100
