//! One view for each covered shape, over random bags and random changes.

use super::oracle::check_random_cases;

/// The cases for each shape.
const CASES: u32 = 24;

macro_rules! shapes {
    ($($name:ident: $sql:literal;)*) => {
        $(#[test] fn $name() { check_random_cases($sql, CASES); })*
    };
}

shapes! {
    scan: "SELECT * FROM r";
    projection_with_expressions: "SELECT a + b AS total, upper(s) AS s, x * 2 AS x FROM r";
    projection_that_tells_the_zeros_apart: "SELECT 1 / x AS inverse, CAST(x AS VARCHAR) AS shown FROM r";
    constant_column: "SELECT 1 AS one, a FROM r";
    filter_pushed_into_the_scan: "SELECT b FROM r WHERE a > 1 AND s IS NOT NULL";
    filter_on_a_computed_column: "SELECT * FROM (SELECT a + b AS total, s FROM r) q WHERE total > 2 OR s = 'p'";
    filter_on_floats: "SELECT a, x FROM r WHERE x = x AND x >= 0";
    filter_that_is_never_true: "SELECT a FROM r WHERE 1 = 2";
    case_and_casts: "SELECT CASE WHEN a > 1 THEN 'many' WHEN a IS NULL THEN NULL ELSE s END AS c, CAST(b AS DOUBLE) AS b FROM r";
    nested_values: "SELECT a, [b, a] AS pair FROM r";
    order_is_no_content: "SELECT a, s FROM r ORDER BY a DESC, s";
    union_all: "SELECT a, s FROM r UNION ALL SELECT c, s FROM t WHERE c > 0";
    union_all_of_one_table_twice: "SELECT a FROM r WHERE b > 1 UNION ALL SELECT b FROM r";
    union_all_with_constants: "SELECT a, s FROM r UNION ALL SELECT 7, 'seven' UNION ALL SELECT * FROM (VALUES (1, 'p')) v";

    unnest: "SELECT a, unnest([a, b]) AS v FROM r";
    unnest_without_elements: "SELECT s, unnest(CASE WHEN a > 1 THEN [a, b] END) AS v FROM r";
    group_over_unnest: "SELECT s, v, count(*) AS n FROM (SELECT s, unnest([a, b]) AS v FROM r) q GROUP BY s, v";
    window_over_unnest: "SELECT s, v, count(*) OVER (PARTITION BY s) AS n FROM (SELECT s, unnest([a, b]) AS v FROM r) q";

    join_two: "SELECT r.a, r.b, t.c FROM r JOIN t ON r.a = t.a";
    join_two_columns: "SELECT r.b, t.c FROM r JOIN t ON r.a = t.a AND r.s = t.s";
    join_with_residual_filter: "SELECT r.a, r.b, t.c FROM r JOIN t ON r.a = t.a AND r.b < t.c";
    join_on_expressions: "SELECT r.a AS ra, t.a AS ta FROM r JOIN t ON r.a + 1 = t.c - t.a";
    join_null_safe: "SELECT r.b, t.c FROM r JOIN t ON r.a IS NOT DISTINCT FROM t.a";
    join_with_both_kinds_of_keys: "SELECT r.b, t.c FROM r JOIN t ON (r.a IS NOT DISTINCT FROM t.a) AND r.s = t.s";
    join_on_floats: "SELECT p.a, q.b, q.x FROM r p JOIN r q ON p.x = q.x";
    self_join: "SELECT p.a, p.b AS pb, q.b AS qb FROM r p JOIN r q ON p.a = q.a";
    self_join_three_times: "SELECT p.a AS pa, q.b AS qb, o.s FROM r p JOIN r q ON p.a = q.b JOIN r o ON q.a = o.b";
    join_three: "SELECT r.b, t.s, u.m FROM r JOIN t ON r.a = t.a JOIN u ON t.c = u.c";
    join_three_in_a_star: "SELECT r.b, t.s, u.m FROM t JOIN r ON r.a = t.a JOIN u ON r.b = u.c AND u.d IS NOT NULL";
    join_four_with_a_triangle: "SELECT r.s, u.m, o.c FROM r JOIN t ON r.a = t.a JOIN u ON t.c = u.c AND u.c = r.b JOIN t o ON o.a = r.a";
    null_safe_keys_beside_a_cross_join: "SELECT q1.b + q2.a AS c, q0.s FROM r q0 CROSS JOIN r q1 JOIN r q2 ON ((q0.a % 2) IS NOT DISTINCT FROM (q2.a % 2))";
    cross_join: "SELECT r.a, t.c FROM r CROSS JOIN t";
    join_on_an_inequality: "SELECT r.a, t.c FROM r JOIN t ON r.a < t.c";
    cross_join_without_columns_of_one_side: "SELECT r.a FROM r CROSS JOIN t";
    join_of_sub_queries: "SELECT p.total, q.c FROM (SELECT a, a + b AS total FROM r WHERE b > 0) p JOIN (SELECT t.a, u.c FROM t JOIN u ON t.c = u.c) q ON p.a = q.a";
    join_with_columns_of_the_same_name: "SELECT p.s AS left_s, q.s AS right_s FROM (SELECT r.s, t.c FROM r JOIN t ON r.a = t.a) p JOIN (SELECT t.s, r.b FROM t JOIN r ON t.a = r.a) q ON p.c = q.b";
    join_of_unions: "SELECT p.k, t.c FROM (SELECT a AS k FROM r UNION ALL SELECT b FROM r) p JOIN t ON p.k = t.a";
    union_of_joins: "SELECT r.b, t.s FROM r JOIN t ON r.a = t.a UNION ALL SELECT u.c, r.s FROM u JOIN r ON u.c = r.b";
    join_with_constants: "SELECT r.a, v.n FROM r JOIN (VALUES (1, 'one'), (2, 'two')) v(k, n) ON r.a = v.k";

    merged_count_of_everything: "SELECT count(*) AS n FROM r";
    merged_sums_of_everything: "SELECT sum(b) AS b, count(b) AS bs, sum(a) AS a, count(a) AS as_ FROM r WHERE a < 3";
    merged_counts_by_key: "SELECT a, count(*) AS n FROM r GROUP BY a";
    merged_sums_by_two_keys: "SELECT s, sum(b) AS b, a, count(b) AS bs, count(*) AS n FROM r GROUP BY a, s";
    merged_decimals: "SELECT d, sum(m) AS m, count(m) AS ms, count(*) AS n FROM u GROUP BY d";
    merged_sums_over_a_join: "SELECT t.s, sum(r.b * t.c) AS v, count(r.b * t.c) AS vs, count(*) AS n FROM r JOIN t ON r.a = t.a GROUP BY t.s";
    merged_sums_over_an_outer_join: "SELECT r.s, sum(t.c) AS c, count(t.c) AS cs, count(*) AS n FROM r LEFT JOIN t ON r.a = t.a GROUP BY r.s";
    merged_sums_over_groups: "SELECT n, sum(b) AS b, count(b) AS bs, count(*) AS groups FROM (SELECT s, count(*) AS n, max(b) AS b FROM r GROUP BY s) q GROUP BY n";
    merged_sums_over_a_union: "SELECT k, count(*) AS n FROM (SELECT a AS k FROM r UNION ALL SELECT c FROM t) q GROUP BY k";
    merged_extremes: "SELECT a, count(*) AS n, min(b) AS least, max(b) AS most, sum(b) AS b, count(b) AS bs FROM r GROUP BY a";
    merged_extremes_of_texts_dates_and_decimals: "SELECT t.s, count(*) AS n, max(t.s) AS s2, min(u.d) AS d, max(u.m) AS m FROM t JOIN u ON t.c = u.c GROUP BY t.s";
    merged_extremes_of_floats: "SELECT a, max(y) AS most, min(y) AS least, count(*) AS n FROM (SELECT a, CASE WHEN x BETWEEN -3 AND -1 OR x BETWEEN 1 AND 2 THEN x * b END AS y FROM r) q GROUP BY a";
    merged_extremes_of_truth: "SELECT a, count(*) AS n, bool_or(b > 1) AS some, bool_and(b > 1) AS every FROM r GROUP BY a";
    merged_extremes_over_an_outer_join: "SELECT r.s, max(t.c) AS c, min(r.b) AS b, count(*) AS n FROM r LEFT JOIN t ON r.a = t.a GROUP BY r.s";
    merged_with_filters: "SELECT a, count(*) AS n, count(*) FILTER (WHERE b > 1) AS many, sum(b) FILTER (WHERE s = 'p') AS p, count(b) FILTER (WHERE s = 'p') AS ps, max(b) FILTER (WHERE s <> 'p') AS q, count_if(b = 2) AS twos FROM r GROUP BY a";
    merged_states_of_sums: "SELECT a, count(*) AS n, exact_sum_state(x, 1) AS total, exact_var_state(x * 3, 1) FILTER (WHERE b > 0) AS spread FROM r GROUP BY a";
    merged_states_of_pairs: "SELECT exact_covar_state(r.x, t.c, 1) AS both, exact_regr_state(t.c, r.x, 1) AS line, count(*) AS n, r.s FROM r JOIN t ON r.a = t.a GROUP BY r.s";
    merged_extremes_of_everything: "SELECT 1 AS k, count(*) AS n, max(b) AS most, min(x) AS least FROM r WHERE a > 0 GROUP BY 1";
    merged_extremes_of_a_join: "SELECT 1 AS k, count(*) AS n, max(t.c - r.b) AS most FROM r JOIN t ON r.a = t.a GROUP BY 1";
    merged_states_of_everything: "SELECT exact_sum_state(x, 1) AS total, count(*) AS n FROM r WHERE a > 0";

    merged_by_an_expression_under_another_name: "SELECT n, parity FROM (SELECT a % 2 AS parity, count(*) AS n FROM r GROUP BY a % 2) q";

    // No minimum of floats: where NaN occurs DataFusion's own depends on the order of rows (docs/limits.md).
    group_by_one_key: "SELECT a, count(*) AS n, sum(b) AS b, min(b) AS least FROM r GROUP BY a";
    group_by_text_and_float: "SELECT s, x, count(*) AS n, max(b) AS b FROM r GROUP BY s, x";
    group_by_expression: "SELECT a % 2 AS parity, avg(b) AS b FROM r GROUP BY a % 2";
    group_by_without_aggregates: "SELECT a, s FROM r GROUP BY a, s";
    distinct: "SELECT DISTINCT a, x FROM r WHERE b > 0";
    union_distinct: "SELECT a, s FROM r UNION SELECT c, s FROM t";
    having: "SELECT a, count(*) AS n FROM r GROUP BY a HAVING count(*) > 1 AND sum(b) IS NOT NULL";
    expressions_above_groups: "SELECT n * 10 AS n, key FROM (SELECT a AS key, count(*) AS n, sum(b) AS b FROM r GROUP BY a) q WHERE b > 1";
    keys_in_another_order: "SELECT count(*) AS n, s, a AS k, s AS again FROM r GROUP BY a, s";
    count_distinct: "SELECT a, count(DISTINCT b) AS n FROM r GROUP BY a";
    several_distinct_aggregates: "SELECT a, count(DISTINCT b) AS n, sum(DISTINCT b) AS total, count(s) AS s FROM r GROUP BY a";
    aggregate_with_filter_and_order: "SELECT a, count(*) FILTER (WHERE b > 1) AS n, string_agg(s, ',' ORDER BY s) AS s FROM r GROUP BY a";
    stacked_aggregates: "SELECT a, max(n) AS n FROM (SELECT a, b, count(*) AS n FROM r GROUP BY a, b) q GROUP BY a";
    group_over_join: "SELECT r.a, sum(t.c) AS c, count(*) AS n FROM r JOIN t ON r.a = t.a GROUP BY r.a";
    group_over_join_by_the_other_side: "SELECT t.s, sum(r.b) AS b FROM r JOIN t ON r.a = t.a GROUP BY t.s";
    group_over_join_by_both_sides: "SELECT r.s AS rs, t.s AS ts, count(*) AS n FROM r JOIN t ON r.a = t.a GROUP BY r.s, t.s";
    group_over_join_by_a_mixed_expression: "SELECT r.b + t.c AS k, count(*) AS n FROM r JOIN t ON r.a = t.a GROUP BY r.b + t.c";
    group_over_join_three: "SELECT u.d, r.s, sum(u.m) AS m FROM r JOIN t ON r.a = t.a JOIN u ON t.c = u.c GROUP BY u.d, r.s";
    group_over_self_join: "SELECT p.b, count(*) AS n FROM r p JOIN r q ON p.a = q.a GROUP BY p.b";
    group_over_cross_join: "SELECT r.a, count(*) AS n FROM r CROSS JOIN t GROUP BY r.a";
    group_over_union: "SELECT k, count(*) AS n, max(s) AS s FROM (SELECT a AS k, s FROM r UNION ALL SELECT c, s FROM t) q GROUP BY k";
    group_by_date_and_decimal: "SELECT d, m, count(*) AS n, avg(m) AS mean FROM u GROUP BY d, m";
    group_by_constant: "SELECT 1 AS one, count(*) AS n FROM r GROUP BY 1";

    temporal_filter: "SELECT a, b, s FROM r WHERE to_timestamp_seconds(a) <= now()";
    temporal_filter_that_loses_rows: "SELECT a, b FROM r WHERE to_timestamp_seconds(a) > now() - INTERVAL '1 second' AND b > 0";
    temporal_filter_with_two_ends: "SELECT a, s FROM r WHERE to_timestamp_seconds(a) > now() - INTERVAL '2 seconds' AND to_timestamp_seconds(a) <= now()";
    temporal_filter_with_columns_on_both_sides: "SELECT a, b FROM r WHERE to_timestamp_seconds(a) < now() + CASE WHEN b > 1 THEN INTERVAL '1 second' ELSE INTERVAL '0 seconds' END";
    temporal_filter_with_an_or: "SELECT a, b, x FROM r WHERE to_timestamp_seconds(a) > now() OR b = 1";
    temporal_filter_that_may_be_null: "SELECT a FROM r WHERE to_timestamp_seconds(a) > CASE WHEN now() > to_timestamp_seconds(2) THEN NULL ELSE now() END";
    temporal_filter_on_a_computed_column: "SELECT e, s FROM (SELECT a + b AS e, s FROM r) q WHERE to_timestamp_seconds(e) < now()";
    temporal_filters_of_one_relation_in_a_row: "SELECT k FROM (SELECT a AS k, unnest([b, a]) AS v FROM r WHERE to_timestamp_seconds(a) < now()) q WHERE to_timestamp_seconds(v) >= now()";
    temporal_filter_below_groups: "SELECT s, count(*) AS n, sum(b) AS b, min(a) AS a FROM r WHERE to_timestamp_seconds(a) <= now() GROUP BY s";
    temporal_filter_below_groups_that_are_merged: "SELECT s, count(*) AS n, count(b) AS k, sum(b) AS b FROM r WHERE to_timestamp_seconds(a) > now() - INTERVAL '1 second' GROUP BY s";
    temporal_filter_below_groups_of_its_column: "SELECT a, count(*) AS n, max(s) AS s FROM r WHERE to_timestamp_seconds(a) <= now() GROUP BY a";
    temporal_filters_below_a_join: "SELECT r.b, t.c, r.s FROM r JOIN t ON r.a = t.a WHERE to_timestamp_seconds(r.b) < now() AND to_timestamp_seconds(t.c) >= now()";
    temporal_filter_on_one_side_of_a_join: "SELECT r.b, t.c, u.m FROM r JOIN t ON r.a = t.a JOIN u ON t.c = u.c WHERE to_timestamp_seconds(r.b) <= now()";
    temporal_filter_on_the_key_of_a_self_join: "SELECT p.b, q.b AS qb FROM r p JOIN r q ON p.a = q.a WHERE to_timestamp_seconds(p.a) <= now()";
    temporal_filter_below_groups_of_a_join: "SELECT t.s, count(*) AS n, avg(r.b) AS b FROM r JOIN t ON r.a = t.a WHERE to_timestamp_seconds(r.b) <= now() GROUP BY t.s";
    temporal_filters_below_an_outer_join: "SELECT p.b, q.c FROM (SELECT * FROM r WHERE to_timestamp_seconds(b) <= now()) p LEFT JOIN (SELECT * FROM t WHERE to_timestamp_seconds(c) > now()) q ON p.a = q.a";
    temporal_filter_below_a_full_join: "SELECT p.a, p.b, t.c FROM (SELECT * FROM r WHERE to_timestamp_seconds(b) > now()) p FULL JOIN t ON p.a = t.a";
    temporal_filter_below_a_window: "SELECT a, b, rank() OVER (PARTITION BY s ORDER BY b) AS n FROM r WHERE to_timestamp_seconds(a) <= now()";
    temporal_filter_below_distinct: "SELECT DISTINCT s, b FROM r WHERE to_timestamp_seconds(a) > now()";
    temporal_filter_below_a_union: "SELECT a, s FROM r WHERE to_timestamp_seconds(a) < now() UNION ALL SELECT c, s FROM t";
    temporal_filter_in_a_sub_query: "SELECT a, b FROM r WHERE a NOT IN (SELECT a FROM t WHERE to_timestamp_seconds(c) <= now())";
    temporal_filter_beside_a_sub_query: "SELECT a, b FROM r WHERE to_timestamp_seconds(b) > now() AND EXISTS (SELECT 1 FROM t WHERE t.a = r.a)";
    temporal_filter_in_a_scalar_sub_query: "SELECT a, b FROM r WHERE b > (SELECT max(c) FROM t WHERE to_timestamp_seconds(c) < now())";
    temporal_filter_below_an_intersection: "SELECT a FROM r WHERE to_timestamp_seconds(b) <= now() INTERSECT SELECT a FROM t";

    left_join: "SELECT r.b, r.s, t.c FROM r LEFT JOIN t ON r.a = t.a";
    left_join_with_residual_filter: "SELECT r.a, r.b, t.c FROM r LEFT JOIN t ON r.a = t.a AND r.b < t.c";
    left_join_with_a_condition_on_the_kept_side: "SELECT r.a, r.b, t.c FROM r LEFT JOIN t ON r.a = t.a AND r.b > 1";
    left_join_null_safe: "SELECT r.b, t.c FROM r LEFT JOIN t ON r.a IS NOT DISTINCT FROM t.a";
    left_join_on_expressions: "SELECT r.b, t.c FROM r LEFT JOIN t ON r.a + 1 = t.c";
    left_join_without_equality: "SELECT r.a, t.c FROM r LEFT JOIN t ON r.a < t.c";
    left_join_of_itself: "SELECT p.a, p.b, q.b AS qb FROM r p LEFT JOIN r q ON p.a = q.b";
    left_join_filtered_above: "SELECT r.a, t.c FROM r LEFT JOIN t ON r.a = t.a WHERE t.c IS NULL OR r.b > t.c";
    left_joins_in_a_row: "SELECT r.b, t.c, u.m FROM r LEFT JOIN t ON r.a = t.a LEFT JOIN u ON t.c = u.c";
    right_join: "SELECT r.b, t.c, t.s FROM r RIGHT JOIN t ON r.a = t.a AND r.s = t.s";
    full_join: "SELECT r.a, r.b, t.a AS ta, t.c FROM r FULL JOIN t ON r.a = t.a";
    full_join_with_residual_filter: "SELECT r.a, r.b, t.c FROM r FULL JOIN t ON r.a = t.a AND r.b < t.c";
    inner_join_over_an_outer_join: "SELECT q.b, u.m FROM (SELECT r.b, t.c FROM r LEFT JOIN t ON r.a = t.a) q JOIN u ON q.c = u.c";
    outer_join_over_a_union: "SELECT p.k, t.c FROM (SELECT a AS k FROM r UNION ALL SELECT c FROM u) p LEFT JOIN t ON p.k = t.a";
    union_of_outer_joins: "SELECT r.b, t.s FROM r LEFT JOIN t ON r.a = t.a UNION ALL SELECT t.a, r.s FROM t LEFT JOIN r ON t.c = r.b";
    group_over_left_join: "SELECT r.a, count(t.c) AS n, sum(r.b) AS b FROM r LEFT JOIN t ON r.a = t.a GROUP BY r.a";
    group_over_left_join_by_the_other_side: "SELECT t.s, count(*) AS n FROM r LEFT JOIN t ON r.a = t.a GROUP BY t.s";
    group_over_full_join: "SELECT r.s, t.s AS ts, count(*) AS n FROM r FULL JOIN t ON r.a = t.a GROUP BY r.s, t.s";

    in_sub_query: "SELECT a, b FROM r WHERE a IN (SELECT a FROM t WHERE c > 0)";
    not_in_sub_query: "SELECT a, b FROM r WHERE a NOT IN (SELECT a FROM t)";
    not_in_sub_query_without_null: "SELECT a, b FROM r WHERE a NOT IN (SELECT a FROM t WHERE a IS NOT NULL)";
    exists: "SELECT a, b FROM r WHERE EXISTS (SELECT 1 FROM t WHERE t.a = r.a AND t.c >= r.b)";
    not_exists: "SELECT a, s FROM r WHERE NOT EXISTS (SELECT 1 FROM t WHERE t.a = r.a)";
    exists_or_a_condition: "SELECT a, b FROM r WHERE b > 2 OR EXISTS (SELECT 1 FROM t WHERE t.a = r.a)";
    in_or_in: "SELECT a, b FROM r WHERE a IN (SELECT a FROM t) OR b IN (SELECT c FROM u)";
    exists_anything: "SELECT a FROM r WHERE EXISTS (SELECT 1 FROM t WHERE c > 1)";
    semi_join: "SELECT r.a, r.b FROM r LEFT SEMI JOIN t ON r.a = t.a";
    anti_join: "SELECT t.a, t.c FROM r RIGHT ANTI JOIN t ON r.a = t.a AND r.b > t.c";
    scalar_sub_query: "SELECT a, b FROM r WHERE b > (SELECT min(c) FROM t)";
    scalar_sub_query_in_the_list: "SELECT a, b - (SELECT max(c) FROM t) AS d FROM r";
    two_scalar_sub_queries: "SELECT a FROM r WHERE b BETWEEN (SELECT min(c) FROM t) AND (SELECT max(c) FROM u)";
    scalar_sub_query_in_a_having: "SELECT a, sum(b) AS b FROM r GROUP BY a HAVING sum(b) > (SELECT max(c) FROM t)";
    correlated_scalar_sub_query: "SELECT a, b, (SELECT max(c) FROM t WHERE t.a = r.a) AS c FROM r";
    correlated_count: "SELECT a, b, (SELECT count(*) FROM t WHERE t.a = r.a) AS n FROM r";
    correlated_scalar_sub_query_in_a_filter: "SELECT a, b FROM r WHERE b > (SELECT avg(c) FROM t WHERE t.a = r.a)";
    scalar_sub_query_in_an_aggregate: "SELECT a, sum(b + (SELECT min(c) FROM t)) AS b, count(*) AS n FROM r GROUP BY a";
    scalar_sub_query_in_a_group_key: "SELECT a % (1 + (SELECT count(*) FROM t)) AS k, count(*) AS n FROM r GROUP BY a % (1 + (SELECT count(*) FROM t))";
    scalar_sub_query_in_a_window: "SELECT a, b, sum(b * (SELECT max(c) FROM t)) OVER (PARTITION BY a) AS total FROM r";
    intersect: "SELECT a, s FROM r INTERSECT SELECT a, s FROM t";
    except: "SELECT a, s FROM r EXCEPT SELECT c, s FROM t";

    aggregate_below_a_join: "SELECT r.a, r.b, q.n FROM r JOIN (SELECT a, count(*) AS n FROM t GROUP BY a) q ON r.a = q.a";
    aggregate_below_a_left_join: "SELECT r.a, r.b, q.n FROM r LEFT JOIN (SELECT a, count(*) AS n FROM t GROUP BY a) q ON r.a = q.a";
    two_aggregates_joined: "SELECT p.a, p.b, q.n FROM (SELECT a, sum(b) AS b FROM r GROUP BY a) p JOIN (SELECT a, count(*) AS n FROM t GROUP BY a) q ON p.a = q.a";
    aggregate_of_its_own_join: "SELECT r.a, r.b FROM r JOIN (SELECT a, max(b) AS b FROM r GROUP BY a) q ON r.a = q.a AND r.b = q.b";
    hidden_group_key: "SELECT count(*) AS n FROM r GROUP BY a";
    changed_group_key: "SELECT a + 1 AS a, count(*) AS n FROM r GROUP BY a";
    groups_of_counts: "SELECT n, count(*) AS m FROM (SELECT a, count(*) AS n FROM r GROUP BY a) q GROUP BY n";
    groups_of_groups_of_groups: "SELECT m, count(*) AS k FROM (SELECT n, count(*) AS m FROM (SELECT a, count(*) AS n FROM r GROUP BY a) q GROUP BY n) o GROUP BY m";
    union_of_groups: "SELECT a, count(*) AS n FROM r GROUP BY a UNION ALL SELECT a, c FROM t";
    distinct_below_a_join: "SELECT r.b, q.s FROM r JOIN (SELECT DISTINCT a, s FROM t) q ON r.a = q.a";
    share_of_the_total: "SELECT a, b, total FROM r CROSS JOIN (SELECT sum(c) AS total FROM t) q";

    window_rank: "SELECT a, b, rank() OVER (PARTITION BY a ORDER BY b) AS n FROM r";
    window_sum_over_partitions: "SELECT a, b, sum(b) OVER (PARTITION BY a) AS total, count(*) OVER (PARTITION BY a, s) AS n FROM r";
    windows_of_equal_partitions: "SELECT a, b, rank() OVER (PARTITION BY a ORDER BY b) AS n, rank() OVER (PARTITION BY a ORDER BY b DESC) AS m, count(*) OVER (PARTITION BY a, s) AS o FROM r";
    windows_upon_windows: "SELECT a, n, max(n) OVER (PARTITION BY a) AS m FROM (SELECT a, b + 1 AS b, rank() OVER (PARTITION BY a ORDER BY b) AS n FROM r) q WHERE n < 4";
    window_by_another_windows_value: "SELECT a, n, count(*) OVER (PARTITION BY n) AS m FROM (SELECT a, rank() OVER (PARTITION BY a ORDER BY b) AS n FROM r) q";
    window_running_sum: "SELECT s, b, sum(b) OVER (PARTITION BY s ORDER BY b) AS total FROM r";
    window_by_an_expression: "SELECT a, b, dense_rank() OVER (PARTITION BY a % 2 ORDER BY b DESC) AS n FROM r";
    window_hiding_its_key: "SELECT b, max(b) OVER (PARTITION BY a) AS most FROM r";
    best_of_each_group: "SELECT a, b FROM (SELECT a, b, rank() OVER (PARTITION BY a ORDER BY b DESC) AS n FROM r) q WHERE n <= 2";
    qualify: "SELECT s, b FROM r QUALIFY rank() OVER (PARTITION BY s ORDER BY b) = 1";
    window_over_a_join: "SELECT r.a, t.c, rank() OVER (PARTITION BY r.a ORDER BY t.c) AS n FROM r JOIN t ON r.a = t.a";
    window_over_groups: "SELECT a, s, n, sum(n) OVER (PARTITION BY a) AS total FROM (SELECT a, s, count(*) AS n FROM r GROUP BY a, s) q";
    groups_over_a_window: "SELECT a, max(n) AS n FROM (SELECT a, rank() OVER (PARTITION BY a ORDER BY b) AS n FROM r) q GROUP BY a";
    join_over_a_window: "SELECT q.n, t.c FROM (SELECT a, rank() OVER (PARTITION BY a ORDER BY b) AS n FROM r) q JOIN t ON q.a = t.a";
}
