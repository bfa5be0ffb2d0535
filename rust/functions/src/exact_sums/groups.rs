//! Many groups at once.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, LargeBinaryBuilder, new_null_array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Float64Type};
use datafusion::error::Result;
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};

use super::accumulator::{damaged, valid_rows};
use super::moments::{Moments, Row};
use super::statistic::Statistic;
use crate::aggregates::kept;
use crate::superaccumulator::Sign;

/// Bytes that the state of a group takes where no more is known.
pub(super) const STATE_BYTES: usize = 24;

/// The moments of groups.
///
/// A state has a column for the bytes of moments and one for each argument.  Where nearly every row has a group of its own
/// DataFusion makes states of single rows, and such a state is the row itself, which costs nothing to write and no more
/// to merge than the row would; its bytes are NULL.  In states of groups the arguments are NULL.
#[derive(Debug)]
pub(super) struct ExactGroups<M> {
    statistic: Statistic,
    groups: Vec<M>,
    /// Bytes that groups hold on the heap.
    heap: usize,
}

impl<M: Moments> ExactGroups<M> {
    pub fn new(statistic: Statistic) -> Self {
        Self { statistic, groups: Vec::new(), heap: 0 }
    }

    fn emit(&mut self, emit_to: EmitTo) -> Vec<M> {
        let emitted = emit_to.take_needed(&mut self.groups);
        if self.heap > 0 {
            self.heap -= emitted.iter().map(Moments::heap_bytes).sum::<usize>();
        }
        emitted
    }
}

/// Hands over the rows that count, by the columns and the filter.
pub(super) fn for_each_row<R: Row>(values: &[ArrayRef], filter: Option<&BooleanArray>, mut each: impl FnMut(usize, R)) {
    let arrays: Vec<&Float64Array> = values.iter().map(AsArray::as_primitive::<Float64Type>).collect();
    let columns: Vec<&[f64]> = arrays.iter().map(|column| column.values().as_ref()).collect();
    let mut valid = valid_rows(&arrays);
    if let Some(filter) = filter {
        valid = NullBuffer::union(valid.as_ref(), Some(&NullBuffer::new(kept(filter))));
    }
    match valid {
        None => (0..columns[0].len()).for_each(|row| each(row, R::at(&columns, row))),
        Some(valid) => valid.valid_indices().for_each(|row| each(row, R::at(&columns, row))),
    }
}

impl<M: Moments> GroupsAccumulator for ExactGroups<M> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.groups.resize(total_num_groups, M::default());
        let (groups, mut grown) = (&mut self.groups, 0);
        for_each_row(values, opt_filter, |row, value| {
            grown += groups[group_indices[row]].add(value, Sign::Plus);
        });
        self.heap += grown;
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let statistic = self.statistic;
        let values: Float64Array = self.emit(emit_to).iter().map(|moments| moments.value(statistic)).collect();
        Ok(Arc::new(values))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let groups = self.emit(emit_to);
        let mut states = LargeBinaryBuilder::with_capacity(groups.len(), groups.len() * STATE_BYTES);
        let mut bytes = Vec::new();
        for moments in groups {
            bytes.clear();
            moments.encode(&mut bytes);
            states.append_value(&bytes);
        }
        let states: ArrayRef = Arc::new(states.finish());
        let no_row = self.statistic.argument_names().iter().map(|_| new_null_array(&DataType::Float64, states.len()));
        Ok([Arc::clone(&states)].into_iter().chain(no_row).collect())
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> Result<()> {
        let states = values[0].as_binary::<i64>();
        self.groups.resize(total_num_groups, M::default());
        if states.null_count() < states.len() {
            for (state, group) in states.iter().zip(group_indices) {
                if let Some(state) = state {
                    self.heap += self.groups[*group].merge(state).ok_or_else(|| damaged(self.statistic))?;
                }
            }
        }
        self.update_batch(&values[1..], group_indices, None, total_num_groups)
    }

    fn convert_to_state(&self, values: &[ArrayRef], opt_filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let wanted = opt_filter.map(|filter| NullBuffer::new(kept(filter)));
        let rows = values.iter().map(|column| -> Result<ArrayRef> {
            let column = column.as_primitive::<Float64Type>();
            let valid = NullBuffer::union(column.nulls(), wanted.as_ref());
            Ok(Arc::new(Float64Array::try_new(column.values().clone(), valid)?))
        });
        let no_moments = Ok(new_null_array(&DataType::LargeBinary, values[0].len()));
        [no_moments].into_iter().chain(rows).collect()
    }

    fn size(&self) -> usize {
        self.groups.capacity() * size_of::<M>() + self.heap
    }
}
