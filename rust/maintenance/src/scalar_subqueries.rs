//! Scalar sub-queries that stand in an expression, as joins with their one row.
//!
//! ```text
//! op(R, (Q))  =  op'(R × Q)          Q has exactly one row
//! ```
//!
//! DataFusion turns correlated sub-queries into joins and leaves the others in their expressions, to be run first.  An
//! expression with a sub-query is no function of its row alone, so it does not commute with taking changes; a join has
//! rules for both of its sides.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DataFusionError, NullEquality, TableReference};
use datafusion::logical_expr::{
    Expr, Filter, Join, JoinConstraint, JoinType, LogicalPlan, Projection, Subquery, SubqueryAlias,
};

use crate::Reason;
use crate::columns::{all_columns, column_at, named_as, project};
use crate::derivation::cannot_build;

/// The plan with every scalar sub-query that has exactly one row as a join; the columns stay what they are.
pub(crate) fn joined(plan: &LogicalPlan) -> Result<LogicalPlan, Reason> {
    let mut number = 0;
    plan.clone()
        .transform_up(|node| {
            if node.inputs().len() != 1 {
                return Ok(Transformed::no(node));
            }
            let mut found = Vec::new();
            let node = node.map_expressions(|expression| {
                expression.transform_up(|part| match part {
                    Expr::ScalarSubquery(subquery) if has_one_row(&subquery) => {
                        let column = Column::new(Some(alias(number + found.len())), "value");
                        found.push(subquery);
                        Ok(Transformed::yes(Expr::Column(column)))
                    }
                    other => Ok(Transformed::no(other)),
                })
            })?;
            if found.is_empty() {
                return Ok(Transformed::no(node.data));
            }
            let first = number;
            number += found.len();
            with_values(node.data, first, found).map(Transformed::yes)
        })
        .map(|transformed| transformed.data)
        .map_err(|error| cannot_build(plan, &error))
}

/// Whether a sub-query gives one row whatever its inputs hold: an aggregate without groups below projections.
fn has_one_row(subquery: &Subquery) -> bool {
    subquery.outer_ref_columns.is_empty() && one_row(&subquery.subquery)
}

fn one_row(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => one_row(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => one_row(&alias.input),
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        _ => false,
    }
}

fn alias(number: usize) -> TableReference {
    TableReference::bare(format!("__scalar_{number}"))
}

/// The operator over its input joined with the sub-queries, without their columns in its output.
fn with_values(node: LogicalPlan, first: usize, subqueries: Vec<Subquery>) -> Result<LogicalPlan, DataFusionError> {
    let schema = Arc::clone(node.schema());
    let mut product = node.inputs().into_iter().next().cloned().unwrap_or_default();
    let (own, values) = (product.schema().fields().len(), subqueries.len());
    for (position, subquery) in subqueries.into_iter().enumerate() {
        let inner = joined(&subquery.subquery).map_err(|reason| DataFusionError::Plan(reason.message()))?;
        let value = named_value(inner)?;
        let value = LogicalPlan::SubqueryAlias(SubqueryAlias::try_new(Arc::new(value), alias(first + position))?);
        product = LogicalPlan::Join(Join::try_new(
            Arc::new(product),
            Arc::new(value),
            Vec::new(),
            None,
            JoinType::Inner,
            JoinConstraint::On,
            NullEquality::NullEqualsNothing,
            false,
        )?);
    }
    let rebuilt = match node {
        LogicalPlan::Filter(filter) => LogicalPlan::Filter(Filter::try_new(filter.predicate, Arc::new(product))?),
        LogicalPlan::Projection(projection) => {
            LogicalPlan::Projection(Projection::try_new(projection.expr, Arc::new(product))?)
        }
        other => other.with_new_exprs(other.expressions(), vec![product])?,
    };
    // By position: names change with the expressions, and what shows its input's columns shows the values behind them.
    let more = rebuilt.schema().fields().len() > schema.fields().len();
    let place = |position: usize| if more && position >= own { position + values } else { position };
    let columns: Vec<Expr> =
        (0..schema.fields().len()).map(|position| column_at(rebuilt.schema(), place(position))).collect();
    project(named_as(columns, &schema), rebuilt)
}

fn named_value(plan: LogicalPlan) -> Result<LogicalPlan, DataFusionError> {
    let value = all_columns(plan.schema()).into_iter().next();
    let value = value.ok_or_else(|| DataFusionError::Plan("a scalar sub-query has no column".to_owned()))?;
    project(vec![value.alias("value")], plan)
}
