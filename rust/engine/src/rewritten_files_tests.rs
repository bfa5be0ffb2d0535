//! What is left of files that were written again, against what adding up all of their rows gives.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::{Float64Array, Int64Array, RecordBatch, StringViewArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::logical_expr::{col, lit};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use lake::{
    ChangeFeed, CommitOutcome, CommitRequest, DeltaWriteSpec, FeedKind, FeedPolicy, Lake, LakeOptions, TableLocation,
    WrittenFile, commit, write_files,
};

use maintenance::LEAF_WEIGHT;

use super::*;
use crate::changes::consolidated;
use crate::session::{EngineOptions, EngineSession};

type Row = (Option<i64>, Option<&'static str>, f64);

fn batch(rows: &[Row]) -> RecordBatch {
    let schema = Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("word", DataType::Utf8View, true),
        Field::new("price", DataType::Float64, true),
    ]);
    RecordBatch::try_new(
        Arc::new(schema),
        vec![
            Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>()),
            Arc::new(rows.iter().map(|row| row.1).collect::<StringViewArray>()),
            Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.2))),
        ],
    )
    .unwrap()
}

/// A table whose files were all replaced.
struct Table {
    _folder: tempfile::TempDir,
    session: EngineSession,
    feed: ChangeFeed,
}

impl Table {
    async fn of(before: &[&[Row]], now: &[&[Row]]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let location = TableLocation::parse(folder.path().join("t").to_str().unwrap(), BTreeMap::new()).unwrap();
        let lake = Lake::new(LakeOptions { durable: false, snapshot_cache: 4 });
        let spec = DeltaWriteSpec::new(location.clone());
        for (base, files) in [(None, before), (Some(0), now)] {
            let remove = match base {
                Some(version) => lake.snapshot(&location, Some(version)).await.unwrap().files.to_vec(),
                None => Vec::new(),
            };
            let mut add: Vec<WrittenFile> = Vec::new();
            for rows in files {
                let rows = batch(rows);
                let schema = rows.schema();
                let stream = RecordBatchStreamAdapter::new(Arc::clone(&schema), futures::stream::iter([Ok(rows)]));
                add.extend(write_files(&lake, &spec, &schema, Box::pin(stream)).await.unwrap());
            }
            let request = CommitRequest {
                location: location.clone(),
                base,
                spec: spec.clone(),
                schema: batch(&[]).schema(),
                add,
                remove,
                change_files: Vec::new(),
                vectors_lost: false,
                data_change: true,
                transactions: Vec::new(),
                metadata_update: false,
                operation: "WRITE".to_owned(),
                info: serde_json::Map::new(),
                timestamp_ms: 1_700_000_000_000,
            };
            let outcome = commit(&lake, request, &|_| ()).await.unwrap();
            assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}");
        }
        let feed = lake.change_feed(&location, 0, 1, None, &FeedPolicy::default()).await.unwrap();
        let session = EngineSession::new(EngineOptions::default()).unwrap();
        session.register_store(&location).unwrap();
        Self { _folder: folder, session, feed }
    }

    fn execution(&self) -> Execution {
        Execution::new(&self.session, 0).unwrap()
    }

    /// What parts add up to, in order.
    async fn added_up(&self, parts: &[FeedPart], needs: &LeafNeeds) -> String {
        let execution = self.execution();
        let plan = consolidated(&execution, FeedKind::Difference, parts, needs).unwrap();
        let found = execution.collect(&plan, u64::MAX).await.unwrap();
        let table = pretty_format_batches(&found.batches).unwrap().to_string();
        let mut lines: Vec<&str> = table.lines().collect();
        lines.sort_unstable();
        lines.join("\n")
    }

    /// The parts that are left, which must add up to the same, and how many rows they have.
    async fn left(&self, needs: &LeafNeeds) -> (Option<u64>, Option<u64>) {
        let (before, now) = sides(&self.feed.parts).unwrap();
        let mut read = FileWork::default();
        let found = only_on_one_side(&self.execution(), before, now, needs, u64::MAX, &mut read).await.unwrap();
        let parts = found.unwrap();
        assert!(read.rows > 0 && read.bytes > 0);
        assert_eq!(self.added_up(&parts, needs).await, self.added_up(&self.feed.parts, needs).await);
        let (before, now) = sides(&parts).unwrap();
        (before.rows(), now.rows())
    }
}

fn needs(columns: &[&str]) -> LeafNeeds {
    let mut needs = LeafNeeds::default();
    needs.columns.extend(columns.iter().map(|name| (*name).to_owned()));
    needs
}

const OLD: &[&[Row]] = &[
    &[
        (Some(1), Some("a"), 0.0),
        (Some(2), None, f64::NAN),
        (None, None, 2.5),
        (None, None, 2.5),
        (None, None, 2.5),
        (Some(3), Some(""), 1.0),
    ],
    &[(Some(4), Some("b"), 4.0), (Some(4), Some("b"), 4.0), (Some(5), Some("c"), 5.0)],
];

#[tokio::test]
async fn rows_that_both_sides_have_are_not_added_up() {
    // In another order; one of three equal rows is gone, a zero has got a sign, one row is new.
    let now: &[Row] = &[
        (Some(5), Some("c"), 5.0),
        (Some(4), Some("b"), 4.0),
        (None, None, 2.5),
        (Some(6), Some("d"), 6.0),
        (Some(2), None, f64::NAN),
        (Some(1), Some("a"), -0.0),
        (Some(4), Some("b"), 4.0),
        (None, None, 2.5),
        (Some(3), Some(""), 1.0),
    ];
    let table = Table::of(OLD, &[now]).await;
    assert_eq!(table.left(&needs(&["id", "word", "price"])).await, (Some(2), Some(2)));
    // Of fewer columns more rows are equal.
    assert_eq!(table.left(&needs(&["id", "word", LEAF_WEIGHT])).await, (Some(1), Some(1)));
    let mut few = needs(&["id", "price"]);
    few.filter = Some(col("id").gt(lit(3_i64)));
    assert_eq!(table.left(&few).await, (Some(0), Some(1)));
}

#[tokio::test]
async fn files_that_were_only_written_again_leave_nothing() {
    let table = Table::of(OLD, &[OLD[1], OLD[0]]).await;
    assert_eq!(table.left(&needs(&["id", "word", "price"])).await, (Some(0), Some(0)));
}

#[tokio::test]
async fn few_rows_are_added_up_as_they_are() {
    let table = Table::of(OLD, &[OLD[0]]).await;
    let (parts, read) =
        without_common_rows(&table.execution(), &table.feed.parts, &needs(&["id"]), u64::MAX).await.unwrap();
    assert_eq!((parts.len(), read), (table.feed.parts.len(), FileWork::default()));
}

#[tokio::test]
async fn what_met_nothing_is_within_the_budget() {
    let table = Table::of(OLD, &[OLD[0]]).await;
    let (before, now) = sides(&table.feed.parts).unwrap();
    let mut read = FileWork::default();
    let error = only_on_one_side(&table.execution(), before, now, &needs(&["id"]), 16, &mut read).await.unwrap_err();
    assert!(is_over_budget(&error), "{error}");
    assert!(read.rows > 0);
}

#[tokio::test]
async fn where_most_rows_are_left_they_are_added_up_as_they_are() {
    let now: &[Row] = &[(Some(10), None, 1.0), (Some(11), None, 1.0), (Some(4), Some("b"), 4.0)];
    let table = Table::of(OLD, &[now]).await;
    let (before, now) = sides(&table.feed.parts).unwrap();
    let mut read = FileWork::default();
    let found = only_on_one_side(&table.execution(), before, now, &needs(&["id"]), u64::MAX, &mut read).await.unwrap();
    assert!(found.is_none() && read.rows > 0);
}

#[tokio::test]
async fn files_that_give_two_rows_one_number_are_not_read_by_number() {
    let table = Table::of(OLD, &[OLD[0]]).await;
    let (before, _) = sides(&table.feed.parts).unwrap();
    let place = |row| RowPlace { file: 0, row };
    assert_eq!(only(before, [place(1), place(2)].into_iter()).unwrap().rows(), Some(2));
    assert!(only(before, [place(1), place(1)].into_iter()).is_none());
}
