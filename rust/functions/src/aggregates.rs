//! Aggregates whose result depends on the rows of a group, not on their order or partitioning.
//!
//! What would otherwise be open is decided by [the total order](crate::total_order):
//!
//! | function | which rows count | result | of no rows |
//! |---|---|---|---|
//! | `arg_max(value, by)` | those whose `by` is not NULL | the value of the row with the greatest `by`; of several the smallest value | NULL |
//! | `arg_min(value, by)` | those whose `by` is not NULL | the value of the row with the smallest `by`; of several the smallest value | NULL |
//! | `any_value_det(value, order_by)` | those whose value is not NULL | the value of the row with the smallest `order_by`, NULL last; of several the smallest value | NULL |
//! | `collect_set(value)` | those whose value is not NULL | the distinct values, ascending | an empty list |
//! | `count_if(condition)` | those whose condition is true | how many they are | 0 |
//!
//! NULL values count for `arg_max` and `arg_min`.  NULL is the greatest value, so they return it only if every row that
//! could be chosen has it.  `DISTINCT` changes `count_if` only, which then is 0 or 1.
//!
//! Invariant: an aggregate keeps the least element, the set or the count of its rows; merging states in any order and
//! any grouping gives the same bits.  Over sliding frames counted rows make each of them retractable.

mod best_row;
mod count;
mod frame;
mod set;
pub(crate) mod single_group;

#[cfg(test)]
mod memory_tests;
#[cfg(test)]
mod tests;

use arrow::array::{Array, BooleanArray};
use arrow::buffer::BooleanBuffer;
use datafusion::logical_expr::DocSection;

use crate::PlatformFunction;

const SECTION: DocSection = DocSection {
    include: true,
    label: "Deterministic Aggregate Functions",
    description: Some(
        "The same result for every partitioning, batch size and order of the input; ties are decided by one total \
         order over all types.",
    ),
};

/// The functions of this family.
pub fn functions() -> Vec<PlatformFunction> {
    [best_row::functions(), set::functions(), count::functions()].concat()
}

/// The rows that a filter keeps: those where it is true.
pub(crate) fn kept(filter: &BooleanArray) -> BooleanBuffer {
    match filter.nulls() {
        Some(nulls) => filter.values() & nulls.inner(),
        None => filter.values().clone(),
    }
}
