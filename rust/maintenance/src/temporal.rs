//! Temporal filters: conditions on the rows of one relation that ask what time it is.
//!
//! ```text
//! changes(σ R) = σ now (changes(R)) + σ (now ∧ ¬then) (before(R)) - σ (then ∧ ¬now) (before(R))
//! ```
//!
//! `now` is the condition at the time of the refresh, `then` the same at the time of the content that is there.  The
//! first term are the rows that the input brings, the others those that time alone moves in and out.  Of a comparison
//! with the time they are a range of the compared column, so that files outside of it are not read.
//!
//! `then` calls no clock: placeholders stand there for what the clock gave, and whoever runs the plan fills them in by
//! [`with_clock_before`].  Elsewhere than in such a filter a call of the clock is refused.
//!
//! The name is that of Materialize's documentation; the rule is the difference of the two sides, term by term.

use std::sync::Arc;

use datafusion::arrow::datatypes::Field;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, DataFusionError};
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::utils::{conjunction, disjunction, split_conjunction};
use datafusion::logical_expr::{
    BinaryExpr, Expr, ExprSchemable, Filter, LogicalPlan, Operator, TableScanBuilder, binary_expr, lit,
};

use crate::Reason;
use crate::columns::{all_columns, project, sum_of, weighted};
use crate::derivation::{Changes, Derivation, cannot_build};
use crate::leaves::{Side, requalified};
use crate::linear;

/// The functions of the clock: without arguments, and with one value for all rows of a query.
const CLOCK: [&str; 3] = ["now", "current_date", "current_time"];

/// How the names of placeholders begin that stand for what a function of the clock gave for the content before.
const BEFORE: &str = "$clock_before_";

/// Whether an expression asks what time it is.
pub(crate) fn asks_the_clock(expression: &Expr) -> bool {
    expression.exists(|node| Ok(is_clock(node))).unwrap_or(true)
}

/// Whether an expression is a call of the clock.
pub(crate) fn is_clock(node: &Expr) -> bool {
    matches!(node, Expr::ScalarFunction(call) if call.args.is_empty() && CLOCK.contains(&call.func.name()))
}

/// Whether the condition of an operator, if it asks the clock, is a temporal filter.
pub(crate) fn is_covered(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::TableScan(scan) => scan.fetch.is_none(),
        LogicalPlan::Filter(filter) => is_of_one_relation(&filter.input),
        _ => false,
    }
}

fn is_of_one_relation(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::TableScan(_) => true,
        LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Unnest(_)
        | LogicalPlan::Repartition(_) => plan.inputs().into_iter().all(is_of_one_relation),
        _ => false,
    }
}

/// Whether an operator is a temporal filter.
pub(crate) fn is_temporal(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::TableScan(scan) => scan.filters.iter().any(asks_the_clock),
        LogicalPlan::Filter(filter) => asks_the_clock(&filter.predicate),
        _ => false,
    }
}

/// The plan with the temporal filters that were pushed into scans above these again.
pub(crate) fn above_scans(plan: LogicalPlan) -> Result<LogicalPlan, DataFusionError> {
    plan.transform_up_with_subqueries(|node| {
        let LogicalPlan::TableScan(scan) = &node else { return Ok(Transformed::no(node)) };
        let (temporal, others): (Vec<Expr>, Vec<Expr>) = scan.filters.iter().cloned().partition(asks_the_clock);
        let temporal = temporal.iter().map(|filter| requalified(filter, &scan.table_name));
        let Some(predicate) = conjunction(temporal.collect::<Result<Vec<_>, _>>()?) else {
            return Ok(Transformed::no(node));
        };
        let whole = TableScanBuilder::new(scan.table_name.clone(), Arc::clone(&scan.source)).with_filters(others);
        let rows = Filter::try_new(predicate, Arc::new(LogicalPlan::TableScan(whole.build()?)))?;
        project(all_columns(&scan.projected_schema), LogicalPlan::Filter(rows)).map(Transformed::yes)
    })
    .map(|transformed| transformed.data)
}

/// The same filter over the content before: its condition at the time of that content.
pub(crate) fn before(filter: &Filter) -> Result<Filter, DataFusionError> {
    Filter::try_new(then(&filter.predicate)?, Arc::clone(&filter.input))
}

/// The changes below a temporal filter, and the rows that time moves past it.
pub(crate) fn changes(
    plan: &LogicalPlan,
    filter: &Filter,
    derivation: Derivation<'_>,
) -> Result<Option<Changes>, Reason> {
    let lifted = |error| cannot_build(plan, &error);
    let mut terms = Vec::new();
    if let Some(input) = derivation.changes(&filter.input)? {
        terms.push(linear::filter(filter, input).map_err(lifted)?.plan);
    }
    let now: Vec<Expr> = split_conjunction(&filter.predicate).into_iter().cloned().collect();
    let then = now.iter().map(then).collect::<Result<Vec<_>, _>>().map_err(lifted)?;
    for (holds, fails, weight) in [(&now, &then, 1_i64), (&then, &now, -1)] {
        let rows = derivation.at(&filter.input, Side::Before)?;
        let rows = Filter::try_new(only_one_holds(holds, fails), Arc::new(rows)).map_err(lifted)?;
        terms.push(weighted(LogicalPlan::Filter(rows), lit(weight)).map_err(lifted)?);
    }
    let plan = sum_of(terms, plan.schema()).map_err(lifted)?;
    Ok(Some(Changes { plan, insert_only: false }))
}

/// The condition of a row that all of `holds` are true of, and one of `fails` is not, which has the same order.
fn only_one_holds(holds: &[Expr], fails: &[Expr]) -> Expr {
    let failing = holds.iter().zip(fails).filter(|(holds, fails)| holds != fails).map(|(_, fails)| is_not_true(fails));
    let failing = disjunction(failing).unwrap_or_else(|| lit(false));
    conjunction(holds.iter().cloned().chain([failing])).unwrap_or_else(|| lit(false))
}

/// Whether a condition is not true of a row of which the same condition is true at another time.
///
/// So a side of it that does not depend on the time is not NULL there, and a comparison with a moment fails exactly if
/// its opposite holds, or if that moment is NULL.
fn is_not_true(condition: &Expr) -> Expr {
    if let Expr::BinaryExpr(BinaryExpr { left, op, right }) = condition
        && let Some(opposite) = opposite(*op)
    {
        let is_moment = |side: &Expr| side.column_refs().is_empty();
        let moment = match (is_moment(left), is_moment(right)) {
            (true, false) if is_timeless(right) => Some(left),
            (false, true) if is_timeless(left) => Some(right),
            _ => None,
        };
        if let Some(moment) = moment {
            let fails = binary_expr(left.as_ref().clone(), opposite, right.as_ref().clone());
            return fails.or(moment.as_ref().clone().is_null());
        }
    }
    Expr::IsNotTrue(Box::new(condition.clone()))
}

fn opposite(operator: Operator) -> Option<Operator> {
    match operator {
        Operator::Lt => Some(Operator::GtEq),
        Operator::LtEq => Some(Operator::Gt),
        Operator::Gt => Some(Operator::LtEq),
        Operator::GtEq => Some(Operator::Lt),
        _ => None,
    }
}

/// Whether an expression depends neither on the time of the refresh nor on that of the content before.
fn is_timeless(expression: &Expr) -> bool {
    !expression.exists(|node| Ok(is_clock(node) || placeholder(node).is_some())).unwrap_or(true)
}

/// An expression with placeholders in the place of calls of the clock.
fn then(expression: &Expr) -> Result<Expr, DataFusionError> {
    let moved = expression.clone().transform_up(|node| match &node {
        Expr::ScalarFunction(call) if is_clock(&node) => {
            let name = call.func.name();
            let field = Field::new(name, node.get_type(&DFSchema::empty())?, true);
            let placeholder = Placeholder::new_with_field(format!("{BEFORE}{name}"), Some(Arc::new(field)));
            Ok(Transformed::yes(Expr::Placeholder(placeholder)))
        }
        _ => Ok(Transformed::no(node)),
    })?;
    Ok(moved.data)
}

/// The function of the clock that a placeholder stands for.
fn placeholder(node: &Expr) -> Option<&str> {
    match node {
        Expr::Placeholder(placeholder) => placeholder.id.strip_prefix(BEFORE),
        _ => None,
    }
}

/// A plan of changes with what each function of the clock gave for the content before.
///
/// `given` has the value of a function by its name.
///
/// # Errors
/// Those of `given`.
pub fn with_clock_before(
    plan: LogicalPlan,
    given: impl Fn(&str) -> Result<Expr, DataFusionError>,
) -> Result<LogicalPlan, DataFusionError> {
    plan.transform_up_with_subqueries(|node| {
        node.map_expressions(|expression| {
            expression.transform_up(|part| match placeholder(&part) {
                Some(function) => given(function).map(Transformed::yes),
                None => Ok(Transformed::no(part)),
            })
        })
    })
    .map(|transformed| transformed.data)
}
