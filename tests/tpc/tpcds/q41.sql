-- Products of manufacturers that have something else of a kind: a correlated count under eight alternatives.
SELECT DISTINCT i_product_name
FROM item i1
WHERE i_manufact_id BETWEEN 300 AND 300 + 400
  AND (
      SELECT count(*) AS item_cnt
      FROM item
      WHERE (
          i_manufact = i1.i_manufact
          AND (
              (
                  i_category = 'Women'
                  AND i_color IN ('purple', 'burlywood')
                  AND i_units IN ('Ounce', 'Oz')
                  AND i_size IN ('medium', 'large')
              )
              OR (
                  i_category = 'Women'
                  AND i_color IN ('slate', 'pale')
                  AND i_units IN ('Pound', 'Dozen')
                  AND i_size IN ('small', 'large')
              )
              OR (
                  i_category = 'Men'
                  AND i_color IN ('purple', 'slate')
                  AND i_units IN ('Each', 'Ounce')
                  AND i_size IN ('N/A', 'petite')
              )
              OR (
                  i_category = 'Men'
                  AND i_color IN ('burlywood', 'pale')
                  AND i_units IN ('Oz', 'Pound')
                  AND i_size IN ('medium', 'extra large')
              )
          )
      ) OR (
          i_manufact = i1.i_manufact
          AND (
              (
                  i_category = 'Women'
                  AND i_color IN ('slate', 'burlywood')
                  AND i_units IN ('Each', 'Oz')
                  AND i_size IN ('petite', 'large')
              )
              OR (
                  i_category = 'Women'
                  AND i_color IN ('purple', 'pale')
                  AND i_units IN ('Dozen', 'Ounce')
                  AND i_size IN ('N/A', 'small')
              )
              OR (
                  i_category = 'Men'
                  AND i_color IN ('slate', 'pale')
                  AND i_units IN ('Each', 'Dozen')
                  AND i_size IN ('small', 'petite')
              )
              OR (
                  i_category = 'Men'
                  AND i_color IN ('purple', 'burlywood')
                  AND i_units IN ('Ounce', 'Pound')
                  AND i_size IN ('medium', 'large')
              )
          )
      )
  ) > 0
ORDER BY i_product_name
LIMIT 100
