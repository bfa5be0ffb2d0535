//! Pure algebra: the logical plan of a view in, the logical plan of its changes out.
//!
//! A change set is a bag of rows with a signed weight, the column [`WEIGHT`].  With `before` and `now` for the contents
//! of every input at the two ends of the range, each rule keeps one equation for its operator `op`:
//!
//! ```text
//! op(now) = op(before) + changes(op)
//! ```
//!
//! Rows are equal as `GROUP BY` has it: NULL equals NULL, NaN equals NaN with the same bits, and `-0.0` equals `0.0`
//! (consolidation keeps the two zeros apart all the same, so that no change between them is lost).
//!
//! Nothing here reads or runs anything.  Plans refer to their inputs by scans named `before.<relation>`,
//! `now.<relation>` and `changes.<relation>` (whose weight is the column [`LEAF_WEIGHT`]), which the caller binds; an
//! input that did not change occurs as `now` only.  [`TARGET`]`.rows` stands for the view's own rows before.
//! Where no rule holds the answer is a [`Reason`], and the caller recomputes: never a guess.
//!
//! One concept has one file.  A new operator needs a rule in `derivation.rs`, a verdict in `analyze.rs` and a file.

mod affected_keys;
mod aggregates;
mod analyze;
mod columns;
mod consolidate;
mod derivation;
mod expressions;
mod joins;
mod leaves;
mod linear;
mod merged_groups;
mod null_equality;
mod outer_joins;
mod reasons;
mod restriction;
mod scalar_subqueries;
mod stages;
mod steps;
mod temporal;
mod windows;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use datafusion::logical_expr::LogicalPlan;
use serde::{Deserialize, Serialize};

pub use analyze::{Analysis, OperatorMaintenance, analyze};
pub use columns::{LEAF_WEIGHT, WEIGHT};
pub use consolidate::consolidate;
pub use expressions::called_function;
pub use leaves::{Side, is_work_table, over};
pub use merged_groups::TARGET;
pub use reasons::Reason;
pub use stages::{Stages, stages};
pub use steps::STEPS;
pub use temporal::with_clock_before;

/// What is known of the change of one input over the range, from metadata alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputShape {
    /// Whether any row may have changed.
    pub changed: bool,
    /// Whether every change is an insert: all weights in the input's change set are positive.
    pub insert_only: bool,
}

/// The plan that computes how a view's content changes.
#[derive(Clone, Debug)]
pub enum ChangePlan {
    /// The change set of the view.
    Rows {
        /// Plans that run first, in this order; later ones and `changes` scan their rows as [`STEPS`]`.<number>`.
        steps: Vec<LogicalPlan>,
        /// The view's columns, unqualified and in order, then [`WEIGHT`] (Int64, never 0).
        ///
        /// Equal rows are merged into one, except where all changes are inserts: then a row may occur several times.
        changes: LogicalPlan,
        /// Whether all weights are positive.
        insert_only: bool,
    },
    /// The groups that may have changed, and what they hold now.
    ///
    /// The view's new content is its old content without the rows whose key columns are in `keys` (compared
    /// null-safe), plus `new_rows`.
    Groups {
        /// As for rows; `keys` may scan them.
        steps: Vec<LogicalPlan>,
        /// The distinct keys of the affected groups, one column for each group key, named as in the view's output.
        keys: LogicalPlan,
        /// The positions of the keys among the view's output columns, in the order of the columns of `keys`.
        key_columns: Vec<usize>,
        /// The view's columns, unqualified and in order: the rows of the affected groups now.
        new_rows: LogicalPlan,
    },
}

/// Derives the plan of a view's changes from its optimized plan.
///
/// `inputs` has the shape of each relation that the plan scans.  Plans of a view with a temporal filter have to be given
/// the time of the content before, by [`with_clock_before`].
///
/// Errors: the reason why the view has to be recomputed, the same as [`analyze`] gives.
pub fn change_plan(plan: &LogicalPlan, inputs: &BTreeMap<String, InputShape>) -> Result<ChangePlan, Reason> {
    let plan = &maintained(plan)?;
    if let Some(merged) = merged_groups::merged(plan) {
        return merged.change_plan(plan, inputs);
    }
    match aggregates::grouped(plan) {
        Some(grouped) => grouped.change_plan(plan, inputs),
        None => derivation::view_changes(plan, inputs),
    }
}

/// The plan in the form that rules are written for; the reason why none would hold otherwise.
fn maintained(plan: &LogicalPlan) -> Result<LogicalPlan, Reason> {
    match analyze(plan).reason {
        Some(reason) => Err(reason),
        None => temporal::above_scans(scalar_subqueries::joined(plan)?)
            .map_err(|error| derivation::cannot_build(plan, &error)),
    }
}

/// The rows of the groups with the given keys now, for a caller that has already computed the keys.
///
/// `keys` has the columns of [`ChangePlan::Groups`]' `keys` in their order, under any names; typically it scans them
/// from memory, so that they are not computed once more for each place where they restrict an input.
///
/// Errors: as [`change_plan`]; a view without groups is refused as well.
pub fn group_rows(
    plan: &LogicalPlan,
    inputs: &BTreeMap<String, InputShape>,
    keys: &LogicalPlan,
) -> Result<LogicalPlan, Reason> {
    let plan = &maintained(plan)?;
    match aggregates::grouped(plan) {
        Some(_) => aggregates::new_rows(plan, inputs, keys),
        None => Err(Reason::OperatorNotIncremental(analyze::operator_name(plan))),
    }
}
