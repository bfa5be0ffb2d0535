//! `EXCEPT ALL` and `INTERSECT ALL` with the counts of the SQL standard.
//!
//! DataFusion 55 plans both as a null-safe anti or semi join over all columns, which asks whether a row is on the other
//! side and not how often: it gives `{1, 1, 2} EXCEPT ALL {1}` as `{2}`, where the standard wants `{1, 2}`.
//! So equal rows are numbered on both sides, and the number becomes one more column of the join:
//!
//! ```text
//! EXCEPT ALL     max(0, l - r) of l and r equal rows: those whose number the other side does not reach
//! INTERSECT ALL  min(l, r): those whose number the other side reaches
//! ```
//!
//! Where the left side has no equal rows, as in EXCEPT and INTERSECT, both ways are the same and nothing is rewritten.

use std::sync::Arc;

use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, NullEquality};
use datafusion::error::Result;
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::{
    Distinct, Expr, ExprFunctionExt, Join, JoinType, LogicalPlan, LogicalPlanBuilder, Projection,
};

/// The name of the number among equal rows.
const NUMBER: &str = "__number";

/// The plan with counted set operations.
pub fn counted(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Join(join) if is_set_operation(&join) && !is_distinct(&join.left) => {
            numbered_join(&join).map(Transformed::yes)
        }
        other => Ok(Transformed::no(other)),
    })
    .map(|transformed| transformed.data)
}

/// Whether a join compares whole rows, NULL with NULL: nothing but a set operation is planned so.
fn is_set_operation(join: &Join) -> bool {
    let columns = join.left.schema().columns();
    matches!(join.join_type, JoinType::LeftSemi | JoinType::LeftAnti)
        && join.null_equality == NullEquality::NullEqualsNull
        && join.filter.is_none()
        && columns.len() == join.on.len()
        && join.on.iter().zip(columns).all(|((left, _), column)| *left == Expr::Column(column))
}

fn is_distinct(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Distinct(Distinct::All(_)) => true,
        LogicalPlan::Aggregate(aggregate) => aggregate.aggr_expr.is_empty(),
        LogicalPlan::SubqueryAlias(alias) => is_distinct(&alias.input),
        _ => false,
    }
}

fn numbered_join(join: &Join) -> Result<LogicalPlan> {
    let mut on = join.on.clone();
    on.push((number(), number()));
    let joined = Join::try_new(
        Arc::new(numbered(&join.left)?),
        Arc::new(numbered(&join.right)?),
        on,
        None,
        join.join_type,
        join.join_constraint,
        join.null_equality,
        false,
    )?;
    let columns = join.left.schema().columns().into_iter().map(Expr::Column).collect();
    Projection::try_new(columns, Arc::new(LogicalPlan::Join(joined))).map(LogicalPlan::Projection)
}

/// The rows of a plan with their number among those that are equal.
fn numbered(plan: &Arc<LogicalPlan>) -> Result<LogicalPlan> {
    let columns: Vec<Expr> = plan.schema().columns().into_iter().map(Expr::Column).collect();
    let place = row_number().partition_by(columns.clone()).build()?;
    let window = LogicalPlanBuilder::from(Arc::clone(plan)).window([place])?.build()?;
    let last = window.schema().fields().len() - 1;
    let place = Expr::Column(Column::from(window.schema().qualified_field(last))).alias(NUMBER);
    Projection::try_new(columns.into_iter().chain([place]).collect(), Arc::new(window)).map(LogicalPlan::Projection)
}

fn number() -> Expr {
    Expr::Column(Column::new_unqualified(NUMBER))
}
