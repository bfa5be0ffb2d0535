//! Sums of floats, and what is made of them, that are rounded once and so do not depend on the order of rows.
//!
//! Adding floats one after the other rounds after each step, so a sum depends on partitions, batches and files, and two
//! runs of one query differ.  Here sums are [exact](crate::superaccumulator), and so are sums of squares and products;
//! the [formulas](moments) run in whole numbers, and the result is rounded once: it is the float nearest to the true
//! value.  Equal bags of rows give equal bits.
//!
//! - Types and NULLs are those of DataFusion's functions; NaN and infinities are told in each documentation.
//! - DISTINCT is known for functions of one argument.
//! - Integers are converted to Float64, as DataFusion does it for averages; their plain sums are exact already.
//!
//! [`exact_rewrite`](crate::exact_rewrite) puts these functions in the place of DataFusion's.

mod accumulator;
mod function;
mod groups;
mod moments;
#[cfg(test)]
mod speed;
pub mod states;
mod statistic;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use datafusion::logical_expr::AggregateUDF;

use self::function::ExactFunction;
use self::statistic::Statistic;
use crate::tags::{AGGREGATE, DETERMINISTIC};
use crate::{Function, NullBehaviour, PlatformFunction};

/// The functions of this family.
pub fn functions() -> Vec<PlatformFunction> {
    let statistics = Statistic::ALL.into_iter().map(|statistic| PlatformFunction {
        function: Function::Aggregate(Arc::new(AggregateUDF::new_from_impl(ExactFunction::new(statistic)))),
        tags: &[AGGREGATE, DETERMINISTIC],
        null_behaviour: NullBehaviour::Skips,
        return_rule: "Float64, nullable",
        version: 1,
    });
    statistics.chain(states::functions()).collect()
}

/// The exact function that stands in for a function of DataFusion's over floats.
pub(crate) fn exact_counterpart(name: &str) -> Option<&'static str> {
    Statistic::ALL.into_iter().find(|statistic| statistic.counterpart() == name).map(Statistic::name)
}
