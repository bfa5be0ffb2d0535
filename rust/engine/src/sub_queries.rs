//! Sub-queries: what EXISTS does not ask of them, and those that DataFusion cannot run.
//!
//! DataFusion runs a sub-query that depends on the outer row only if its rules turn it into a join.  Those that are left
//! would fail when rows are computed, by words that say little about the query, and no encoding of plans holds them.

use std::sync::Arc;

use datafusion::common::plan_err;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, FetchType, Limit, LogicalPlan, SkipType};

/// The plan in which EXISTS asks its sub-queries for neither an order nor a number of rows.
///
/// `EXISTS (SELECT … ORDER BY … LIMIT 1)` is often written to spare rows.  It means the same without, and DataFusion
/// turns no sub-query with a limited order into a join.
pub fn asked_for_existence(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| {
        node.map_expressions(|expression| {
            expression.transform_up(|part| match part {
                Expr::Exists(mut exists) => {
                    let subquery = Arc::clone(&exists.subquery.subquery);
                    exists.subquery.subquery = Arc::new(without_limit(subquery)?);
                    Ok(Transformed::yes(Expr::Exists(exists)))
                }
                other => Ok(Transformed::no(other)),
            })
        })
    })
    .map(|transformed| transformed.data)
}

/// The plan without limits and orders at its top that decide only which rows come, and not whether one does.
fn without_limit(plan: Arc<LogicalPlan>) -> Result<LogicalPlan> {
    match Arc::unwrap_or_clone(plan) {
        LogicalPlan::Limit(limit) if leaves_one(&limit)? => without_limit(limit.input),
        LogicalPlan::Sort(sort) if sort.fetch.is_none() => without_limit(sort.input),
        LogicalPlan::Projection(mut projection) => {
            // Neither a limit nor an order changes the columns, so the projection stays valid.
            projection.input = Arc::new(without_limit(projection.input)?);
            Ok(LogicalPlan::Projection(projection))
        }
        other => Ok(other),
    }
}

fn leaves_one(limit: &Limit) -> Result<bool> {
    let taken = matches!(limit.get_fetch_type()?, FetchType::Literal(fetch) if fetch != Some(0));
    Ok(taken && matches!(limit.get_skip_type()?, SkipType::Literal(0)))
}

/// Refuses an optimized plan with a sub-query that is no join and has no value of its own.
///
/// # Errors
/// A planning error that says what stands in the way, and what to write instead.
pub fn require_joined(plan: &LogicalPlan) -> Result<()> {
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expression| {
            expression.apply(|part| {
                match part {
                    Expr::ScalarSubquery(subquery) if !subquery.outer_ref_columns.is_empty() => {
                        let columns: Vec<String> = subquery.outer_ref_columns.iter().map(outer_name).collect();
                        return plan_err!("{}", dependence(&columns.join(", ")));
                    }
                    Expr::Exists(_) => return no_condition("EXISTS"),
                    Expr::InSubquery(_) => return no_condition("IN"),
                    Expr::SetComparison(_) => return no_condition("ANY or ALL"),
                    Expr::OuterReferenceColumn(_, column) => return plan_err!("{}", dependence(&column.to_string())),
                    _ => {}
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })
    .map(|_| ())
}

fn outer_name(column: &Expr) -> String {
    match column {
        Expr::OuterReferenceColumn(_, column) => column.to_string(),
        other => other.to_string(),
    }
}

fn dependence(columns: &str) -> String {
    format!(
        "a sub-query depends on {columns} of the outer row in a way that DataFusion makes no join of, by something else \
         than an equality or below a LIMIT; join its relation to the outer one, and group or rank the rows"
    )
}

fn no_condition<T>(what: &str) -> Result<T> {
    plan_err!(
        "DataFusion makes no join of {what} (SELECT …) here: it has to be a condition of a WHERE, and depend on the outer \
         row by equalities and comparisons; LEFT JOIN the distinct rows that are looked for, and test for NULL"
    )
}
