-- Each week of the web and the catalogue against the same week a year later, day by day.
WITH both_channels AS (
    SELECT ws_sold_date_sk AS sold_date_sk, ws_ext_sales_price AS sales_price
    FROM web_sales
    UNION ALL
    SELECT cs_sold_date_sk AS sold_date_sk, cs_ext_sales_price AS sales_price
    FROM catalog_sales
), weeks AS (
    SELECT
        d_week_seq,
        sum(CASE WHEN d_day_name = 'Sunday' THEN sales_price ELSE NULL END) AS sun_sales,
        sum(CASE WHEN d_day_name = 'Monday' THEN sales_price ELSE NULL END) AS mon_sales,
        sum(CASE WHEN d_day_name = 'Tuesday' THEN sales_price ELSE NULL END) AS tue_sales,
        sum(CASE WHEN d_day_name = 'Wednesday' THEN sales_price ELSE NULL END) AS wed_sales,
        sum(CASE WHEN d_day_name = 'Thursday' THEN sales_price ELSE NULL END) AS thu_sales,
        sum(CASE WHEN d_day_name = 'Friday' THEN sales_price ELSE NULL END) AS fri_sales,
        sum(CASE WHEN d_day_name = 'Saturday' THEN sales_price ELSE NULL END) AS sat_sales
    FROM both_channels, date_dim
    WHERE d_date_sk = sold_date_sk
    GROUP BY d_week_seq
)
SELECT
    week_1,
    round(sun_sales_1 / sun_sales_2, 2) AS sun_ratio,
    round(mon_sales_1 / mon_sales_2, 2) AS mon_ratio,
    round(tue_sales_1 / tue_sales_2, 2) AS tue_ratio,
    round(wed_sales_1 / wed_sales_2, 2) AS wed_ratio,
    round(thu_sales_1 / thu_sales_2, 2) AS thu_ratio,
    round(fri_sales_1 / fri_sales_2, 2) AS fri_ratio,
    round(sat_sales_1 / sat_sales_2, 2) AS sat_ratio
FROM (
    SELECT
        weeks.d_week_seq AS week_1,
        sun_sales AS sun_sales_1,
        mon_sales AS mon_sales_1,
        tue_sales AS tue_sales_1,
        wed_sales AS wed_sales_1,
        thu_sales AS thu_sales_1,
        fri_sales AS fri_sales_1,
        sat_sales AS sat_sales_1
    FROM weeks, date_dim
    WHERE date_dim.d_week_seq = weeks.d_week_seq AND d_year = 2001
) this_year, (
    SELECT
        weeks.d_week_seq AS week_2,
        sun_sales AS sun_sales_2,
        mon_sales AS mon_sales_2,
        tue_sales AS tue_sales_2,
        wed_sales AS wed_sales_2,
        thu_sales AS thu_sales_2,
        fri_sales AS fri_sales_2,
        sat_sales AS sat_sales_2
    FROM weeks, date_dim
    WHERE date_dim.d_week_seq = weeks.d_week_seq AND d_year = 2001 + 1
) next_year
WHERE week_1 = week_2 - 53
ORDER BY week_1
