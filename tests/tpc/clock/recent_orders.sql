-- Orders of the last ninety days: rows leave this view without any commit.
SELECT o_orderkey, o_custkey, o_totalprice, o_orderdate
FROM orders
WHERE o_orderdate >= CAST(now() - interval '90' day AS date)
