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
    intersect_of_limited: "limit_not_incremental", "SELECT a FROM r INTERSECT SELECT a FROM (SELECT a FROM t LIMIT 2) q";
    sub_query_that_may_have_many_rows: "subquery_not_incremental", "SELECT a FROM r WHERE b = (SELECT c FROM t)";
    window_over_everything: "window_not_incremental", "SELECT a, row_number() OVER (ORDER BY b) AS n FROM r";
    windows_without_a_common_partition: "window_not_incremental", "SELECT a, rank() OVER (PARTITION BY a ORDER BY b) AS n, rank() OVER (ORDER BY b) AS m FROM r";
    limit: "limit_not_incremental", "SELECT a FROM r LIMIT 3";
    top_k: "limit_not_incremental", "SELECT a FROM r ORDER BY a LIMIT 3";
    limit_inside: "limit_not_incremental", "SELECT q.a FROM (SELECT a FROM r LIMIT 3) q JOIN t ON q.a = t.a";
    aggregate_of_everything: "aggregate_without_groups", "SELECT max(b) AS most FROM r";
    sum_of_everything_without_its_count: "aggregate_without_groups", "SELECT sum(b) AS b FROM r";
    sum_of_floats_of_everything: "aggregate_without_groups", "SELECT sum(x) AS x, count(x) AS n, count(*) AS rows FROM r";
    grouping_sets: "operator_not_incremental", "SELECT a, s, count(*) AS n FROM r GROUP BY ROLLUP (a, s)";
    recursion: "recursion_not_incremental", "WITH RECURSIVE q AS (SELECT a, b FROM r UNION ALL SELECT q.a, r.b FROM q JOIN r ON q.b = r.a) SELECT * FROM q";
    volatile: "volatile_function", "SELECT a, random() AS x FROM r";
    volatile_in_a_filter: "volatile_function", "SELECT a FROM r WHERE x > random()";
    clock: "clock_dependent", "SELECT a, now() AS at FROM r";
    clock_in_a_condition_on_a_join: "clock_dependent", "SELECT r.a FROM r JOIN t ON r.a = t.a WHERE to_timestamp_seconds(r.b + t.c) < now()";
    clock_in_a_condition_on_groups: "clock_dependent", "SELECT a, max(b) AS b FROM r GROUP BY a HAVING to_timestamp_seconds(max(b)) < now()";
    clock_beside_a_random_number: "volatile_function", "SELECT a FROM r WHERE to_timestamp_seconds(a) < now() AND x > random()";
    reserved_name: "unsupported_expression", "SELECT a AS __weight FROM r";
    table_function: "operator_not_incremental", "SELECT value FROM generate_series(1, 3)";
    columns_of_one_name: "unsupported_expression", "SELECT r.a, t.a FROM r JOIN t ON r.b = t.c";
}
