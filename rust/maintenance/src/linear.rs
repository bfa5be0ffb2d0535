//! Linear operators: the changes of the output are the operator applied to the changes of the input.
//!
//! ```text
//! changes(op R) = op(changes(R))        changes(R + S) = changes(R) + changes(S)
//! ```
//!
//! Source: Budiu et al., "DBSP" (VLDB 2023), linear operators on Z-sets.

use std::sync::Arc;

use datafusion::common::DataFusionError;
use datafusion::logical_expr::{Expr, Filter, LogicalPlan, Projection, SubqueryAlias, Union, Unnest, lit};

use crate::columns::{self, all_columns, named_as, project, sum_of, weight, without_rows};
use crate::derivation::Changes;

/// The same expressions over the changes; the weight passes through.
pub(crate) fn projection(projection: &Projection, input: Changes) -> Result<Changes, DataFusionError> {
    weighted(named_as(projection.expr.iter().cloned(), &projection.schema), input)
}

/// The same condition over the changes.
pub(crate) fn filter(filter: &Filter, input: Changes) -> Result<Changes, DataFusionError> {
    let plan = LogicalPlan::Filter(Filter::try_new(filter.predicate.clone(), Arc::new(input.plan))?);
    Ok(Changes { plan, insert_only: input.insert_only })
}

/// The elements of the changed rows; each has the weight of its row.
pub(crate) fn unnest(unnest: &Unnest, input: Changes) -> Result<Changes, DataFusionError> {
    let insert_only = input.insert_only;
    let elements = Unnest::try_new(Arc::new(input.plan), unnest.exec_columns.clone(), unnest.options.clone())?;
    weighted(all_columns(&unnest.schema), Changes { plan: LogicalPlan::Unnest(elements), insert_only })
}

/// The changes under the alias; a projection and not an alias, so that the weight stays unqualified.
pub(crate) fn alias(alias: &SubqueryAlias, input: Changes) -> Result<Changes, DataFusionError> {
    weighted(named_as(all_columns(alias.input.schema()), &alias.schema), input)
}

/// The sum of the changes of those inputs that have any, under the names of the union.
pub(crate) fn union(union: &Union, inputs: Vec<(&LogicalPlan, Changes)>) -> Result<Option<Changes>, DataFusionError> {
    if inputs.is_empty() {
        return Ok(None);
    }
    let insert_only = inputs.iter().all(|(_, changes)| changes.insert_only);
    let terms = inputs
        .into_iter()
        .map(|(input, changes)| weighted(named_as(all_columns(input.schema()), &union.schema), changes))
        .map(|term| term.map(|changes| changes.plan))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Some(Changes { plan: sum_of(terms, &union.schema)?, insert_only }))
}

/// The empty change set of a plan.
pub(crate) fn no_changes(plan: &LogicalPlan) -> Result<LogicalPlan, DataFusionError> {
    columns::weighted(without_rows(plan), lit(0_i64))
}

fn weighted(mut expressions: Vec<Expr>, input: Changes) -> Result<Changes, DataFusionError> {
    expressions.push(weight());
    Ok(Changes { plan: project(expressions, input.plan)?, insert_only: input.insert_only })
}
