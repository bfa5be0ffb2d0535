-- How long unshipped items have been waiting, by mode: the clock in a projection below an aggregate.
SELECT
    l_shipmode,
    max(date_diff) AS longest_wait,
    count(*) AS items
FROM (
    SELECT l_shipmode, CAST(current_date AS integer) - CAST(l_commitdate AS integer) AS date_diff
    FROM lineitem
    WHERE l_linestatus = 'O' AND l_shipdate < current_date
) AS waiting
GROUP BY l_shipmode
