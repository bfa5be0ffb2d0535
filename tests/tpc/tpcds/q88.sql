-- Customers by half hour: counts side by side.
SELECT *
FROM (
    SELECT count(*) AS h8_30_to_9
    FROM store_sales, household_demographics, time_dim, store
    WHERE ss_sold_time_sk = time_dim.t_time_sk
      AND ss_hdemo_sk = household_demographics.hd_demo_sk
      AND ss_store_sk = s_store_sk
      AND time_dim.t_hour = 8
      AND time_dim.t_minute >= 30
      AND household_demographics.hd_dep_count = 4
      AND household_demographics.hd_vehicle_count <= 6
      AND store.s_store_name = 'ese'
) s1, (
    SELECT count(*) AS h9_to_9_30
    FROM store_sales, household_demographics, time_dim, store
    WHERE ss_sold_time_sk = time_dim.t_time_sk
      AND ss_hdemo_sk = household_demographics.hd_demo_sk
      AND ss_store_sk = s_store_sk
      AND time_dim.t_hour = 9
      AND time_dim.t_minute < 30
      AND household_demographics.hd_dep_count = 4
      AND household_demographics.hd_vehicle_count <= 6
      AND store.s_store_name = 'ese'
) s2
