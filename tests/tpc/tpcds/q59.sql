-- Each week of a store against the same week a year later, day by day.
WITH weeks AS (
    SELECT
        d_week_seq,
        ss_store_sk,
        sum(CASE WHEN d_day_name = 'Sunday' THEN ss_sales_price ELSE NULL END) AS sun_sales,
        sum(CASE WHEN d_day_name = 'Monday' THEN ss_sales_price ELSE NULL END) AS mon_sales,
        sum(CASE WHEN d_day_name = 'Tuesday' THEN ss_sales_price ELSE NULL END) AS tue_sales,
        sum(CASE WHEN d_day_name = 'Wednesday' THEN ss_sales_price ELSE NULL END) AS wed_sales,
        sum(CASE WHEN d_day_name = 'Thursday' THEN ss_sales_price ELSE NULL END) AS thu_sales,
        sum(CASE WHEN d_day_name = 'Friday' THEN ss_sales_price ELSE NULL END) AS fri_sales,
        sum(CASE WHEN d_day_name = 'Saturday' THEN ss_sales_price ELSE NULL END) AS sat_sales
    FROM store_sales, date_dim
    WHERE d_date_sk = ss_sold_date_sk
    GROUP BY d_week_seq, ss_store_sk
)
SELECT
    store_name_1,
    store_id_1,
    week_1,
    sun_sales_1 / sun_sales_2 AS sun_ratio,
    mon_sales_1 / mon_sales_2 AS mon_ratio,
    tue_sales_1 / tue_sales_2 AS tue_ratio,
    wed_sales_1 / wed_sales_2 AS wed_ratio,
    thu_sales_1 / thu_sales_2 AS thu_ratio,
    fri_sales_1 / fri_sales_2 AS fri_ratio,
    sat_sales_1 / sat_sales_2 AS sat_ratio
FROM (
    SELECT
        s_store_name AS store_name_1,
        s_store_id AS store_id_1,
        weeks.d_week_seq AS week_1,
        sun_sales AS sun_sales_1,
        mon_sales AS mon_sales_1,
        tue_sales AS tue_sales_1,
        wed_sales AS wed_sales_1,
        thu_sales AS thu_sales_1,
        fri_sales AS fri_sales_1,
        sat_sales AS sat_sales_1
    FROM weeks, store, date_dim d
    WHERE d.d_week_seq = weeks.d_week_seq AND ss_store_sk = s_store_sk AND d_month_seq BETWEEN 1176 AND 1176 + 11
) this_year, (
    SELECT
        s_store_name AS store_name_2,
        s_store_id AS store_id_2,
        weeks.d_week_seq AS week_2,
        sun_sales AS sun_sales_2,
        mon_sales AS mon_sales_2,
        tue_sales AS tue_sales_2,
        wed_sales AS wed_sales_2,
        thu_sales AS thu_sales_2,
        fri_sales AS fri_sales_2,
        sat_sales AS sat_sales_2
    FROM weeks, store, date_dim d
    WHERE d.d_week_seq = weeks.d_week_seq AND ss_store_sk = s_store_sk AND d_month_seq BETWEEN 1176 + 12 AND 1176 + 23
) next_year
WHERE store_id_1 = store_id_2
  AND week_1 = week_2 - 52
ORDER BY store_name_1, store_id_1, week_1
LIMIT 100
