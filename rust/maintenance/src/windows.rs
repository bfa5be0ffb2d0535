//! Windows: the partitions that a change touches are computed afresh.
//!
//! A window function sees the rows of its partition only.  So the rows of a partition whose key is in no effective change
//! stay what they are, and the rule of [`crate::affected_keys`] holds for the expressions by which *every* function of
//! the operator is partitioned.
//!
//! What a function makes of rows that tie in its order has to be decided by the plan itself, or the rows before and the
//! rows that were written then need not be the same.

use datafusion::logical_expr::{Expr, LogicalPlan, Window};

use crate::Reason;
use crate::affected_keys::{compared, keys_over};
use crate::aggregates::below_stack;
use crate::analyze::refusal;
use crate::derivation::{Changes, Derivation};

/// The expressions by which all functions of a window operator are partitioned.
pub(crate) fn partition_keys(window: &Window) -> Vec<Expr> {
    let mut common: Option<Vec<Expr>> = None;
    for expression in &window.window_expr {
        let Expr::WindowFunction(function) = expression.clone().unalias() else {
            return Vec::new();
        };
        let keys = function.params.partition_by;
        common = Some(match common {
            None => keys,
            Some(before) => before.into_iter().filter(|key| keys.contains(key)).collect(),
        });
    }
    common.unwrap_or_default()
}

/// The changes of window functions: their affected partitions before and now.
pub(crate) fn changes(
    plan: &LogicalPlan,
    window: &Window,
    derivation: Derivation<'_>,
) -> Result<Option<Changes>, Reason> {
    let keys = partition_keys(window);
    if keys.is_empty() {
        return Err(refusal(plan));
    }
    let (lowest, expressions) = below_stack(&window.input, keys_over(keys.iter().cloned()));
    let Some(input) = derivation.changes(lowest)? else { return Ok(None) };
    compared(plan, &window.input, &input, &expressions, &keys, derivation).map(Some)
}
