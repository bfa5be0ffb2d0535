//! One group as an accumulator, over the same code that aggregates many.

use std::fmt::Debug;

use arrow::array::ArrayRef;
use datafusion::common::{ScalarValue, exec_err};
use datafusion::error::Result;
use datafusion::logical_expr::{Accumulator, GroupsAccumulator};

use crate::constant::constant_at;

/// Groups that can be looked at without giving them up.
pub(crate) trait Peek: GroupsAccumulator + Debug + Sync {
    /// The result of the first group.
    fn peek(&mut self) -> Result<ArrayRef>;
    /// The state of the first group.
    fn peek_state(&mut self) -> Result<Vec<ArrayRef>>;
}

/// The accumulator of the first group of a groups accumulator.
#[derive(Debug)]
pub(crate) struct SingleGroup<G> {
    groups: G,
    /// As many zeros as the largest batch had rows.
    group_indices: Vec<usize>,
}

impl<G: Peek> SingleGroup<G> {
    pub(crate) fn new(groups: G) -> Self {
        Self { groups, group_indices: Vec::new() }
    }

    fn require(&mut self, arrays: &[ArrayRef]) -> usize {
        let rows = arrays.first().map_or(0, |array| array.len());
        if self.group_indices.len() < rows {
            self.group_indices.resize(rows, 0);
        }
        rows
    }
}

impl<G: Peek> Accumulator for SingleGroup<G> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let rows = self.require(values);
        self.groups.update_batch(values, &self.group_indices[..rows], None, 1)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let rows = self.require(states);
        self.groups.merge_batch(states, &self.group_indices[..rows], 1)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        first(&self.groups.peek()?)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.groups.peek_state()?.iter().map(first).collect()
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.groups.size() + self.group_indices.capacity() * size_of::<usize>()
    }
}

fn first(array: &ArrayRef) -> Result<ScalarValue> {
    if array.is_empty() {
        return exec_err!("an aggregate gave no result for its only group");
    }
    constant_at(array, 0)
}
