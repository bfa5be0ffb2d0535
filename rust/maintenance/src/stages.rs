//! Stages: a view that no rule keeps as a whole, cut into one that is kept and a small rest that is computed from it.
//!
//! ```text
//! view = rest(state)        state = the topmost aggregate of the view that the change rules keep
//! ```
//!
//! The state is a view like any other, with a table of its own; the rest reads that table instead of the inputs.  So the
//! k greatest of many groups cost as much as there are groups, and a sum of everything costs one row.
//!
//! The state has the columns of the aggregate under names of its own.  Where all of its measures can be added up, it also
//! counts what [merged groups](crate::merged_groups) have to know.

use std::sync::Arc;

use datafusion::common::{DataFusionError, TableReference};
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, TableScanBuilder, TableSource, cast, lit};

use crate::analyze::analyze;
use crate::columns::{all_columns, column_at, named_as, project};
use crate::merged_groups::{Measure, merged};
use crate::restriction::{group_expressions, with_input};

/// A view in two stages.
#[derive(Clone, Debug)]
pub struct Stages {
    /// What is kept by changes.
    pub state: LogicalPlan,
    /// The view over the state's table.
    pub rest: LogicalPlan,
}

/// Cuts a view whose changes cannot be derived; `None` where that would not help.
///
/// The rest scans the state under the name `relation`, from the source that `source_of` makes for it; its columns may
/// have other types than the state's, as a table would give them.
///
/// # Errors
/// DataFusion's, for a plan that cannot be built.
pub fn stages(
    view: &LogicalPlan,
    relation: &str,
    source_of: impl Fn(&LogicalPlan) -> datafusion::error::Result<Arc<dyn TableSource>>,
) -> Result<Option<Stages>, DataFusionError> {
    if analyze(view).incremental {
        return Ok(None);
    }
    let Some((state, depth)) = topmost_state(view)? else { return Ok(None) };
    let scan = TableScanBuilder::new(TableReference::bare(relation), source_of(&state)?).build()?;
    let rest = with_state(view, depth, &LogicalPlan::TableScan(scan))?;
    Ok(Some(Stages { state, rest }))
}

/// The state of the topmost aggregate that has one, and how many operators are above that.
fn topmost_state(view: &LogicalPlan) -> Result<Option<(LogicalPlan, usize)>, DataFusionError> {
    let (mut plan, mut depth) = (view, 0);
    loop {
        let input = match plan {
            LogicalPlan::Aggregate(aggregate) => {
                if let Some(state) = state_of(plan, aggregate)? {
                    return Ok(Some((state, depth)));
                }
                &aggregate.input
            }
            LogicalPlan::Projection(projection) => &projection.input,
            LogicalPlan::Filter(filter) => &filter.input,
            LogicalPlan::SubqueryAlias(alias) => &alias.input,
            LogicalPlan::Sort(sort) => &sort.input,
            LogicalPlan::Limit(limit) => &limit.input,
            LogicalPlan::Window(window) => &window.input,
            LogicalPlan::Repartition(repartition) => &repartition.input,
            _ => return Ok(None),
        };
        (plan, depth) = (input, depth + 1);
    }
}

/// What is kept of an aggregate; `None` if no rule keeps it.
fn state_of(plan: &LogicalPlan, aggregate: &Aggregate) -> Result<Option<LogicalPlan>, DataFusionError> {
    let added = with_counts(aggregate)?;
    if let Some(added) = added
        && merged(&added).is_some()
        && analyze(&added).incremental
    {
        return Ok(Some(added));
    }
    let kept = named_by_position(plan, aggregate.group_expr.len())?;
    let grouped = group_expressions(aggregate).is_some();
    Ok((grouped && analyze(&kept).incremental).then_some(kept))
}

/// The aggregate with the counts that it needs to be kept from its own rows; `None` if not all of it can be added up.
fn with_counts(aggregate: &Aggregate) -> Result<Option<LogicalPlan>, DataFusionError> {
    let input = &aggregate.input;
    let Some(mut measures) = aggregate.aggr_expr.iter().map(|one| Measure::of(one, input)).collect::<Option<Vec<_>>>()
    else {
        return Ok(None);
    };
    let mut expressions = aggregate.aggr_expr.clone();
    let rows = (!aggregate.group_expr.is_empty()).then_some(Measure::Rows);
    let counts: Vec<Measure> = measures.iter().filter_map(|measure| measure.counted_by(input)).chain(rows).collect();
    for wanted in counts {
        if measures.contains(&wanted) {
            continue;
        }
        expressions.push(match &wanted {
            Measure::Count(argument) => count(argument.clone()).alias(format!("__count_{}", measures.len())),
            _ => count(lit(1_i64)).alias(format!("__count_{}", measures.len())),
        });
        measures.push(wanted);
    }
    let keys = aggregate.group_expr.clone();
    let counted = LogicalPlan::Aggregate(Aggregate::try_new(Arc::clone(input), keys, expressions)?);
    named_by_position(&counted, aggregate.group_expr.len()).map(Some)
}

/// An aggregate whose columns have names that a table can have.
fn named_by_position(plan: &LogicalPlan, keys: usize) -> Result<LogicalPlan, DataFusionError> {
    let columns = all_columns(plan.schema()).into_iter().enumerate();
    let columns = columns.map(|(position, column)| {
        let name = if position < keys { format!("key_{position}") } else { format!("value_{}", position - keys) };
        column.alias(name)
    });
    project(columns.collect(), plan.clone())
}

/// The view with the first columns of the state's table in the place of the operator at a depth.
fn with_state(plan: &LogicalPlan, depth: usize, scan: &LogicalPlan) -> Result<LogicalPlan, DataFusionError> {
    if depth > 0 {
        let inputs = plan.inputs();
        let input = inputs.first().ok_or_else(|| DataFusionError::Plan("an operator has no input".to_owned()))?;
        return with_input(plan, with_state(input, depth - 1, scan)?);
    }
    let typed = plan.schema().fields().iter().enumerate().map(|(position, field)| {
        let column = column_at(scan.schema(), position);
        if scan.schema().field(position).data_type() == field.data_type() {
            column
        } else {
            cast(column, field.data_type().clone())
        }
    });
    let columns: Vec<Expr> = typed.collect();
    project(named_as(columns, plan.schema()), scan.clone())
}
