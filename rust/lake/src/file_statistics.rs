//! What the optimizer may know about the rows of pinned files.
//!
//! DataFusion answers `count`, `min` and `max` from statistics that are marked exact, so only what is exact for the live
//! rows is: row counts less the hidden rows; bounds of integers and dates in files without hidden rows; partition
//! values.  Strings may be cut, timestamps and decimals widened, and floats leave NaN out: their bounds are estimates,
//! and those of floats are not given at all, because they would also be used to skip files.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, Statistics};
use datafusion::error::Result as EngineResult;
use datafusion::scalar::ScalarValue;

use crate::table::DataFile;

/// Statistics of one file for the columns of `schema`: first columns of the file, then `constants`, then virtual columns.
///
/// `live_rows` are the rows that the scan gives.  Bounds are looked up only for the columns in `wanted`.
pub(crate) fn file_statistics(
    file: &DataFile,
    schema: &Schema,
    file_columns: usize,
    constants: &[ScalarValue],
    live_rows: Option<u64>,
    wanted: &[bool],
) -> Statistics {
    let rows = exact(live_rows);
    let all_rows = live_rows.is_some() && live_rows == file.rows;
    let column_statistics = schema
        .fields()
        .iter()
        .enumerate()
        .map(|(position, field)| match position.checked_sub(file_columns) {
            Some(constant_position) => constants
                .get(constant_position)
                .map_or_else(ColumnStatistics::new_unknown, |value| constant(value, rows)),
            None if wanted.get(position) == Some(&true) => column(file, field, all_rows),
            None => ColumnStatistics::new_unknown(),
        })
        .collect();
    Statistics {
        num_rows: rows,
        total_byte_size: Precision::Inexact(usize::try_from(file.size).unwrap_or(usize::MAX)),
        column_statistics,
    }
}

/// Statistics of several files.
pub(crate) fn merged<'a>(
    files: impl IntoIterator<Item = &'a Arc<Statistics>>,
    schema: &Schema,
) -> EngineResult<Statistics> {
    Statistics::try_merge_iter(files.into_iter().map(Arc::as_ref), schema)
}

fn exact(count: Option<u64>) -> Precision<usize> {
    count.and_then(|count| usize::try_from(count).ok()).map_or(Precision::Absent, Precision::Exact)
}

fn constant(value: &ScalarValue, rows: Precision<usize>) -> ColumnStatistics {
    let statistics = ColumnStatistics::new_unknown();
    if value.is_null() {
        return statistics.with_null_count(rows);
    }
    let statistics = statistics.with_null_count(Precision::Exact(0));
    if value.data_type().is_floating() {
        return statistics;
    }
    statistics
        .with_min_value(Precision::Exact(value.clone()))
        .with_max_value(Precision::Exact(value.clone()))
        .with_distinct_count(Precision::Inexact(1))
}

fn column(file: &DataFile, field: &Field, all_rows: bool) -> ColumnStatistics {
    let mut statistics = ColumnStatistics::new_unknown();
    let Some(known) = file.columns.get(field.name()) else {
        return statistics;
    };
    let certain = all_rows && file.tight_bounds;
    if let Some(nulls) = known.null_count.and_then(|count| usize::try_from(count).ok()) {
        // "No NULL" holds for any part of the rows.
        statistics.null_count = if certain || (nulls == 0 && file.rows.is_some()) {
            Precision::Exact(nulls)
        } else {
            Precision::Inexact(nulls)
        };
    }
    let data_type = field.data_type();
    if data_type.is_floating() {
        return statistics;
    }
    let exact_type =
        matches!(data_type, DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 | DataType::Date32);
    let bound = |value: &Option<ScalarValue>| {
        let value = value.as_ref().and_then(|value| value.cast_to(data_type).ok());
        match value {
            Some(value) if certain && exact_type => Precision::Exact(value),
            Some(value) => Precision::Inexact(value),
            None => Precision::Absent,
        }
    };
    statistics.min_value = bound(&known.min);
    statistics.max_value = bound(&known.max);
    statistics
}
