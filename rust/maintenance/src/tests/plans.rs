//! The shape of the derived plans: how many terms, what is scanned on which side, and what is hashed.

use std::collections::BTreeMap;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Aggregate, Join, JoinType, LogicalPlan};

use super::binding::{planned, scans};
use crate::{ChangePlan, InputShape, Side, analyze, change_plan};

const MIXED: InputShape = InputShape { changed: true, insert_only: false };
const INSERTS: InputShape = InputShape { changed: true, insert_only: true };
const UNCHANGED: InputShape = InputShape { changed: false, insert_only: false };

fn inputs(shapes: [InputShape; 3]) -> BTreeMap<String, InputShape> {
    ["r", "t", "u"].into_iter().map(str::to_owned).zip(shapes).collect()
}

async fn rows(sql: &str, shapes: [InputShape; 3]) -> LogicalPlan {
    match change_plan(&planned(sql).await, &inputs(shapes)).unwrap() {
        ChangePlan::Rows { changes, .. } => changes,
        ChangePlan::Groups { .. } => panic!("{sql} has groups"),
    }
}

async fn groups(sql: &str, shapes: [InputShape; 3]) -> (LogicalPlan, Vec<usize>, LogicalPlan) {
    match change_plan(&planned(sql).await, &inputs(shapes)).unwrap() {
        ChangePlan::Groups { keys, key_columns, new_rows, .. } => (keys, key_columns, new_rows),
        ChangePlan::Rows { .. } => panic!("{sql} has no groups"),
    }
}

fn joins(plan: &LogicalPlan) -> Vec<Join> {
    let mut found = Vec::new();
    plan.apply(|node| {
        if let LogicalPlan::Join(join) = node {
            found.push(join.clone());
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .unwrap();
    found
}

fn aggregates(plan: &LogicalPlan) -> Vec<Aggregate> {
    let mut found = Vec::new();
    plan.apply(|node| {
        if let LogicalPlan::Aggregate(aggregate) = node {
            found.push(aggregate.clone());
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .unwrap();
    found
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

const THREE: &str = "SELECT r.b, t.s, u.m FROM r JOIN t ON r.a = t.a JOIN u ON t.c = u.c";

#[tokio::test]
async fn a_join_of_three_changed_inputs_has_three_terms() {
    let plan = rows(THREE, [MIXED; 3]).await;
    assert_eq!(sorted(scans(&plan, Side::Changes)), ["r", "t", "u"]);
    // Term 1 reads t and u before, term 2 reads r now and u before, term 3 reads r and t now.
    assert_eq!(sorted(scans(&plan, Side::Before)), ["t", "u", "u"]);
    assert_eq!(sorted(scans(&plan, Side::Now)), ["r", "r", "t"]);
}

#[tokio::test]
async fn an_unchanged_input_contributes_no_term_and_is_read_now() {
    let plan = rows(THREE, [UNCHANGED, MIXED, UNCHANGED]).await;
    assert_eq!(scans(&plan, Side::Changes), ["t"]);
    assert_eq!(scans(&plan, Side::Before), Vec::<String>::new());
    assert_eq!(sorted(scans(&plan, Side::Now)), ["r", "u"]);
}

#[tokio::test]
async fn no_changed_input_means_no_scan() {
    let plan = rows(THREE, [UNCHANGED; 3]).await;
    for side in Side::ALL {
        assert_eq!(scans(&plan, side), Vec::<String>::new());
    }
}

#[tokio::test]
async fn the_changed_side_of_every_join_is_hashed() {
    for position in 0..3 {
        let mut shapes = [UNCHANGED; 3];
        shapes[position] = MIXED;
        let plan = rows(THREE, shapes).await;
        let joins = joins(&plan);
        assert_eq!(joins.len(), 2);
        for join in joins {
            assert!(!join.on.is_empty(), "a cross join although an equality ties the inputs");
            assert_eq!(scans(&join.left, Side::Changes).len(), 1);
            assert_eq!(scans(&join.right, Side::Changes).len(), 0);
            assert_eq!(scans(&join.right, Side::Now).len(), 1, "more than one input is probed at once");
        }
    }
}

#[tokio::test]
async fn windows_of_equal_partitions_are_compared_at_once() {
    for (second, steps) in [("a ORDER BY b DESC", 1), ("s ORDER BY b", 2)] {
        let sql = format!(
            "SELECT rank() OVER (PARTITION BY a ORDER BY b) AS n, rank() OVER (PARTITION BY {second}) AS m FROM r"
        );
        let changes = change_plan(&planned(&sql).await, &inputs([MIXED, UNCHANGED, UNCHANGED])).unwrap();
        let (ChangePlan::Rows { steps: found, .. } | ChangePlan::Groups { steps: found, .. }) = changes;
        assert_eq!(found.len(), steps, "{second}");
    }
}

#[tokio::test]
async fn inserts_alone_are_not_consolidated() {
    assert_eq!(aggregates(&rows(THREE, [INSERTS, UNCHANGED, INSERTS]).await).len(), 0);
    assert_eq!(aggregates(&rows(THREE, [INSERTS, UNCHANGED, MIXED]).await).len(), 1);
}

#[tokio::test]
async fn group_keys_are_the_hashed_side_of_the_restricting_join() {
    let (keys, key_columns, new_rows) =
        groups("SELECT max(b) AS n, s, a FROM r GROUP BY a, s", [MIXED, UNCHANGED, UNCHANGED]).await;
    assert_eq!(key_columns, [2, 1]);
    assert_eq!(keys.schema().field_names(), ["a", "s"]);
    let joins = joins(&new_rows);
    assert_eq!(joins.len(), 1);
    assert_eq!(joins[0].join_type, JoinType::RightSemi);
    assert_eq!(scans(&joins[0].left, Side::Changes), ["r"]);
    assert_eq!(scans(&joins[0].right, Side::Now), ["r"]);
}

#[tokio::test]
async fn a_key_of_one_input_restricts_that_input_below_the_join() {
    let sql = "SELECT t.s, sum(r.b) AS b FROM r JOIN t ON r.a = t.a GROUP BY t.s";
    let (_, _, new_rows) = groups(sql, [MIXED, UNCHANGED, UNCHANGED]).await;
    let restricting: Vec<Join> =
        joins(&new_rows).into_iter().filter(|join| join.join_type == JoinType::RightSemi).collect();
    assert_eq!(restricting.len(), 1);
    assert_eq!(scans(&restricting[0].right, Side::Now), ["t"]);
    let top = joins(&new_rows).remove(0);
    assert_eq!(top.join_type, JoinType::Inner);
    assert_eq!(scans(&top.right, Side::Now), ["r"], "the restricted input is not hashed");
}

#[tokio::test]
async fn keys_of_two_inputs_restrict_both_and_then_the_join() {
    let sql = "SELECT r.s AS rs, t.s AS ts, max(r.b) AS n FROM r JOIN t ON r.a = t.a GROUP BY r.s, t.s";
    let (_, _, new_rows) = groups(sql, [MIXED, MIXED, UNCHANGED]).await;
    let restricted: Vec<usize> = joins(&new_rows)
        .into_iter()
        .filter(|join| join.join_type == JoinType::RightSemi)
        .map(|join| join.on.len())
        .collect();
    assert_eq!(restricted, [2, 1, 1]);
}

#[tokio::test]
async fn every_operator_of_an_incremental_view_says_how() {
    let sql = "SELECT t.s, count(DISTINCT r.b) AS n FROM r JOIN t ON r.a = t.a GROUP BY t.s HAVING count(*) > 1";
    let analysis = analyze(&planned(sql).await);
    assert!(analysis.incremental, "{analysis:#?}");
    let how: Vec<&str> = analysis.operators.iter().map(|operator| operator.how.as_str()).collect();
    assert!(how.contains(&"affected_groups") && how.contains(&"join_terms") && how.contains(&"linear"));
    assert!(!how.contains(&"recompute"));
}
