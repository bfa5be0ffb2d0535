//! The shapes that are recomputed, each with its exact reason.

use std::collections::BTreeMap;

use super::binding::planned;
use super::lake::RELATIONS;
use crate::{InputShape, analyze, change_plan};

macro_rules! refused {
    ($($name:ident: $code:literal, $sql:literal;)*) => {
        $(#[tokio::test] async fn $name() { refuses($code, $sql).await; })*
    };
}

async fn refuses(code: &str, sql: &str) {
    let plan = planned(sql).await;
    let analysis = analyze(&plan);
    let shown = plan.display_indent();
    assert!(!analysis.incremental, "{sql} is incremental\n{shown}");
    assert_eq!(analysis.reason.as_ref().unwrap().code(), code, "{sql}\n{shown}");
    let shape = InputShape { changed: true, insert_only: false };
    let inputs: BTreeMap<String, InputShape> =
        RELATIONS.iter().map(|relation| ((*relation).to_owned(), shape)).collect();
    assert_eq!(change_plan(&plan, &inputs).err(), analysis.reason);
    let text = serde_json::to_string(&analysis).unwrap();
    assert_eq!(serde_json::from_str::<crate::Analysis>(&text).unwrap(), analysis);
}

refused! {
    left_join: "outer_join_not_incremental", "SELECT r.b, t.c FROM r LEFT JOIN t ON r.a = t.a";
    full_join: "outer_join_not_incremental", "SELECT r.b, t.c FROM r FULL JOIN t ON r.a = t.a";
    in_sub_query: "subquery_not_incremental", "SELECT a FROM r WHERE a IN (SELECT a FROM t)";
    not_in_sub_query: "subquery_not_incremental", "SELECT a FROM r WHERE a NOT IN (SELECT a FROM t)";
    exists: "subquery_not_incremental", "SELECT a FROM r WHERE EXISTS (SELECT 1 FROM t WHERE t.a = r.a)";
    scalar_sub_query: "subquery_not_incremental", "SELECT a FROM r WHERE b > (SELECT max(c) FROM t)";
    correlated_scalar_sub_query: "subquery_not_incremental", "SELECT a, (SELECT max(c) FROM t WHERE t.a = r.a) AS c FROM r";
    intersect: "set_operation_not_incremental", "SELECT a FROM r INTERSECT ALL SELECT a FROM t";
    except: "set_operation_not_incremental", "SELECT a FROM r EXCEPT ALL SELECT a FROM t";
    window: "window_not_incremental", "SELECT a, row_number() OVER (PARTITION BY a ORDER BY b) AS n FROM r";
    limit: "limit_not_incremental", "SELECT a FROM r LIMIT 3";
    top_k: "limit_not_incremental", "SELECT a FROM r ORDER BY a LIMIT 3";
    limit_inside: "limit_not_incremental", "SELECT q.a FROM (SELECT a FROM r LIMIT 3) q JOIN t ON q.a = t.a";
    aggregate_below_a_join: "operator_not_incremental", "SELECT r.a, q.n FROM r JOIN (SELECT a, count(*) AS n FROM t GROUP BY a) q ON r.a = q.a";
    aggregate_of_everything: "aggregate_without_groups", "SELECT count(*) AS n FROM r";
    hidden_group_key: "group_keys_not_in_output", "SELECT count(*) AS n FROM r GROUP BY a";
    changed_group_key: "group_keys_not_in_output", "SELECT a + 1 AS a, count(*) AS n FROM r GROUP BY a";
    grouping_sets: "operator_not_incremental", "SELECT a, s, count(*) AS n FROM r GROUP BY ROLLUP (a, s)";
    groups_of_counts: "operator_not_incremental", "SELECT n, count(*) AS m FROM (SELECT a, count(*) AS n FROM r GROUP BY a) q GROUP BY n";
    union_of_groups: "operator_not_incremental", "SELECT a, count(*) AS n FROM r GROUP BY a UNION ALL SELECT a, c FROM t";
    recursion: "recursion_not_incremental", "WITH RECURSIVE q AS (SELECT a, b FROM r UNION ALL SELECT q.a, r.b FROM q JOIN r ON q.b = r.a) SELECT * FROM q";
    volatile: "volatile_function", "SELECT a, random() AS x FROM r";
    volatile_in_a_filter: "volatile_function", "SELECT a FROM r WHERE x > random()";
    clock: "clock_dependent", "SELECT a, now() AS at FROM r";
    unnest: "operator_not_incremental", "SELECT unnest([a, b]) AS v FROM r";
    reserved_name: "unsupported_expression", "SELECT a AS __weight FROM r";
    table_function: "operator_not_incremental", "SELECT value FROM generate_series(1, 3)";
    columns_of_one_name: "unsupported_expression", "SELECT r.a, t.a FROM r JOIN t ON r.b = t.c";
}
