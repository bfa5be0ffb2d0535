//! Analysis: how each operator of a view is maintained, and why one is not.
//!
//! Invariant: a view is incremental here exactly if `change_plan` derives its changes.

use datafusion::logical_expr::LogicalPlan;
use serde::{Deserialize, Serialize};

use crate::columns::{LEAF_WEIGHT, WEIGHT};
use crate::expressions::{self, shortened};
use crate::joins::is_inner;
use crate::leaves::is_table_function;
use crate::merged_groups::merged;
use crate::restriction::group_expressions;
use crate::windows::partition_keys;
use crate::{Reason, outer_joins, scalar_subqueries, temporal};

/// How conditions on the time are maintained.
const TEMPORAL: &str = "temporal_filter";

/// How a view is maintained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Analysis {
    /// Whether the changes of the inputs can be applied.
    pub incremental: bool,
    /// Why not; the first reason from the top of the plan.
    pub reason: Option<Reason>,
    /// Every operator of the plan, from the top, inputs from left to right.
    pub operators: Vec<OperatorMaintenance>,
}

impl Analysis {
    /// Whether the content changes by time alone.
    pub fn is_temporal(&self) -> bool {
        self.operators.iter().any(|operator| operator.how == TEMPORAL)
    }
}

/// How one operator is maintained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorMaintenance {
    /// The operator as DataFusion shows it, shortened.
    pub operator: String,
    /// `linear`, `temporal_filter`, `join_terms`, `merged_groups`, `affected_groups`, `affected_partitions`,
    /// `affected_keys`, `compared` or `recompute`.
    pub how: String,
    /// Why it has to be recomputed.
    pub reason: Option<Reason>,
}

/// Says for each operator of an optimized plan how it is maintained.
pub fn analyze(plan: &LogicalPlan) -> Analysis {
    let mut operators = Vec::new();
    let refused = match scalar_subqueries::joined(plan) {
        Ok(plan) => {
            let top = if merged(&plan).is_some() { Place::Merged } else { Place::Top };
            list(&plan, top, &mut operators);
            None
        }
        Err(reason) => Some(reason),
    };
    let reason =
        operators.iter().find_map(|operator| operator.reason.clone()).or(refused).or_else(|| refusal_of_output(plan));
    Analysis { incremental: reason.is_none(), reason, operators }
}

/// The name of an operator in messages.
pub(crate) fn operator_name(plan: &LogicalPlan) -> String {
    shortened(&plan.display().to_string())
}

/// The reason for an operator that no rule covers.
pub(crate) fn refusal(plan: &LogicalPlan) -> Reason {
    let name = operator_name(plan);
    match plan {
        LogicalPlan::Window(_) => Reason::WindowNotIncremental(name),
        LogicalPlan::Limit(_) | LogicalPlan::Sort(_) | LogicalPlan::TableScan(_) => Reason::LimitNotIncremental(name),
        LogicalPlan::Distinct(_) => Reason::DistinctNotIncremental(name),
        LogicalPlan::Subquery(_) => Reason::SubqueryNotIncremental(name),
        LogicalPlan::RecursiveQuery(_) => Reason::RecursionNotIncremental(name),
        _ => Reason::OperatorNotIncremental(name),
    }
}

/// Where an operator stands, as far as it decides whether a rule covers it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// At the top: only projections and conditions above.
    Top,
    /// At the top of a view that is kept from its own rows.
    Merged,
    /// Below any other operator.
    Inside,
}

fn list(plan: &LogicalPlan, place: Place, operators: &mut Vec<OperatorMaintenance>) {
    let (how, reason) = match verdict(plan, place) {
        Ok(how) => (how, None),
        Err(reason) => ("recompute", Some(reason)),
    };
    operators.push(OperatorMaintenance { operator: operator_name(plan), how: how.to_owned(), reason });
    let inside = place_below(plan, place);
    for input in plan.inputs() {
        list(input, inside, operators);
    }
}

fn verdict(plan: &LogicalPlan, place: Place) -> Result<&'static str, Reason> {
    if let Some(reason) = expressions::refusal(plan) {
        return Err(reason);
    }
    match plan {
        LogicalPlan::Filter(_) if temporal::is_temporal(plan) => Ok(TEMPORAL),
        LogicalPlan::TableScan(scan) if scan.fetch.is_none() => {
            if is_table_function(scan) {
                return Err(Reason::OperatorNotIncremental(operator_name(plan)));
            }
            let schema = scan.source.schema();
            let reserved = [WEIGHT, LEAF_WEIGHT].into_iter().find(|name| schema.field_with_name(name).is_ok());
            let how = if temporal::is_temporal(plan) { TEMPORAL } else { "linear" };
            reserved.map_or(Ok(how), |name| Err(Reason::UnsupportedExpression(name.to_owned())))
        }
        LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Union(_)
        | LogicalPlan::Unnest(_)
        | LogicalPlan::Repartition(_)
        | LogicalPlan::EmptyRelation(_)
        | LogicalPlan::Values(_) => Ok("linear"),
        LogicalPlan::Sort(sort) if sort.fetch.is_none() => Ok("linear"),
        LogicalPlan::Join(join) if is_inner(join) => Ok("join_terms"),
        LogicalPlan::Join(join) if outer_joins::kept(join).is_some() => Ok("affected_keys"),
        LogicalPlan::Aggregate(_) if place == Place::Merged => Ok("merged_groups"),
        // Everything is affected by every change; at the top the target itself is what it is compared with.
        LogicalPlan::Aggregate(aggregate) if aggregate.group_expr.is_empty() => match place {
            Place::Top | Place::Merged => Err(Reason::AggregateWithoutGroups),
            Place::Inside => Ok("compared"),
        },
        LogicalPlan::Aggregate(aggregate) if group_expressions(aggregate).is_some() => Ok("affected_groups"),
        LogicalPlan::Window(window) if !partition_keys(window).is_empty() => Ok("affected_partitions"),
        other => Err(refusal(other)),
    }
}

/// The place of the inputs of an operator.
fn place_below(plan: &LogicalPlan, place: Place) -> Place {
    match plan {
        LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Repartition(_) => place,
        _ => Place::Inside,
    }
}

/// Two output columns of one name cannot be told apart in a table.
fn refusal_of_output(plan: &LogicalPlan) -> Option<Reason> {
    let fields = plan.schema().fields();
    fields.iter().enumerate().find_map(|(position, field)| {
        let name = field.name();
        let repeated = fields.iter().take(position).any(|earlier| earlier.name() == name);
        (repeated || name == WEIGHT).then(|| Reason::UnsupportedExpression(name.clone()))
    })
}
