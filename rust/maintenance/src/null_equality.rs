//! Null-safe keys of inner joins, written as plain keys.
//!
//! ```text
//! l IS NOT DISTINCT FROM r   ⇔   (l IS NULL) = (r IS NULL)  ∧  coalesce(l, zero) = coalesce(r, zero)
//! ```
//!
//! DataFusion 55 merges neighbouring inner joins in its rule `eliminate_cross_join` and gives all keys the meaning of
//! NULL that the topmost join has.  Plans derived here put joins next to each other, and the plan of a view is optimized
//! again when it runs; with plain keys alone nothing can get lost.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{DFSchema, DataFusionError, NullEquality, ScalarValue};
use datafusion::logical_expr::{Expr, ExprSchemable, Join, JoinType, lit, when};

/// The join with plain keys instead of null-safe ones, if it is an inner join and they can be written so.
pub(crate) fn with_plain_keys(join: &Join) -> Option<Join> {
    if join.join_type != JoinType::Inner || join.null_equality != NullEquality::NullEqualsNull || join.on.is_empty() {
        return None;
    }
    let mut on = Vec::with_capacity(2 * join.on.len());
    for (left, right) in &join.on {
        on.extend(plain_keys(left, join.left.schema(), right, join.right.schema())?);
    }
    let mut plain = join.clone();
    plain.on = on;
    plain.null_equality = NullEquality::NullEqualsNothing;
    Some(plain)
}

/// The two pairs of plain keys that are equal exactly if one pair is equal null-safe.
fn plain_keys(
    left: &Expr,
    left_schema: &Arc<DFSchema>,
    right: &Expr,
    right_schema: &Arc<DFSchema>,
) -> Option<[(Expr, Expr); 2]> {
    let data_type = left.get_type(left_schema.as_ref()).ok()?;
    if right.get_type(right_schema.as_ref()).ok()? != data_type {
        return None;
    }
    let zero = zero_of(&data_type)?;
    let is_null = (left.clone().is_null(), right.clone().is_null());
    let value = (or_zero(left, &zero).ok()?, or_zero(right, &zero).ok()?);
    Some([value, is_null])
}

fn or_zero(key: &Expr, zero: &ScalarValue) -> Result<Expr, DataFusionError> {
    when(key.clone().is_null(), lit(zero.clone())).otherwise(key.clone())
}

/// Any value of a type that keys usually have.
fn zero_of(data_type: &DataType) -> Option<ScalarValue> {
    let plain = !data_type.is_nested() && !matches!(data_type, DataType::Null | DataType::Dictionary(..));
    plain.then(|| ScalarValue::new_default(data_type).ok()).flatten()
}
