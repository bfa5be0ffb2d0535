//! Many groups at once.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, LargeBinaryBuilder};
use arrow::buffer::NullBuffer;
use arrow::datatypes::Float64Type;
use datafusion::error::Result;
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};

use super::accumulator::{damaged, valid_rows};
use super::moments::{Moments, Row};
use super::statistic::Statistic;
use crate::superaccumulator::Sign;

/// Bytes that the state of a group takes where no more is known.
const STATE_BYTES: usize = 24;

/// The moments of groups.
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

/// The rows that count, by the columns and the filter, with their values.
fn for_each_row<R: Row>(values: &[ArrayRef], filter: Option<&BooleanArray>, mut each: impl FnMut(usize, Option<R>)) {
    let arrays: Vec<&Float64Array> = values.iter().map(AsArray::as_primitive::<Float64Type>).collect();
    let columns: Vec<&[f64]> = arrays.iter().map(|column| column.values().as_ref()).collect();
    let mut valid = valid_rows(&arrays);
    if let Some(filter) = filter {
        // A condition that is NULL does not hold.
        let holds = match filter.nulls() {
            Some(nulls) => filter.values() & nulls.inner(),
            None => filter.values().clone(),
        };
        valid = NullBuffer::union(valid.as_ref(), Some(&NullBuffer::new(holds)));
    }
    let rows = columns[0].len();
    match valid {
        None => (0..rows).for_each(|row| each(row, Some(R::at(&columns, row)))),
        Some(valid) => {
            (0..rows).for_each(|row| each(row, valid.is_valid(row).then(|| R::at(&columns, row))));
        }
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
            if let Some(value) = value {
                grown += groups[group_indices[row]].add(value, Sign::Plus);
            }
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
        Ok(vec![Arc::new(states.finish())])
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> Result<()> {
        self.groups.resize(total_num_groups, M::default());
        for (state, group) in values[0].as_binary::<i64>().iter().zip(group_indices) {
            if let Some(state) = state {
                self.heap += self.groups[*group].merge(state).ok_or_else(|| damaged(self.statistic))?;
            }
        }
        Ok(())
    }

    fn convert_to_state(&self, values: &[ArrayRef], opt_filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let rows = values[0].len();
        let mut states = LargeBinaryBuilder::with_capacity(rows, rows * STATE_BYTES);
        let mut bytes = Vec::new();
        for_each_row(values, opt_filter, |_, value| match value {
            None => states.append_null(),
            Some(value) => {
                let mut moments = M::default();
                moments.add(value, Sign::Plus);
                bytes.clear();
                moments.encode(&mut bytes);
                states.append_value(&bytes);
            }
        });
        Ok(vec![Arc::new(states.finish())])
    }

    fn size(&self) -> usize {
        self.groups.capacity() * size_of::<M>() + self.heap
    }
}
