//! What a refresh does to its target: rows to add, and rows to take away by file and position.
//!
//! Only effective changes remain: a row that leaves and comes back in one refresh is in neither list.  Of *n* equal
//! rows of the target exactly *k* are taken when the change says minus *k*.

use std::collections::BTreeMap;

use datafusion::arrow::array::{Array, AsArray, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::{cast, filter_record_batch};
use datafusion::arrow::datatypes::{Int64Type, SchemaRef};
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryReservation;
use functions::DistinctBytes;

use crate::error::EngineError;
use crate::execution::grow;

/// Rows per batch when counted rows are turned back into columns.
const BATCH_ROWS: usize = 8192;

/// A bag of rows with signed counts.
pub struct RowCounts {
    schema: SchemaRef,
    converter: RowConverter,
    /// The rows, each once, as bytes that sort as they do.
    rows: DistinctBytes,
    /// How often each of them counts, by its number.
    counts: Vec<i64>,
    reservation: MemoryReservation,
    limit: Limit,
}

/// How much a bag may hold before whoever fills it is told to give up.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// Bytes in memory.
    pub bytes: u64,
    /// Distinct rows from which on a recomputation costs less; none where that is no question.
    pub rows: Option<u64>,
}

impl RowCounts {
    /// An empty bag of rows of `schema`.
    pub fn new(schema: SchemaRef, reservation: MemoryReservation, limit: Limit) -> Result<Self> {
        let fields: Vec<SortField> =
            schema.fields().iter().map(|field| SortField::new(field.data_type().clone())).collect();
        if let Some(field) = schema
            .fields()
            .iter()
            .find(|field| !RowConverter::supports_fields(&[SortField::new(field.data_type().clone())]))
        {
            let message = format!(
                "column \"{}\" has the type {}, whose values cannot be compared",
                field.name(),
                field.data_type()
            );
            return Err(EngineError::invalid_query("change of the view", message).into());
        }
        let converter = RowConverter::new(fields)?;
        Ok(Self { converter, schema, rows: DistinctBytes::default(), counts: Vec::new(), reservation, limit })
    }

    /// Add the rows of a batch, each `weights` times, or once.
    ///
    /// Fails with `budget_exceeded` or `cheaper_recompute` above its limit.
    pub fn add(&mut self, batch: &RecordBatch, weights: Option<&Int64Array>) -> Result<()> {
        let rows = self.encoded(batch)?;
        for (index, row) in rows.iter().enumerate() {
            let weight = weights.map_or(1, |weights| weights.value(index));
            let number = position(self.rows.name(row.data()));
            match self.counts.get_mut(number) {
                Some(count) => *count += weight,
                None => self.counts.push(weight),
            }
        }
        let size = self.rows.size() + self.counts.capacity() * size_of::<i64>();
        let more = size.saturating_sub(self.reservation.size());
        grow(&mut self.reservation, more, self.limit.bytes)?;
        match self.limit.rows {
            Some(limit) if self.counts.len() as u64 > limit => {
                Err(EngineError::CheaperRecompute { rows: limit }.into())
            }
            _ => Ok(()),
        }
    }

    /// Match rows of the target against the bag; true where the row has to go.
    pub fn matched(&mut self, batch: &RecordBatch, rule: Matching) -> Result<BooleanArray> {
        let rows = self.encoded(batch)?;
        let mut goes = Vec::with_capacity(batch.num_rows());
        for row in &rows {
            let count = self.rows.find(row.data()).and_then(|number| self.counts.get_mut(position(number)));
            goes.push(match (rule, count) {
                (Matching::Replace, Some(count)) if *count > 0 => {
                    *count -= 1;
                    false
                }
                (Matching::Replace, _) => true,
                (Matching::Weighted, Some(count)) if *count < 0 => {
                    *count += 1;
                    true
                }
                (Matching::Weighted, _) => false,
            });
        }
        Ok(BooleanArray::from(goes))
    }

    /// How many rows are still to be taken from the target.
    pub fn removed(&self) -> u64 {
        self.counts.iter().filter(|count| **count < 0).map(|count| count.unsigned_abs()).sum()
    }

    /// Whether no row has a negative count.
    pub fn only_inserts(&self) -> bool {
        self.counts.iter().all(|count| *count >= 0)
    }

    /// The rows with negative counts, each once.
    pub fn negative(&self) -> Result<Vec<RecordBatch>> {
        self.batches(|count| usize::from(count < 0))
    }

    /// The rows with positive counts, each as often as it counts.
    pub fn positive(&self) -> Result<Vec<RecordBatch>> {
        self.batches(|count| usize::try_from(count.max(0)).unwrap_or(0))
    }

    fn encoded(&self, batch: &RecordBatch) -> Result<datafusion::arrow::row::Rows> {
        let columns = batch
            .columns()
            .iter()
            .zip(self.schema.fields())
            .map(|(column, field)| {
                if column.data_type() == field.data_type() {
                    Ok(column.clone())
                } else {
                    cast(column, field.data_type())
                }
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(self.converter.convert_columns(&columns)?)
    }

    fn batches(&self, times: impl Fn(i64) -> usize) -> Result<Vec<RecordBatch>> {
        let parser = self.converter.parser();
        // Sorted by encoded row, so that equal changes give equal files.
        let order = self.rows.order(|number| times(self.counts[position(number)]) > 0);
        let mut rows = order
            .into_iter()
            .flat_map(|number| {
                let row = parser.parse(self.rows.get(number));
                std::iter::repeat_n(row, times(self.counts[position(number)]))
            })
            .peekable();
        let mut batches = Vec::new();
        while rows.peek().is_some() {
            let part: Vec<_> = rows.by_ref().take(BATCH_ROWS).collect();
            let count = part.len();
            let columns = self.converter.convert_rows(part)?;
            let options = RecordBatchOptions::new().with_row_count(Some(count));
            batches.push(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?);
        }
        Ok(batches)
    }
}

/// The place of a row's count: numbers count rows in memory.
fn position(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// How rows of the target meet a bag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matching {
    /// The bag is the new content: what it has stays, what it lacks goes.
    Replace,
    /// The bag is a change: what has a negative count goes, as often as that.
    Weighted,
}

/// Rows of the target that have to go, by file.
#[derive(Default)]
pub struct Deletions {
    /// Positions by path of the data file.
    pub positions: BTreeMap<String, Vec<u64>>,
    /// The rows themselves, for change files.
    pub rows: Vec<RecordBatch>,
    /// How many.
    pub count: u64,
}

impl Deletions {
    /// Note the rows of a batch that `goes` marks.
    ///
    /// `files` and `positions` are the columns that say where each row lies.
    pub fn note(
        &mut self,
        batch: &RecordBatch,
        files: &dyn Array,
        positions: &dyn Array,
        goes: &BooleanArray,
        reservation: &mut MemoryReservation,
        budget: u64,
    ) -> Result<()> {
        if goes.true_count() == 0 {
            return Ok(());
        }
        let files = cast(files, &datafusion::arrow::datatypes::DataType::Utf8)?;
        let files = files.as_string::<i32>();
        let positions = positions
            .as_primitive_opt::<Int64Type>()
            .ok_or_else(|| EngineError::defect("target scan", "the row position is not an Int64"))?;
        let mut goes_on = goes.values().set_indices().peekable();
        while let Some(first) = goes_on.peek().copied() {
            // Rows of a file come one after another.
            let path = files.value(first);
            let list = match self.positions.get_mut(path) {
                Some(list) => list,
                None => self.positions.entry(path.to_owned()).or_default(),
            };
            while let Some(index) = goes_on.next_if(|index| files.value(*index) == path) {
                let position = u64::try_from(positions.value(index))
                    .map_err(|_| EngineError::defect("target scan", "a row position is negative"))?;
                list.push(position);
            }
        }
        let gone = filter_record_batch(batch, goes)?;
        grow(reservation, gone.get_array_memory_size() + 8 * gone.num_rows(), budget)?;
        self.count += gone.num_rows() as u64;
        self.rows.push(gone);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{Float64Array, Int32Array, StringViewArray};
    use datafusion::arrow::datatypes::{DataType, Field, Schema};
    use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, UnboundedMemoryPool};

    use super::*;

    fn batch(numbers: &[Option<i32>]) -> RecordBatch {
        let schema = Schema::new(vec![
            Field::new("n", DataType::Int32, true),
            Field::new("s", DataType::Utf8View, true),
            Field::new("f", DataType::Float64, true),
        ]);
        let strings: StringViewArray =
            numbers.iter().map(|n| n.map(|n| format!("a rather long string, number {n}"))).collect();
        let floats: Float64Array =
            numbers.iter().map(|n| n.map(|n| if n == 0 { f64::NAN } else { f64::from(n) })).collect();
        let columns: Vec<Arc<dyn Array>> =
            vec![Arc::new(Int32Array::from(numbers.to_vec())), Arc::new(strings), Arc::new(floats)];
        RecordBatch::try_new(Arc::new(schema), columns).unwrap()
    }

    fn counts() -> RowCounts {
        let pool: Arc<dyn MemoryPool> = Arc::new(UnboundedMemoryPool::default());
        let limit = Limit { bytes: u64::MAX, rows: None };
        RowCounts::new(batch(&[]).schema(), MemoryConsumer::new("test").register(&pool), limit).unwrap()
    }

    #[test]
    fn of_equal_rows_exactly_as_many_go_as_the_change_says() {
        let mut bag = counts();
        bag.add(&batch(&[Some(1), None, Some(0)]), Some(&Int64Array::from(vec![-2, -1, -1]))).unwrap();
        let goes = bag.matched(&batch(&[Some(1), Some(1), Some(1), None, None, Some(0), Some(7)]), Matching::Weighted);
        let goes: Vec<bool> = goes.unwrap().values().iter().collect();
        assert_eq!(goes, [true, true, false, true, false, true, false]);
        assert_eq!(bag.removed(), 0);
    }

    #[test]
    fn rows_that_are_not_there_are_counted_as_missing() {
        let mut bag = counts();
        bag.add(&batch(&[Some(1)]), Some(&Int64Array::from(vec![-3]))).unwrap();
        bag.matched(&batch(&[Some(1), Some(2)]), Matching::Weighted).unwrap();
        assert_eq!(bag.removed(), 2);
    }

    #[test]
    fn replacing_keeps_what_is_equal_and_inserts_the_rest() {
        let mut bag = counts();
        bag.add(&batch(&[Some(1), Some(2), Some(2), None]), None).unwrap();
        let goes = bag.matched(&batch(&[Some(2), Some(3), None]), Matching::Replace).unwrap();
        assert_eq!(goes.values().iter().collect::<Vec<_>>(), [false, true, false]);
        let left: usize = bag.positive().unwrap().iter().map(RecordBatch::num_rows).sum();
        assert_eq!(left, 2);
    }

    #[test]
    fn a_bag_above_its_limit_is_an_error() {
        let pool: Arc<dyn MemoryPool> = Arc::new(UnboundedMemoryPool::default());
        for (limit, code) in [
            (Limit { bytes: 100, rows: None }, "budget_exceeded"),
            (Limit { bytes: 1 << 20, rows: Some(2) }, "cheaper_recompute"),
        ] {
            let reservation = MemoryConsumer::new("test").register(&pool);
            let mut bag = RowCounts::new(batch(&[]).schema(), reservation, limit).unwrap();
            let error = bag.add(&batch(&[Some(1), Some(2), Some(3)]), None).unwrap_err();
            assert_eq!(EngineError::execution("x", error).code(), code);
        }
    }
}
