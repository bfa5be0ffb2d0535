//! Columns by position: the weight column, and renaming between the schemas of equal-shaped plans.
//!
//! Invariant: names are only ever matched inside one plan; between two plans columns are matched by position.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, DataFusionError, TableReference};
use datafusion::logical_expr::{EmptyRelation, Expr, LogicalPlan, Projection, Union};

/// The name of the signed weight of a changed row, an Int64 column.
pub const WEIGHT: &str = "__weight";

/// The name of the same in the change sets that leaves scan.
///
/// It is another one, because DataFusion's optimizer carries the columns of a scan upwards beside their projections,
/// and a qualified and an unqualified column of one name are ambiguous.
pub const LEAF_WEIGHT: &str = "__change_weight";

/// The weight column of a plan of changes; it never has a qualifier.
pub(crate) fn weight() -> Expr {
    named(WEIGHT)
}

/// An unqualified column, with its name taken literally.
pub(crate) fn named(name: impl Into<String>) -> Expr {
    Expr::Column(Column::new_unqualified(name))
}

/// The column at a position of a schema, under its qualified name.
pub(crate) fn column_at(schema: &DFSchema, position: usize) -> Expr {
    Expr::Column(Column::from(schema.qualified_field(position)))
}

/// All columns of a schema.
pub(crate) fn all_columns(schema: &DFSchema) -> Vec<Expr> {
    (0..schema.fields().len()).map(|position| column_at(schema, position)).collect()
}

/// Gives expressions the qualified names of a schema, by position.
pub(crate) fn named_as(expressions: impl IntoIterator<Item = Expr>, schema: &DFSchema) -> Vec<Expr> {
    expressions
        .into_iter()
        .zip(schema.iter())
        .map(|(expression, (qualifier, field))| alias(expression, qualifier.cloned(), field.name()))
        .collect()
}

/// Gives expressions the unqualified names of a schema, by position.
pub(crate) fn named_unqualified(expressions: impl IntoIterator<Item = Expr>, schema: &DFSchema) -> Vec<Expr> {
    expressions
        .into_iter()
        .zip(schema.fields())
        .map(|(expression, field)| alias(expression, None, field.name()))
        .collect()
}

fn alias(expression: Expr, qualifier: Option<TableReference>, name: &str) -> Expr {
    let (present_qualifier, present_name) = expression.qualified_name();
    if present_qualifier == qualifier && present_name == name {
        return expression;
    }
    expression.unalias().alias_qualified(qualifier, name)
}

/// A plan's columns and, after them, a weight.
pub(crate) fn weighted(plan: LogicalPlan, weight: Expr) -> Result<LogicalPlan, DataFusionError> {
    let mut expressions = all_columns(plan.schema());
    expressions.push(weight.alias(WEIGHT));
    project(expressions, plan)
}

/// A projection over a plan.
pub(crate) fn project(expressions: Vec<Expr>, input: LogicalPlan) -> Result<LogicalPlan, DataFusionError> {
    Projection::try_new(expressions, Arc::new(input)).map(LogicalPlan::Projection)
}

/// The sum of plans of changes that all have the columns of `schema` and a weight last.
pub(crate) fn sum_of(mut terms: Vec<LogicalPlan>, schema: &DFSchema) -> Result<LogicalPlan, DataFusionError> {
    if terms.len() == 1 {
        return Ok(terms.remove(0));
    }
    // A union drops qualifiers and numbers duplicates (which may meet another name), so the columns go through it under
    // their positions and get their names back above.
    let terms = terms.into_iter().map(numbered).collect::<Result<Vec<_>, _>>()?;
    let union = LogicalPlan::Union(Union::try_new(terms)?);
    let mut columns = all_columns(union.schema());
    let weight = columns.pop().map(|column| alias(column, None, WEIGHT));
    let mut expressions = named_as(columns, schema);
    expressions.extend(weight);
    project(expressions, union)
}

/// A plan whose columns are named by their positions, so that no two of them share a name.
pub(crate) fn numbered(term: LogicalPlan) -> Result<Arc<LogicalPlan>, DataFusionError> {
    let columns = all_columns(term.schema());
    let expressions =
        columns.into_iter().enumerate().map(|(position, column)| column.alias(format!("__{position}"))).collect();
    project(expressions, term).map(Arc::new)
}

/// A plan without rows that has the columns of `plan`.
pub(crate) fn without_rows(plan: &LogicalPlan) -> LogicalPlan {
    LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row: false, schema: Arc::clone(plan.schema()) })
}

/// Replaces the columns of an expression, which are those of `schema`, by the expressions at their positions.
pub(crate) fn substitute(expression: &Expr, schema: &DFSchema, by: &[Expr]) -> Result<Expr, DataFusionError> {
    // Bottom up, so that what was put in is not visited again.
    expression
        .clone()
        .transform_up(|node| match &node {
            Expr::Column(column) => {
                let position = schema.index_of_column(column)?;
                match by.get(position) {
                    Some(replacement) => Ok(Transformed::yes(replacement.clone())),
                    None => Err(DataFusionError::Plan(format!("column \"{column}\" has no replacement"))),
                }
            }
            _ => Ok(Transformed::no(node)),
        })
        .map(|transformed| transformed.data)
}
