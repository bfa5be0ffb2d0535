//! Ties are decided by the plan: the orders in optimized plans, and results that do not depend on who comes first.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::util::pretty::pretty_format_batches;
use datafusion::catalog::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};

use crate::{row_order, set_operations};

/// A table whose rows come in the given order, one batch a row, so that every order of arrival can be played.
fn context(rows: &[(i64, i64, &str)], partitions: usize) -> SessionContext {
    let schema = Arc::new(Schema::new(vec![
        Field::new("k", DataType::Int64, true),
        Field::new("o", DataType::Int64, true),
        Field::new("s", DataType::Utf8, true),
    ]));
    let batches: Vec<RecordBatch> = rows
        .iter()
        .map(|(k, o, s)| {
            let columns: Vec<arrow::array::ArrayRef> = vec![
                Arc::new(Int64Array::from(vec![*k])),
                Arc::new(Int64Array::from(vec![*o])),
                Arc::new(StringArray::from(vec![*s])),
            ];
            RecordBatch::try_new(Arc::clone(&schema), columns).unwrap()
        })
        .collect();
    let spread: Vec<Vec<RecordBatch>> =
        (0..partitions).map(|part| batches.iter().skip(part).step_by(partitions).cloned().collect()).collect();
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(partitions));
    context.register_table("r", Arc::new(MemTable::try_new(schema, spread).unwrap())).unwrap();
    context
}

async fn result(sql: &str, rows: &[(i64, i64, &str)], partitions: usize) -> String {
    let context = context(rows, partitions);
    let state = context.state();
    let plan = state.create_logical_plan(sql).await.unwrap();
    let plan = row_order::ordered_limits(set_operations::counted(plan).unwrap()).unwrap();
    let plan = row_order::without_ties(state.optimize(&plan).unwrap()).unwrap();
    let batches = context.execute_logical_plan(plan).await.unwrap().collect().await.unwrap();
    let text = pretty_format_batches(&batches).unwrap().to_string();
    let mut lines: Vec<&str> = text.lines().filter(|line| line.starts_with("| ")).collect();
    lines.sort_unstable();
    lines.join("\n")
}

async fn optimized(sql: &str) -> String {
    let state = context(&ROWS, 2).state();
    let plan = state.optimize(&state.create_logical_plan(sql).await.unwrap()).unwrap();
    row_order::without_ties(plan).unwrap().display_indent().to_string()
}

const ROWS: [(i64, i64, &str); 7] =
    [(1, 5, "b"), (1, 5, "a"), (1, 5, "c"), (1, 7, "a"), (2, 5, "z"), (2, 5, "y"), (2, 5, "y")];

#[tokio::test]
async fn results_do_not_depend_on_the_order_of_arrival() {
    for sql in [
        "SELECT * FROM r LIMIT 3",
        "SELECT s FROM r ORDER BY o LIMIT 2",
        "SELECT q.s FROM (SELECT k, s FROM r ORDER BY k DESC LIMIT 2) q",
        "SELECT s, row_number() OVER (PARTITION BY k ORDER BY o) AS n FROM r",
        "SELECT s, row_number() OVER () AS n FROM r",
        "SELECT k, s, lag(s) OVER (PARTITION BY k ORDER BY o) AS before FROM r",
        "SELECT s, ntile(2) OVER (ORDER BY o) AS half FROM r",
        "SELECT s, first_value(s) OVER (PARTITION BY k ORDER BY o) AS first FROM r",
        "SELECT s, sum(o) OVER (PARTITION BY k ORDER BY o ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS n FROM r",
        "SELECT k, array_agg(s) AS s FROM r GROUP BY k",
        "SELECT k, array_agg(s ORDER BY o DESC) AS s, first_value(s ORDER BY o) AS first FROM r GROUP BY k",
        "SELECT k, string_agg(s, ',' ORDER BY o) AS s FROM r GROUP BY k",
        "SELECT k, array_agg(DISTINCT s) AS s FROM r GROUP BY k",
        "SELECT DISTINCT ON (k) k, o, s FROM r ORDER BY k, o",
    ] {
        let expected = result(sql, &ROWS, 1).await;
        assert!(!expected.is_empty());
        let mut rows = ROWS;
        for turn in 0..ROWS.len() {
            rows.rotate_left(1);
            if turn % 2 == 0 {
                rows.swap(0, 3);
            }
            for partitions in [1, 2, 3] {
                assert_eq!(result(sql, &rows, partitions).await, expected, "{sql} from {rows:?} in {partitions}");
            }
        }
    }
}

#[tokio::test]
async fn ranks_and_frames_by_range_keep_treating_ties_alike() {
    let ranks = result("SELECT s, rank() OVER (ORDER BY o) AS n FROM r", &ROWS, 2).await;
    assert_eq!(ranks.matches("| 1 ").count(), 6, "{ranks}");
    let totals = optimized("SELECT s, sum(o) OVER (PARTITION BY k) AS n FROM r").await;
    assert!(!totals.contains("ORDER BY"), "{totals}");
    let sums = result("SELECT s, count(*) OVER (ORDER BY o) AS n FROM r", &ROWS, 2).await;
    assert_eq!(sums.matches("| 6 ").count(), 6, "{sums}");
}

#[tokio::test]
async fn names_and_columns_stay_what_they_were() {
    let context = context(&ROWS, 1);
    let state = context.state();
    for sql in [
        "SELECT k, s, row_number() OVER (PARTITION BY k ORDER BY o), rank() OVER (PARTITION BY k ORDER BY o) FROM r",
        "SELECT k, array_agg(s ORDER BY o), count(*) FROM r GROUP BY k",
    ] {
        let plan = state.optimize(&state.create_logical_plan(sql).await.unwrap()).unwrap();
        let rewritten = row_order::without_ties(plan.clone()).unwrap();
        assert_ne!(plan, rewritten);
        assert_eq!(plan.schema(), rewritten.schema());
    }
}

#[tokio::test]
async fn set_operations_count() {
    let rows = [(1, 0, "l"), (1, 0, "l"), (1, 0, "l"), (2, 0, "l"), (1, 0, "r"), (3, 0, "r")];
    let sides = ("SELECT k FROM r WHERE s = 'l'", "SELECT k FROM r WHERE s = 'r'");
    for (operation, expected) in [
        ("EXCEPT ALL", "| 1 |\n| 1 |\n| 2 |\n| k |"),
        ("EXCEPT", "| 2 |\n| k |"),
        ("INTERSECT ALL", "| 1 |\n| k |"),
        ("INTERSECT", "| 1 |\n| k |"),
    ] {
        let sql = format!("{} {operation} {}", sides.0, sides.1);
        assert_eq!(result(&sql, &rows, 2).await, expected, "{operation}");
    }
}
