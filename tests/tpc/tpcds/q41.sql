-- Products of manufacturers that have something else of a kind: a correlated count.
SELECT DISTINCT i_product_name
FROM item i1
WHERE i_manufact_id BETWEEN 300 AND 700
  AND (
      SELECT count(*)
      FROM item
      WHERE i_manufact = i1.i_manufact
        AND (
            (i_category = 'Women' AND i_current_price > 1.00)
            OR (i_category = 'Men' AND i_current_price < 80.00)
        )
  ) > 0
ORDER BY i_product_name
LIMIT 100
