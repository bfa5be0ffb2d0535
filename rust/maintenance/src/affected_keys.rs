//! Affected keys: an operator that keeps rows of one key together is computed before and now for the keys that changed.
//!
//! ```text
//! keys        = distinct keys of changes(R), consolidated
//! changes(op R) = op(now(R) ⋉ keys) - op(before(R) ⋉ keys)        where  op(R) ⋉ keys = op(R ⋉ keys)
//! ```
//!
//! It holds for every such operator, whatever it computes; rows that are equal before and now cancel out.
//!
//! Source: the "affected" rule of Larson & Zhou, "Efficient maintenance of materialized outer-join views" (ICDE 2007);
//! as recomputation of groups and partitions it is folklore.

use std::sync::Arc;

use datafusion::common::{DFSchema, DataFusionError};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Aggregate, Expr, Filter, LogicalPlan, lit};

use crate::Reason;
use crate::columns::{all_columns, project, sum_of, weighted};
use crate::consolidate::consolidate;
use crate::derivation::{Changes, Derivation, cannot_build};
use crate::leaves::Side;
use crate::restriction::{Key, Restriction, key_columns, key_name, with_input};

/// The changes of an operator with one input, over which the rows of its output with equal keys can be told apart.
///
/// `own` are the keys over the changes, `expressions` the same over the input.
pub(crate) fn compared(
    plan: &LogicalPlan,
    input: &LogicalPlan,
    changes: &Changes,
    own: &[Expr],
    expressions: &[Expr],
    derivation: Derivation<'_>,
) -> Result<Changes, Reason> {
    let lifted = |error| cannot_build(plan, &error);
    let affected = keys_of(changes, own, Nulls::Kept).map_err(lifted)?;
    let affected = derivation.steps.once(affected).map_err(lifted)?;
    let keys = keys_over(expressions.iter().cloned());
    let side = |side| {
        let restriction = Restriction { derivation, keys: &affected, side };
        with_input(plan, restriction.of(input, &keys)?).map_err(lifted)
    };
    difference(plan, side(Side::Now)?, side(Side::Before)?).map_err(lifted)
}

/// The changes of any operator: all of it now, less all of it before.
pub(crate) fn compared_as_a_whole(plan: &LogicalPlan, derivation: Derivation<'_>) -> Result<Changes, Reason> {
    let (now, before) = (derivation.at(plan, Side::Now)?, derivation.at(plan, Side::Before)?);
    difference(plan, now, before).map_err(|error| cannot_build(plan, &error))
}

/// Rows that are there now, less rows that were there before.
pub(crate) fn difference(
    original: &LogicalPlan,
    now: LogicalPlan,
    before: LogicalPlan,
) -> Result<Changes, DataFusionError> {
    let plan = sum_of(vec![weighted(now, lit(1_i64))?, weighted(before, lit(-1_i64))?], original.schema())?;
    Ok(Changes { plan, insert_only: false })
}

/// What becomes of keys with a NULL.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nulls {
    /// NULL is a key like others.
    Kept,
    /// A key with a NULL meets nothing.
    Dropped,
}

/// The distinct keys of effective changes, one column `__key_<number>` for each expression.
pub(crate) fn keys_of(changes: &Changes, expressions: &[Expr], nulls: Nulls) -> Result<LogicalPlan, DataFusionError> {
    // Changes that cancel out touch no key.
    let rows = if changes.insert_only { changes.plan.clone() } else { consolidate(changes.plan.clone())? };
    let columns = expressions.iter().enumerate().map(|(number, key)| key.clone().alias(key_name(number))).collect();
    let mut keys = project(columns, rows)?;
    let names = key_columns(expressions.len());
    if nulls == Nulls::Dropped
        && let Some(predicate) = conjunction(names.iter().map(|name| name.clone().is_not_null()))
    {
        keys = LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(keys))?);
    }
    distinct(keys, names)
}

/// The distinct keys of two plans of keys.
pub(crate) fn keys_of_both(one: LogicalPlan, other: LogicalPlan) -> Result<LogicalPlan, DataFusionError> {
    let names = key_columns(one.schema().fields().len());
    let schema = Arc::clone(one.schema());
    distinct(sum_of_keys(vec![one, other], &schema)?, names)
}

/// Keys over the expressions that compute them, in the order of their columns.
pub(crate) fn keys_over(expressions: impl IntoIterator<Item = Expr>) -> Vec<Key> {
    expressions.into_iter().enumerate().map(|(number, expression)| Key { expression, number }).collect()
}

fn distinct(keys: LogicalPlan, names: Vec<Expr>) -> Result<LogicalPlan, DataFusionError> {
    Aggregate::try_new(Arc::new(keys), names, Vec::new()).map(LogicalPlan::Aggregate)
}

fn sum_of_keys(plans: Vec<LogicalPlan>, schema: &DFSchema) -> Result<LogicalPlan, DataFusionError> {
    let inputs = plans.into_iter().map(Arc::new).collect();
    let union = LogicalPlan::Union(datafusion::logical_expr::Union::try_new(inputs)?);
    project(crate::columns::named_as(all_columns(union.schema()), schema), union)
}
