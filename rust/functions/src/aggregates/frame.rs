//! Aggregates over frames that slide: rows enter and leave, so all of them are kept, in order and counted.
//!
//! The rows of a frame are a bag in the total order, as bytes of Arrow's row format.  Adding and retracting are inverse
//! to each other in any order, at the cost of a logarithm for each row.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ListArray, new_empty_array, new_null_array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{SortOptions, cast};
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, Rows, SortField};
use datafusion::common::{ScalarValue, exec_err};
use datafusion::error::Result;
use datafusion::logical_expr::Accumulator;

use crate::constant::constant_at;
use crate::total_order;

/// What the result is, given the rows of a frame in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FrameResult {
    LastColumnOfFirstRow,
    DistinctRows,
}

/// The rows of a frame.
#[derive(Debug)]
pub(super) struct FrameAccumulator {
    converter: RowConverter,
    /// The type of the last column.
    last: DataType,
    result: FrameResult,
    /// The argument that makes a row not count when it is NULL.
    required: usize,
    declared: DataType,
    rows: BTreeMap<Box<[u8]>, u64>,
    /// The bytes behind the rows.
    heap: usize,
}

impl FrameAccumulator {
    /// `columns` are the arguments in reverse, each with whether it is ordered descending.
    pub(super) fn new(
        columns: &[(&DataType, bool)],
        result: FrameResult,
        required: usize,
        declared: DataType,
    ) -> Result<Self> {
        let fields = columns
            .iter()
            .map(|(data_type, descending)| {
                // Descending is the exact reverse of the order, in which NULL is the greatest.
                let options = SortOptions { descending: *descending, nulls_first: *descending };
                SortField::new_with_options(total_order::plain_type(data_type), options)
            })
            .collect();
        Ok(Self {
            converter: RowConverter::new(fields)?,
            last: columns.last().map_or(DataType::Null, |(data_type, _)| total_order::plain_type(data_type)),
            result,
            required,
            declared,
            rows: BTreeMap::new(),
            heap: 0,
        })
    }

    fn encode(&self, values: &[ArrayRef]) -> Result<Option<Rows>> {
        if values.first().is_none_or(Array::is_empty) {
            return Ok(None);
        }
        let columns = values.iter().rev().map(total_order::canonical).collect::<Result<Vec<_>>>()?;
        Ok(Some(self.converter.convert_columns(&columns)?))
    }

    fn for_each_row(
        &mut self,
        values: &[ArrayRef],
        mut change: impl FnMut(&mut Self, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let Some(rows) = self.encode(values)? else {
            return Ok(());
        };
        let nulls = values.get(self.required).and_then(Array::logical_nulls);
        for (row, bytes) in rows.iter().enumerate() {
            if nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)) {
                change(self, bytes.data())?;
            }
        }
        Ok(())
    }

    fn decode<'a>(&self, rows: impl Iterator<Item = &'a Box<[u8]>>) -> Result<ArrayRef> {
        let parser = self.converter.parser();
        let rows: Vec<&Box<[u8]>> = rows.collect();
        let columns = self.converter.convert_rows(rows.into_iter().map(|bytes| parser.parse(bytes)))?;
        let Some(column) = columns.last() else {
            return exec_err!("a frame has no columns");
        };
        Ok(Arc::clone(column))
    }
}

impl Accumulator for FrameAccumulator {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.for_each_row(values, |frame, bytes| {
            if let Some(count) = frame.rows.get_mut(bytes) {
                *count += 1;
            } else {
                frame.heap += bytes.len();
                frame.rows.insert(bytes.into(), 1);
            }
            Ok(())
        })
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.for_each_row(values, |frame, bytes| {
            match frame.rows.get_mut(bytes) {
                Some(count) if *count > 1 => *count -= 1,
                Some(_) => {
                    frame.heap -= bytes.len();
                    frame.rows.remove(bytes);
                }
                None => return exec_err!("a row leaves a frame that it is not in"),
            }
            Ok(())
        })
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        match self.result {
            FrameResult::LastColumnOfFirstRow => {
                let value = match self.rows.keys().next() {
                    Some(first) => self.decode(std::iter::once(first))?,
                    None => new_null_array(&self.last, 1),
                };
                constant_at(&cast(&value, &self.declared)?, 0)
            }
            FrameResult::DistinctRows => {
                let DataType::List(field) = &self.declared else {
                    return exec_err!("a set is a list, not {}", self.declared);
                };
                let values =
                    if self.rows.is_empty() { new_empty_array(&self.last) } else { self.decode(self.rows.keys())? };
                let values = cast(&values, field.data_type())?;
                let offsets = OffsetBuffer::from_lengths([values.len()]);
                Ok(ScalarValue::List(Arc::new(ListArray::try_new(Arc::clone(field), offsets, values, None)?)))
            }
        }
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        exec_err!("frames are not aggregated in parts")
    }

    fn merge_batch(&mut self, _states: &[ArrayRef]) -> Result<()> {
        exec_err!("frames are not aggregated in parts")
    }

    fn size(&self) -> usize {
        // A tree's nodes are at least half full, so an entry takes up to twice its own size.
        size_of_val(self) + self.converter.size() + self.heap + 2 * self.rows.len() * size_of::<(Box<[u8]>, u64)>()
    }
}
