-- Months of call centres that differ from the average, with those before and after.
WITH v1 AS (
    SELECT
        i_category,
        i_brand,
        cc_name,
        d_year,
        d_moy,
        sum(cs_sales_price) AS sum_sales,
        avg(sum(cs_sales_price)) OVER (PARTITION BY i_category, i_brand, cc_name, d_year)
            AS avg_monthly_sales,
        rank() OVER (PARTITION BY i_category, i_brand, cc_name ORDER BY d_year, d_moy) AS rn
    FROM item, catalog_sales, date_dim, call_center
    WHERE cs_item_sk = i_item_sk
      AND cs_sold_date_sk = d_date_sk
      AND cs_call_center_sk = cc_call_center_sk
      AND (d_year = 2000 OR (d_year = 1999 AND d_moy = 11) OR (d_year = 2001 AND d_moy = 1))
    GROUP BY i_category, i_brand, cc_name, d_year, d_moy
)
SELECT
    v1.i_category,
    v1.i_brand,
    v1.cc_name,
    v1.d_year,
    v1.d_moy,
    v1.avg_monthly_sales,
    v1.sum_sales,
    before.sum_sales AS psum,
    after.sum_sales AS nsum
FROM v1, v1 before, v1 after
WHERE v1.i_category = before.i_category
  AND v1.i_category = after.i_category
  AND v1.i_brand = before.i_brand
  AND v1.i_brand = after.i_brand
  AND v1.cc_name = before.cc_name
  AND v1.cc_name = after.cc_name
  AND v1.rn = before.rn + 1
  AND v1.rn = after.rn - 1
  AND v1.d_year = 2000
  AND v1.avg_monthly_sales > 0
  AND abs(v1.sum_sales - v1.avg_monthly_sales) / v1.avg_monthly_sales > 0.1
ORDER BY v1.sum_sales - v1.avg_monthly_sales, v1.i_category, v1.i_brand, v1.cc_name, v1.d_moy
LIMIT 100
