//! Consolidation: equal rows become one, their weights are added, and what cancels out is dropped.
//!
//! Invariant: the result stands for the same bag, and no row of it has the weight 0.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{DFSchema, DataFusionError, ScalarValue};
use datafusion::functions_aggregate::expr_fn::sum;
use datafusion::logical_expr::{Aggregate, Expr, Filter, LogicalPlan, lit, when};

use crate::columns::{WEIGHT, all_columns, column_at, named, project, weight};

/// Merges the equal rows of a plan whose last column is the weight.
///
/// `GROUP BY` puts `-0.0` and `0.0` into one group.  They are two values all the same (`1 / x` tells them apart), so a
/// floating-point column is grouped by its sign too, and gets its zero back.  Zeros inside lists and structs are merged.
pub fn consolidate(changes: LogicalPlan) -> Result<LogicalPlan, DataFusionError> {
    let schema = Arc::clone(changes.schema());
    let columns = &all_columns(&schema)[..schema.fields().len().saturating_sub(1)];
    let signs: Vec<(usize, Expr)> =
        (0..columns.len()).filter_map(|position| is_negative(&schema, position).map(|sign| (position, sign))).collect();
    let input = if signs.is_empty() {
        changes
    } else {
        let mut expressions = all_columns(&schema);
        expressions.extend(signs.iter().map(|(position, sign)| sign.clone().alias(sign_name(*position))));
        project(expressions, changes)?
    };
    let mut keys = columns.to_vec();
    keys.extend(signs.iter().map(|(position, _)| named(sign_name(*position))));
    let sums = vec![sum(weight()).alias(WEIGHT)];
    let merged = LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(input), keys, sums)?);
    let effective = LogicalPlan::Filter(Filter::try_new(weight().not_eq(lit(0_i64)), Arc::new(merged))?);
    if signs.is_empty() {
        return Ok(effective);
    }
    let mut expressions = columns.to_vec();
    for (position, _) in &signs {
        expressions[*position] = with_sign(&schema, *position)?;
    }
    expressions.push(weight());
    project(expressions, effective)
}

fn sign_name(position: usize) -> String {
    format!("__negative_{position}")
}

/// Whether a floating-point column is below zero or the negative zero; `None` for other columns.
fn is_negative(schema: &DFSchema, position: usize) -> Option<Expr> {
    let data_type = schema.field(position).data_type();
    let zero = zero_of(data_type)?;
    let one = ScalarValue::new_one(data_type).ok()?;
    // Division tells the zeros apart: 1 / -0.0 is minus infinity.
    Some((lit(one) / column_at(schema, position)).lt(lit(zero)))
}

/// The column, with a zero turned into the negative zero where the sign says so.
fn with_sign(schema: &DFSchema, position: usize) -> Result<Expr, DataFusionError> {
    let column = column_at(schema, position);
    let (qualifier, field) = schema.qualified_field(position);
    let Some(zero) = zero_of(field.data_type()) else {
        return Ok(column);
    };
    let negative_zero = zero.arithmetic_negate()?;
    let is_negative_zero = column.clone().eq(lit(zero)).and(named(sign_name(position)));
    let restored = when(is_negative_zero, lit(negative_zero)).otherwise(column)?;
    Ok(restored.alias_qualified(qualifier.cloned(), field.name()))
}

fn zero_of(data_type: &DataType) -> Option<ScalarValue> {
    matches!(data_type, DataType::Float16 | DataType::Float32 | DataType::Float64)
        .then(|| ScalarValue::new_zero(data_type).ok())
        .flatten()
}
