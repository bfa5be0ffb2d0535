//! Rows of test tables as counted bags, and how readers' batches become them.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int32Type, Int64Type};
use datafusion::catalog::TableProvider;
use datafusion::prelude::{SessionConfig, SessionContext};

use crate::PartWeight;

/// A row of a test table; `extra` is a column that may be added later.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Row {
    pub id: Option<i64>,
    pub part: Option<i32>,
    pub name: Option<String>,
    pub extra: Option<i64>,
}

/// Rows and how often each is there.
pub(crate) type Bag = BTreeMap<Row, i64>;

/// Counts rows.
pub(crate) fn bag(rows: impl IntoIterator<Item = Row>) -> Bag {
    let mut bag = Bag::new();
    for row in rows {
        *bag.entry(row).or_default() += 1;
    }
    bag
}

/// `now` less `before`, without rows that cancel.
pub(crate) fn difference(now: &Bag, before: &Bag) -> Bag {
    let mut difference = now.clone();
    for (row, count) in before {
        *difference.entry(row.clone()).or_default() -= count;
    }
    difference.retain(|_, count| *count != 0);
    difference
}

/// A session that scans in several partitions and in small batches.
pub(crate) fn session() -> SessionContext {
    let config = SessionConfig::new().with_target_partitions(3).with_batch_size(3).with_repartition_file_min_size(1);
    SessionContext::new_with_config(config)
}

/// Adds the rows of `provider` to `bag`, counted as `weight` says.
pub(crate) async fn add_rows(bag: &mut Bag, provider: Arc<dyn TableProvider>, weight: PartWeight) {
    let batches = session().read_table(provider).unwrap().collect().await.unwrap();
    for batch in batches {
        for (row, change) in rows_of(&batch) {
            *bag.entry(row).or_default() += match weight {
                PartWeight::Plus => 1,
                PartWeight::Minus => -1,
                PartWeight::ChangeType => match change.as_deref() {
                    Some("insert" | "update_postimage") => 1,
                    Some("delete" | "update_preimage") => -1,
                    other => panic!("change type {other:?}"),
                },
            };
        }
    }
}

fn rows_of(batch: &RecordBatch) -> Vec<(Row, Option<String>)> {
    let column =
        |name: &str, data_type: &DataType| batch.column_by_name(name).map(|column| cast(column, data_type).unwrap());
    let id = column("id", &DataType::Int64).unwrap();
    let part = column("part", &DataType::Int32).unwrap();
    let name = column("name", &DataType::Utf8).unwrap();
    let extra = column("extra", &DataType::Int64);
    let change = column("_change_type", &DataType::Utf8);
    (0..batch.num_rows())
        .map(|row| {
            let integer = |array: &ArrayRef| array.is_valid(row).then(|| array.as_primitive::<Int64Type>().value(row));
            let text = |array: &ArrayRef| array.is_valid(row).then(|| array.as_string::<i32>().value(row).to_owned());
            let found = Row {
                id: integer(&id),
                part: part.is_valid(row).then(|| part.as_primitive::<Int32Type>().value(row)),
                name: text(&name),
                extra: extra.as_ref().and_then(integer),
            };
            (found, change.as_ref().and_then(text))
        })
        .collect()
}

/// Rows with ids from `ids`, all in partition `part`.
pub(crate) fn rows(ids: std::ops::Range<i64>, part: i32) -> Vec<Row> {
    ids.map(|id| Row { id: Some(id), part: Some(part), name: Some(format!("n{id}")), extra: None }).collect()
}
