-- Buckets of quantities: scalar sub-queries in the branches of CASE.
SELECT
    CASE
        WHEN (SELECT count(*) FROM store_sales WHERE ss_quantity BETWEEN 1 AND 4) > 190
            THEN (SELECT avg(ss_ext_discount_amt) FROM store_sales WHERE ss_quantity BETWEEN 1 AND 4)
        ELSE (SELECT avg(ss_net_paid) FROM store_sales WHERE ss_quantity BETWEEN 1 AND 4)
    END AS bucket1,
    CASE
        WHEN (SELECT count(*) FROM store_sales WHERE ss_quantity BETWEEN 5 AND 8) > 190
            THEN (SELECT avg(ss_ext_discount_amt) FROM store_sales WHERE ss_quantity BETWEEN 5 AND 8)
        ELSE (SELECT avg(ss_net_paid) FROM store_sales WHERE ss_quantity BETWEEN 5 AND 8)
    END AS bucket2,
    CASE
        WHEN (SELECT count(*) FROM store_sales WHERE ss_quantity BETWEEN 9 AND 12) > 190
            THEN (SELECT avg(ss_ext_discount_amt) FROM store_sales WHERE ss_quantity BETWEEN 9 AND 12)
        ELSE (SELECT avg(ss_net_paid) FROM store_sales WHERE ss_quantity BETWEEN 9 AND 12)
    END AS bucket3,
    CASE
        WHEN (SELECT count(*) FROM store_sales WHERE ss_quantity BETWEEN 13 AND 16) > 190
            THEN (SELECT avg(ss_ext_discount_amt) FROM store_sales WHERE ss_quantity BETWEEN 13 AND 16)
        ELSE (SELECT avg(ss_net_paid) FROM store_sales WHERE ss_quantity BETWEEN 13 AND 16)
    END AS bucket4,
    CASE
        WHEN (SELECT count(*) FROM store_sales WHERE ss_quantity BETWEEN 17 AND 20) > 190
            THEN (SELECT avg(ss_ext_discount_amt) FROM store_sales WHERE ss_quantity BETWEEN 17 AND 20)
        ELSE (SELECT avg(ss_net_paid) FROM store_sales WHERE ss_quantity BETWEEN 17 AND 20)
    END AS bucket5
FROM reason
WHERE r_reason_sk = 1
