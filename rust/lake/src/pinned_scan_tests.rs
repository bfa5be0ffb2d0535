//! Scans of pinned versions: rows, plans, pruning and statistics.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use arrow::util::pretty::pretty_format_batches;
use datafusion::logical_expr::{col, lit};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, collect, displayable};
use datafusion::prelude::{SessionConfig, SessionContext};
use parquet::arrow::ArrowWriter;
use proptest::prelude::*;

use crate::change_feed_tests::{apply, run, step};
use crate::test_rows::{Bag, Row, add_rows, rows, session};
use crate::test_tables::TestTable;
use crate::{Lake, LakeError, LakeOptions, PartWeight, PinnedTable, SkipReason, prune};

async fn pinned(table: &TestTable) -> PinnedTable {
    let lake = Lake::new(LakeOptions::default());
    let snapshot = lake.snapshot(&table.location(), None).await.unwrap();
    PinnedTable::new(lake, snapshot)
}

async fn query(session: &SessionContext, sql: &str) -> (Arc<dyn ExecutionPlan>, String) {
    let plan = session.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
    let batches = collect(Arc::clone(&plan), session.task_ctx()).await.unwrap();
    (plan, pretty_format_batches(&batches).unwrap().to_string())
}

fn session_with(table: PinnedTable) -> SessionContext {
    let session = session();
    session.register_table("t", Arc::new(table)).unwrap();
    session
}

fn text(plan: &Arc<dyn ExecutionPlan>) -> String {
    displayable(plan.as_ref()).indent(false).to_string()
}

fn leaf(plan: &Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    match plan.children().first() {
        Some(child) => leaf(child),
        None => Arc::clone(plan),
    }
}

fn metric(plan: &Arc<dyn ExecutionPlan>, name: &str) -> String {
    let metrics = leaf(plan).metrics().unwrap().aggregate_by_name();
    metrics
        .iter()
        .find(|metric| metric.value().name() == name)
        .unwrap_or_else(|| panic!("no metric {name}"))
        .value()
        .to_string()
}

#[tokio::test]
async fn a_file_with_a_vector_is_split_and_its_row_groups_pruned() {
    let mut table = TestTable::new(false);
    table.row_group = 1000;
    table.append(&rows(0..8000, 1));
    table.delete_by_vector(false, |row| row.id.is_some_and(|id| id % 3 == 0));
    let session = session_with(pinned(&table).await);
    let (plan, found) = query(&session, "SELECT name, id FROM t WHERE id >= 6000 AND id < 6004").await;
    assert!(found.contains("n6001") && found.contains("n6002"), "{found}");
    assert!(!found.contains("n6000") && !found.contains("n6003"), "{found}");
    assert!(leaf(&plan).output_partitioning().partition_count() > 1, "{}", text(&plan));
    assert!(text(&plan).contains("DataSourceExec"), "{}", text(&plan));
    let pruned = metric(&plan, "row_groups_pruned_statistics");
    assert!(pruned.starts_with("8 total → 1 matched"), "{pruned}");
    let bytes = |plan| leaf(plan).metrics().unwrap().sum_by_name("bytes_scanned").unwrap().as_usize();
    let (whole, _) = query(&session, "SELECT name, id FROM t").await;
    assert!(bytes(&plan) * 3 < bytes(&whole), "{} of {}", bytes(&plan), bytes(&whole));
    let mut bag = Bag::new();
    add_rows(&mut bag, Arc::new(pinned(&table).await), PartWeight::Plus).await;
    assert_eq!(bag, table.bag(2));
}

#[tokio::test]
async fn columns_keep_the_order_of_the_table_and_extra_ones_come_last() {
    let mut table = TestTable::new(true);
    table.append(&rows(0..5, 1));
    table.append(&rows(5..9, 2));
    table.delete_by_vector(true, |row| row.id == Some(6));
    let pinned = pinned(&table).await.with_file_column("file").with_row_index_column("position");
    let session = session_with(pinned);
    let names: Vec<String> =
        session.table_provider("t").await.unwrap().schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, ["id", "part", "name", "file", "position"]);
    let (_, found) =
        query(&session, "SELECT position, part, id FROM t WHERE part = 2 AND position > 1 ORDER BY id").await;
    assert!(found.contains("| 2        | 2    | 7  |"), "{found}");
    assert!(found.contains("| 3        | 2    | 8  |"), "{found}");
    assert_eq!(found.lines().count(), 6, "{found}");
    let path = &table.paths()[1];
    let (plan, found) = query(&session, &format!("SELECT id FROM t WHERE file = '{path}'")).await;
    assert!(!text(&plan).contains("FilterExec"), "{}", text(&plan));
    assert_eq!(found.lines().count(), 4 + 3, "{found}");
    let (_, found) = query(&session, "SELECT * FROM t WHERE id = 8").await;
    assert!(found.contains("| 8  | 2    | n8   |"), "{found}");
}

#[tokio::test]
async fn partition_filters_are_exact_and_statistics_skip_files() {
    let mut table = TestTable::new(true);
    for part in 0..3 {
        table.append(&rows(i64::from(part) * 10..i64::from(part) * 10 + 10, part));
    }
    let pinned = pinned(&table).await;
    let snapshot = Arc::clone(pinned.snapshot());
    let pruned = |filters: &[datafusion::logical_expr::Expr]| {
        prune(&snapshot.files, &snapshot.schema, &snapshot.partition_columns, filters)
    };
    let result = pruned(&[col("t.part").eq(lit(1))]);
    assert_eq!(result.kept, [1]);
    assert_eq!(result.skipped[0], (0, SkipReason::PartitionValues));
    let result = pruned(&[col("id").gt(lit(25_i64))]);
    assert_eq!(result.kept, [2]);
    assert_eq!(result.skipped[0], (0, SkipReason::Statistics));
    assert_eq!(pruned(&[col("id").is_null()]).kept, [0_usize; 0]);
    assert_eq!(pruned(&[col("name").eq(lit("n3"))]).kept, [0, 1, 2]);
    let mixed = col("part").eq(lit(1)).or(col("id").lt(lit(5_i64)));
    assert_eq!(pruned(&[mixed]).kept, [0, 1]);

    let session = session_with(pinned);
    let (plan, found) = query(&session, "SELECT count(id) FROM t WHERE part >= 1").await;
    assert!(found.contains("20"), "{found}");
    assert!(!text(&plan).contains("FilterExec"), "{}", text(&plan));
    let (plan, _) = query(&session, "SELECT id FROM t WHERE part > 7").await;
    assert!(text(&plan).contains("EmptyExec"), "{}", text(&plan));
}

#[tokio::test]
async fn counts_come_from_statistics_less_the_hidden_rows() {
    let mut table = TestTable::new(false);
    table.append(&rows(0..50, 1));
    let session = session_with(pinned(&table).await);
    let (plan, found) = query(&session, "SELECT count(*), max(id) FROM t").await;
    assert!(text(&plan).contains("PlaceholderRowExec"), "{}", text(&plan));
    assert!(found.contains("| 50       | 49        |"), "{found}");
    table.delete_by_vector(false, |row| row.id >= Some(40));
    let session = session_with(pinned(&table).await);
    let (plan, found) = query(&session, "SELECT count(*) FROM t").await;
    assert!(text(&plan).contains("PlaceholderRowExec"), "{}", text(&plan));
    assert!(found.contains("| 40       |"), "{found}");
    // The bound of the file is not the maximum of the live rows.
    let (_, found) = query(&session, "SELECT max(id), min(id), count(name) FROM t").await;
    assert!(found.contains("| 39        | 0         | 40            |"), "{found}");
}

#[tokio::test]
async fn limits_read_no_more_files_than_needed() {
    let mut table = TestTable::new(false);
    for part in 0..6 {
        table.append(&rows(0..10, part));
    }
    let session = session_with(pinned(&table).await);
    let (plan, found) = query(&session, "SELECT id FROM t LIMIT 15").await;
    assert_eq!(found.lines().count(), 4 + 15, "{found}");
    let shown = text(&plan);
    assert!(shown.contains("limit=15") && shown.contains("f-00002"), "{shown}");
    assert!(!shown.contains("f-00003"), "{shown}");
}

#[tokio::test]
async fn dynamic_filters_of_a_join_reach_a_scan_with_vectors() {
    let mut table = TestTable::new(false);
    table.row_group = 100;
    table.append(&rows(0..2000, 1));
    table.delete_by_vector(false, |row| row.id == Some(7));
    let session = session_with(pinned(&table).await);
    let (plan, found) = query(&session, "SELECT t.name FROM (VALUES (7), (8)) AS k(id) JOIN t ON t.id = k.id").await;
    assert!(found.contains("n8") && !found.contains("n7"), "{found}");
    assert!(text(&plan).contains("DynamicFilter"), "{}", text(&plan));
}

#[tokio::test]
async fn a_missing_file_is_named_with_its_version() {
    let mut table = TestTable::new(false);
    table.append(&rows(0..5, 1));
    std::fs::remove_file(table.path().join(&table.paths()[0])).unwrap();
    let session = session_with(pinned(&table).await);
    let error = session.sql("SELECT * FROM t").await.unwrap().collect().await.unwrap_err();
    let error = LakeError::from(error);
    assert_eq!(error.code(), "missing_file");
    let message = error.to_string();
    assert!(message.contains(&table.paths()[0]) && message.contains("version '1'"), "{message}");
}

#[tokio::test]
async fn a_damaged_vector_is_refused() {
    let mut table = TestTable::new(false);
    table.append(&rows(0..5, 1));
    table.delete_by_vector(false, |row| row.id == Some(2));
    let vector = std::fs::read_dir(table.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|extension| extension == "bin"))
        .unwrap();
    let mut bytes = std::fs::read(&vector).unwrap();
    let last = bytes.len() - 6;
    bytes[last] ^= 1;
    std::fs::write(&vector, bytes).unwrap();
    let session = session_with(pinned(&table).await);
    let error = session.sql("SELECT id FROM t").await.unwrap().collect().await.unwrap_err();
    assert_eq!(LakeError::from(error).code(), "corrupt_log");
}

/// Parquet's statistics leave NaN out; the rows must be found all the same, however they lie in row groups.
#[tokio::test]
async fn nan_is_not_pruned_away() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t");
    std::fs::create_dir_all(path.join("_delta_log")).unwrap();
    let values: ArrayRef = Arc::new(Float64Array::from(vec![1.0, f64::NAN, 3.0]));
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    let batch = RecordBatch::try_from_iter([("x", values), ("id", ids)]).unwrap();
    let file = std::fs::File::create(path.join("f.parquet")).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let size = std::fs::metadata(path.join("f.parquet")).unwrap().len();
    let schema = serde_json::json!({"type": "struct", "fields": [
        {"name": "x", "type": "double", "nullable": true, "metadata": {}},
        {"name": "id", "type": "long", "nullable": true, "metadata": {}},
    ]});
    let stats = serde_json::json!({
        "numRecords": 3, "minValues": {"x": 1.0, "id": 1}, "maxValues": {"x": 3.0, "id": 3}, "nullCount": {"x": 0, "id": 0},
    });
    let lines = [
        serde_json::json!({"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}}),
        serde_json::json!({"metaData": {
            "id": "3bd5ba1e-6bd2-4f4a-9a8e-000000000002", "format": {"provider": "parquet", "options": {}},
            "schemaString": schema.to_string(), "partitionColumns": [], "configuration": {}, "createdTime": 0,
        }}),
        serde_json::json!({"add": {
            "path": "f.parquet", "size": size, "modificationTime": 0, "dataChange": true, "partitionValues": {},
            "stats": stats.to_string(),
        }}),
    ];
    let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
    std::fs::write(path.join("_delta_log/00000000000000000000.json"), lines.join("\n")).unwrap();
    let location = crate::TableLocation::parse(path.to_str().unwrap(), std::collections::BTreeMap::new()).unwrap();
    let lake = Lake::new(LakeOptions::default());
    let snapshot = lake.snapshot(&location, None).await.unwrap();
    for row_filter in [false, true] {
        let mut config = SessionConfig::new();
        config.options_mut().execution.parquet.pushdown_filters = row_filter;
        let session = SessionContext::new_with_config(config);
        let table = PinnedTable::new(lake.clone(), Arc::clone(&snapshot));
        session.register_table("t", Arc::new(table)).unwrap();
        for (filter, wanted) in [
            ("x > 5", vec![2]),
            ("x > 0.5", vec![1, 2, 3]),
            ("x >= 0.5 AND x <= 9", vec![1, 3]),
            ("x = 3.0", vec![3]),
            ("NOT (x < 5)", vec![2]),
        ] {
            let sql = format!("SELECT id FROM t WHERE {filter} ORDER BY id");
            let batches = session.sql(&sql).await.unwrap().collect().await.unwrap();
            let found: Vec<i64> = batches
                .iter()
                .flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec())
                .collect();
            assert_eq!(found, wanted, "{filter}, row filter {row_filter}");
        }
    }
}

/// A comparison of one column, or a test for NULL, in SQL and as three-valued logic.
#[derive(Clone, Debug)]
struct Atom {
    column: &'static str,
    operator: &'static str,
    value: i64,
}

impl Atom {
    fn sql(&self) -> String {
        match self.operator {
            "IS NULL" | "IS NOT NULL" => format!("{} {}", self.column, self.operator),
            operator => format!("{} {operator} {}", self.column, self.value),
        }
    }

    fn holds(&self, row: &Row) -> Option<bool> {
        let value = match self.column {
            "id" => row.id,
            _ => row.part.map(i64::from),
        };
        match self.operator {
            "IS NULL" => Some(value.is_none()),
            "IS NOT NULL" => Some(value.is_some()),
            "=" => value.map(|value| value == self.value),
            "<>" => value.map(|value| value != self.value),
            "<" => value.map(|value| value < self.value),
            _ => value.map(|value| value >= self.value),
        }
    }
}

fn atom() -> impl Strategy<Value = Atom> {
    let operators = vec!["=", "<>", "<", ">=", "IS NULL", "IS NOT NULL"];
    (prop::sample::select(vec!["id", "part"]), prop::sample::select(operators), -1..7_i64)
        .prop_map(|(column, operator, value)| Atom { column, operator, value })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn filtered_scans_give_the_rows_that_meet_the_filter(
        partitioned in any::<bool>(),
        row_filter in any::<bool>(),
        steps in prop::collection::vec(step(), 1..8),
        filters in prop::collection::vec((atom(), any::<bool>(), atom()), 1..5),
    ) {
        let mut table = TestTable::new(partitioned);
        for step in steps {
            apply(&mut table, step);
        }
        run(async {
            let session = session_with(pinned(&table).await);
            session
                .sql(&format!("SET datafusion.execution.parquet.pushdown_filters = {row_filter}"))
                .await
                .unwrap();
            for (one, both, other) in filters {
                let word = if both { "AND" } else { "OR" };
                let sql = format!("SELECT id FROM t WHERE {} {word} {}", one.sql(), other.sql());
                let found = session.sql(&sql).await.unwrap().collect().await.unwrap();
                let found: usize = found.iter().map(RecordBatch::num_rows).sum();
                let found = i64::try_from(found).unwrap();
                let wanted: i64 = table
                    .bag(table.version())
                    .iter()
                    .filter(|(row, _)| {
                        let (one, other) = (one.holds(row), other.holds(row));
                        if both {
                            one == Some(true) && other == Some(true)
                        } else {
                            one == Some(true) || other == Some(true)
                        }
                    })
                    .map(|(_, count)| count)
                    .sum();
                assert_eq!(found, wanted, "{sql}");
                let counted = session.sql(&sql.replace("id FROM", "count(*) AS n FROM")).await.unwrap();
                let counted = counted.collect().await.unwrap();
                let counted = counted[0].column(0).as_primitive::<Int64Type>().value(0);
                assert_eq!(counted, wanted, "counted: {sql}");
            }
        });
    }
}
