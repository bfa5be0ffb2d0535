//! Keeps floating-point statistics from dropping rows that hold NaN.
//!
//! DataFusion compares floats in IEEE 754 total order: NaN is greater than every number, a NaN with the sign bit (which
//! x86 computes for `0/0`) is less than every number, and -0 is less than 0.  Minimum and maximum in Parquet footers and
//! in Delta's log leave NaN out, so `x > 5` would lose a file whose maximum is 3 and that also holds a NaN.  Which rows
//! a query sees must not depend on how rows are spread over files, so such comparisons are hidden from statistics: the
//! column is wrapped into an expression that pruning does not understand and that evaluates to the column.
//!
//! Two forms stay visible, because no NaN can meet them: equality with an ordinary number, and a lower and an upper
//! bound on one column in one conjunction.

use std::collections::{HashMap, HashSet};
use std::fmt::{Display, Formatter};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, Operator};
use datafusion::physical_expr::expressions::{BinaryExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, Literal};
use datafusion::physical_expr::{PhysicalExpr, conjunction, split_conjunction};
use datafusion::physical_expr_adapter::{
    DefaultPhysicalExprAdapterFactory, PhysicalExprAdapter, PhysicalExprAdapterFactory,
};
use datafusion::scalar::ScalarValue;

/// Adapts expressions to a file as DataFusion does, and then hides what statistics must not judge.
#[derive(Debug)]
pub(crate) struct FloatSafeAdapterFactory {
    /// Whether the predicate is also evaluated inside of the scan.  Statistics then also decide which row groups match
    /// as a whole, so nothing about floats may be visible.
    pub row_filter: bool,
}

impl PhysicalExprAdapterFactory for FloatSafeAdapterFactory {
    fn create(
        &self,
        logical_file_schema: SchemaRef,
        physical_file_schema: SchemaRef,
    ) -> Result<Arc<dyn PhysicalExprAdapter>> {
        let adapter =
            DefaultPhysicalExprAdapterFactory.create(logical_file_schema, Arc::clone(&physical_file_schema))?;
        Ok(Arc::new(FloatSafeAdapter { adapter, schema: physical_file_schema, row_filter: self.row_filter }))
    }
}

#[derive(Debug)]
struct FloatSafeAdapter {
    adapter: Arc<dyn PhysicalExprAdapter>,
    schema: SchemaRef,
    row_filter: bool,
}

impl PhysicalExprAdapter for FloatSafeAdapter {
    fn rewrite(&self, expr: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
        let expr = self.adapter.rewrite(expr)?;
        // Projections come this way too; only what can be a predicate is of interest to statistics.
        if expr.data_type(&self.schema)? != DataType::Boolean {
            return Ok(expr);
        }
        hide_unsafe_floats(&expr, &self.schema, self.row_filter)
    }
}

/// The same predicate with every float column hidden where statistics could be wrong about it.
pub(crate) fn hide_unsafe_floats(
    predicate: &Arc<dyn PhysicalExpr>,
    schema: &Schema,
    row_filter: bool,
) -> Result<Arc<dyn PhysicalExpr>> {
    if !schema.fields().iter().any(|field| is_float(field.data_type())) {
        return Ok(Arc::clone(predicate));
    }
    let conjuncts = split_conjunction(predicate);
    let judgements: Vec<Judgement> = conjuncts.iter().map(|conjunct| judge(conjunct, schema)).collect();
    if judgements.iter().all(|judgement| *judgement == Judgement::Safe) {
        return Ok(Arc::clone(predicate));
    }
    let mut sides: HashMap<&str, (bool, bool)> = HashMap::new();
    for judgement in &judgements {
        match judgement {
            Judgement::Lower(column) => sides.entry(column).or_default().0 = true,
            Judgement::Upper(column) => sides.entry(column).or_default().1 = true,
            _ => {}
        }
    }
    let bounded: HashSet<&str> =
        sides.into_iter().filter_map(|(column, sides)| (sides == (true, true)).then_some(column)).collect();
    let rewritten = conjuncts
        .into_iter()
        .zip(&judgements)
        .map(|(conjunct, judgement)| {
            let visible = match judgement {
                Judgement::Safe => true,
                Judgement::Equal => !row_filter,
                Judgement::Lower(column) | Judgement::Upper(column) => !row_filter && bounded.contains(column.as_str()),
                Judgement::Unsafe => false,
            };
            if visible { Ok(Arc::clone(conjunct)) } else { hide(conjunct, schema) }
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(conjunction(rewritten))
}

#[derive(Debug, PartialEq)]
enum Judgement {
    /// No float column is compared.
    Safe,
    /// A float column equals an ordinary number, or one of several.
    Equal,
    /// A float column is above a number.
    Lower(String),
    /// A float column is below a number.
    Upper(String),
    /// Anything else with a float column.
    Unsafe,
}

fn judge(conjunct: &Arc<dyn PhysicalExpr>, schema: &Schema) -> Judgement {
    if !mentions_float(conjunct, schema) {
        return Judgement::Safe;
    }
    if let Some(is_null) = conjunct.downcast_ref::<IsNullExpr>() {
        return judge_null_test(is_null.arg());
    }
    if let Some(is_not_null) = conjunct.downcast_ref::<IsNotNullExpr>() {
        return judge_null_test(is_not_null.arg());
    }
    if let Some(list) = conjunct.downcast_ref::<InListExpr>() {
        let plain =
            !list.negated() && list.expr().downcast_ref::<Column>().is_some() && list.list().iter().all(is_ordinary);
        return if plain { Judgement::Equal } else { Judgement::Unsafe };
    }
    let Some(binary) = conjunct.downcast_ref::<BinaryExpr>() else {
        return Judgement::Unsafe;
    };
    let (column, number, operator) =
        match (binary.left().downcast_ref::<Column>(), binary.right().downcast_ref::<Column>()) {
            (Some(column), None) => (column, binary.right(), Some(*binary.op())),
            (None, Some(column)) => (column, binary.left(), binary.op().swap()),
            _ => return Judgement::Unsafe,
        };
    if !is_ordinary(number) {
        return Judgement::Unsafe;
    }
    match operator {
        Some(Operator::Eq) => Judgement::Equal,
        Some(Operator::Gt | Operator::GtEq) => Judgement::Lower(column.name().to_owned()),
        Some(Operator::Lt | Operator::LtEq) => Judgement::Upper(column.name().to_owned()),
        _ => Judgement::Unsafe,
    }
}

/// NULLs are counted, NaN is none of them.
fn judge_null_test(argument: &Arc<dyn PhysicalExpr>) -> Judgement {
    if argument.downcast_ref::<Column>().is_some() { Judgement::Safe } else { Judgement::Unsafe }
}

/// A number that is neither NaN nor a zero, whose sign statistics may have lost.
fn is_ordinary(expr: &Arc<dyn PhysicalExpr>) -> bool {
    let number = match expr.downcast_ref::<Literal>().map(Literal::value) {
        Some(ScalarValue::Float64(Some(number))) => *number,
        Some(ScalarValue::Float32(Some(number))) => f64::from(*number),
        _ => return false,
    };
    !number.is_nan() && number != 0.0
}

fn is_float(data_type: &DataType) -> bool {
    match data_type {
        DataType::Float16 | DataType::Float32 | DataType::Float64 => true,
        DataType::Struct(fields) => fields.iter().any(|field| is_float(field.data_type())),
        _ => false,
    }
}

fn is_float_column(expr: &Arc<dyn PhysicalExpr>, schema: &Schema) -> bool {
    expr.downcast_ref::<Column>()
        .is_some_and(|column| schema.field_with_name(column.name()).is_ok_and(|field| is_float(field.data_type())))
}

fn mentions_float(expr: &Arc<dyn PhysicalExpr>, schema: &Schema) -> bool {
    let mut found = false;
    // The closure never fails, so neither does the walk.
    let _ = expr.apply(|node| {
        Ok(if is_float_column(node, schema) {
            found = true;
            TreeNodeRecursion::Stop
        } else {
            TreeNodeRecursion::Continue
        })
    });
    found
}

fn hide(expr: &Arc<dyn PhysicalExpr>, schema: &Schema) -> Result<Arc<dyn PhysicalExpr>> {
    Arc::clone(expr)
        .transform_up(|node| {
            Ok(if is_float_column(&node, schema) {
                Transformed::yes(Arc::new(Hidden { column: node }) as Arc<dyn PhysicalExpr>)
            } else {
                Transformed::no(node)
            })
        })
        .map(|transformed| transformed.data)
}

/// A column that statistics do not recognise.
#[derive(Debug, Clone)]
struct Hidden {
    column: Arc<dyn PhysicalExpr>,
}

impl PartialEq for Hidden {
    fn eq(&self, other: &Self) -> bool {
        self.column.eq(&other.column)
    }
}

impl Eq for Hidden {}

impl Hash for Hidden {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.column.hash(state);
    }
}

impl Display for Hidden {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.column)
    }
}

impl PhysicalExpr for Hidden {
    fn data_type(&self, input_schema: &Schema) -> Result<DataType> {
        self.column.data_type(input_schema)
    }

    fn nullable(&self, input_schema: &Schema) -> Result<bool> {
        self.column.nullable(input_schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        self.column.evaluate(batch)
    }

    fn return_field(&self, input_schema: &Schema) -> Result<FieldRef> {
        self.column.return_field(input_schema)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.column]
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        Ok(match children.pop() {
            Some(column) => Arc::new(Self { column }),
            None => self,
        })
    }

    fn fmt_sql(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        self.column.fmt_sql(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::Field;
    use datafusion::physical_expr::expressions::{binary, col, lit};

    fn schema() -> Schema {
        Schema::new(vec![Field::new("x", DataType::Float64, true), Field::new("id", DataType::Int64, true)])
    }

    fn compare(column: &str, operator: Operator, number: ScalarValue) -> Arc<dyn PhysicalExpr> {
        let schema = schema();
        binary(col(column, &schema).unwrap(), operator, lit(number), &schema).unwrap()
    }

    fn hidden_columns(expr: &Arc<dyn PhysicalExpr>) -> usize {
        let mut count = 0;
        expr.apply(|node| {
            count += usize::from(node.downcast_ref::<Hidden>().is_some());
            Ok(TreeNodeRecursion::Continue)
        })
        .unwrap();
        count
    }

    #[test]
    fn one_sided_comparisons_are_hidden_and_ranges_are_not() {
        let above = compare("x", Operator::Gt, ScalarValue::from(5.0));
        let below = compare("x", Operator::LtEq, ScalarValue::from(9.0));
        let hidden = |expr, row_filter| hidden_columns(&hide_unsafe_floats(&expr, &schema(), row_filter).unwrap());
        assert_eq!(hidden(Arc::clone(&above), false), 1);
        let range = conjunction([above, below]);
        assert_eq!(hidden(Arc::clone(&range), false), 0);
        assert_eq!(hidden(range, true), 2);
    }

    #[test]
    fn equality_is_visible_unless_with_nan_or_zero() {
        let hidden = |number: f64| {
            let expr = compare("x", Operator::Eq, ScalarValue::from(number));
            hidden_columns(&hide_unsafe_floats(&expr, &schema(), false).unwrap())
        };
        assert_eq!(hidden(5.0), 0);
        assert_eq!(hidden(f64::NAN), 1);
        assert_eq!(hidden(0.0), 1);
        let id = compare("id", Operator::Gt, ScalarValue::from(5_i64));
        assert_eq!(hidden_columns(&hide_unsafe_floats(&id, &schema(), true).unwrap()), 0);
    }
}
