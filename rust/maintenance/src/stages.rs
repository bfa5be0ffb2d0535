//! Stages: a view that no rule keeps as a whole, cut into one that is kept and a small rest that is computed from it.
//!
//! ```text
//! view = rest(state)        state = the topmost aggregate of the view that the change rules keep, or a join above all
//! ```
//!
//! The state is a view like any other, with a table of its own; the rest reads that table instead of the inputs.  So the
//! k greatest of many groups cost as much as there are groups, and a sum of everything costs one row.  Rows that were
//! only filtered make no state: reading them again costs about what reading their copy would.
//!
//! An aggregate whose measures can be added up gets a state with all that [merged groups](crate::merged_groups) have to
//! know; then no input is read again, where groups that are computed anew read all of their rows.  An average of decimals is
//! a sum and a count there.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, TableReference};
use datafusion::functions_aggregate::expr_fn::{count, sum};
use datafusion::logical_expr::{
    Aggregate, Expr, ExprSchemable, LogicalPlan, TableScanBuilder, TableSource, cast, lit, when,
};

use crate::analyze::analyze;
use crate::columns::{all_columns, column_at, named_as, project};
use crate::merged_groups::{Measure, merged, plain_aggregate};
use crate::restriction::{group_expressions, with_input};

/// A view in two stages.
#[derive(Clone, Debug)]
pub struct Stages {
    /// What is kept by changes.
    pub state: LogicalPlan,
    /// The view over the state's table.
    pub rest: LogicalPlan,
}

/// Cuts a view that cannot be kept as a whole; `None` where that would not help.
///
/// With `always` a view whose groups can be added up is cut even if its changes could be derived without a state.
///
/// The rest scans the state under the name `relation`, from the source that `source_of` makes for it, or does not where
/// no table can hold the state; its columns may have other types than the state's, as a table would give them.
///
/// # Errors
/// DataFusion's, for a plan that cannot be built.
pub fn stages(
    view: &LogicalPlan,
    relation: &str,
    always: bool,
    source_of: impl Fn(&LogicalPlan) -> datafusion::error::Result<Option<Arc<dyn TableSource>>>,
) -> Result<Option<Stages>, DataFusionError> {
    let incremental = analyze(view).incremental;
    if incremental && (!always || merged(view).is_some()) {
        return Ok(None);
    }
    let Some((state, depth)) = topmost_state(view)? else { return Ok(None) };
    if incremental && !state.added_up {
        return Ok(None);
    }
    let Some(source) = source_of(&state.plan)? else { return Ok(None) };
    let scan = TableScanBuilder::new(TableReference::bare(relation), source).build()?;
    let rest = with_state(view, depth, &state.shown, &LogicalPlan::TableScan(scan))?;
    Ok(Some(Stages { state: state.plan, rest }))
}

/// What is kept of an operator.
struct State {
    plan: LogicalPlan,
    /// Where each column of the operator comes from.
    shown: Vec<Shown>,
    /// Whether it is kept from its own rows.
    added_up: bool,
}

/// A column of an operator, over the columns of its state.
#[derive(Clone, Copy)]
enum Shown {
    Column(usize),
    /// The average of decimals, as DataFusion computes it.
    Mean {
        sum: usize,
        count: usize,
    },
}

/// The state of the topmost operator that has one, and how many operators are above that.
fn topmost_state(view: &LogicalPlan) -> Result<Option<(State, usize)>, DataFusionError> {
    let (mut plan, mut depth, mut reduced) = (view, 0, false);
    loop {
        let input = match plan {
            LogicalPlan::Aggregate(aggregate) => {
                if let Some(state) = state_of(plan, aggregate)? {
                    return Ok(Some((state, depth)));
                }
                reduced = true;
                &aggregate.input
            }
            LogicalPlan::Projection(projection) => &projection.input,
            LogicalPlan::Filter(filter) => &filter.input,
            LogicalPlan::SubqueryAlias(alias) => &alias.input,
            LogicalPlan::Sort(sort) => &sort.input,
            LogicalPlan::Limit(limit) => &limit.input,
            LogicalPlan::Window(window) => &window.input,
            LogicalPlan::Repartition(repartition) => &repartition.input,
            // What an aggregate reduces can be far larger than what is joined, and nobody asked for a table of it.
            LogicalPlan::Join(join) if !reduced && !join.on.is_empty() => {
                return Ok(kept(plan, 0)?.map(|state| (state, depth)));
            }
            _ => return Ok(None),
        };
        (plan, depth) = (input, depth + 1);
    }
}

/// What is kept of an aggregate; `None` if no rule keeps it.
fn state_of(plan: &LogicalPlan, aggregate: &Aggregate) -> Result<Option<State>, DataFusionError> {
    if let Some(state) = added_up(aggregate)? {
        return Ok(Some(state));
    }
    if group_expressions(aggregate).is_none() {
        return Ok(None);
    }
    kept(plan, aggregate.group_expr.len())
}

/// The rows of an operator; `None` if no rule keeps them.
fn kept(plan: &LogicalPlan, keys: usize) -> Result<Option<State>, DataFusionError> {
    let shown = (0..plan.schema().fields().len()).map(Shown::Column).collect();
    let plan = named_by_position(plan, keys)?;
    Ok(analyze(&plan).incremental.then_some(State { plan, shown, added_up: false }))
}

/// An aggregate that is kept from its own rows, with the counts for that; `None` if not all of it can be added up.
fn added_up(aggregate: &Aggregate) -> Result<Option<State>, DataFusionError> {
    let (input, keys) = (&aggregate.input, aggregate.group_expr.len());
    let mut measures: Vec<Measure> = Vec::new();
    let mut place = |measure: Measure| {
        let known = measures.iter().position(|one| *one == measure);
        keys + known.unwrap_or_else(|| {
            measures.push(measure);
            measures.len() - 1
        })
    };
    let mut shown: Vec<Shown> = (0..keys).map(Shown::Column).collect();
    for expression in &aggregate.aggr_expr {
        shown.push(if let Some(measure) = Measure::of(expression, input) {
            let counted = measure.counted_by(input);
            let position = place(measure);
            counted.map(&mut place);
            Shown::Column(position)
        } else if let Some(argument) = averaged_decimal(expression, input) {
            let summed = Measure::Sum(argument);
            let Some(count) = summed.counted_by(input) else { return Ok(None) };
            Shown::Mean { sum: place(summed), count: place(count) }
        } else {
            return Ok(None);
        });
    }
    if keys > 0 {
        place(Measure::Rows);
    }
    let expressions = measures.iter().map(|measure| match measure {
        Measure::Rows => count(lit(1_i64)),
        Measure::Count(argument) => count(argument.clone()),
        Measure::Sum(argument) => sum(argument.clone()),
    });
    let expressions = expressions.enumerate().map(|(number, one)| one.alias(format!("__{number}"))).collect();
    let counted = Aggregate::try_new(Arc::clone(input), aggregate.group_expr.clone(), expressions)?;
    let plan = named_by_position(&LogicalPlan::Aggregate(counted), keys)?;
    let keeps = merged(&plan).is_some() && analyze(&plan).incremental;
    Ok(keeps.then_some(State { plan, shown, added_up: true }))
}

/// The argument of an average of decimals that DataFusion adds up in 128 bits, and whose result has four digits more.
fn averaged_decimal(expression: &Expr, input: &LogicalPlan) -> Option<Expr> {
    let (function, argument) = plain_aggregate(expression)?;
    let DataType::Decimal128(precision, scale) = argument.get_type(input.schema()).ok()? else { return None };
    let roomy = precision <= MOST_DIGITS && (0..=MOST_SCALE).contains(&scale);
    (function.name() == "avg" && roomy).then_some(argument)
}

/// The most digits that DataFusion 55.2 adds up in 128 bits for an average.
const MOST_DIGITS: u8 = 25;
/// The largest scale to which four digits can be added.
const MOST_SCALE: i8 = 34;

/// An operator whose columns have names that a table can have.
fn named_by_position(plan: &LogicalPlan, keys: usize) -> Result<LogicalPlan, DataFusionError> {
    let columns = all_columns(plan.schema()).into_iter().enumerate();
    let columns = columns.map(|(position, column)| {
        let name = if position < keys { format!("key_{position}") } else { format!("value_{}", position - keys) };
        column.alias(name)
    });
    project(columns.collect(), plan.clone())
}

/// The view with the state's table in the place of the operator at a depth.
fn with_state(
    plan: &LogicalPlan,
    depth: usize,
    shown: &[Shown],
    scan: &LogicalPlan,
) -> Result<LogicalPlan, DataFusionError> {
    if depth > 0 {
        let inputs = plan.inputs();
        let input = inputs.first().ok_or_else(|| DataFusionError::Plan("an operator has no input".to_owned()))?;
        return with_input(plan, with_state(input, depth - 1, shown, scan)?);
    }
    let mut columns = Vec::with_capacity(shown.len());
    for (shown, field) in shown.iter().zip(plan.schema().fields()) {
        let column = match shown {
            Shown::Column(position) => column_at(scan.schema(), *position),
            // Dividing a decimal adds four digits and cuts the rest off, as the average does.
            Shown::Mean { sum, count } => {
                let (sum, count) = (column_at(scan.schema(), *sum), column_at(scan.schema(), *count));
                when(count.clone().gt(lit(0_i64)), sum / cast(count, DataType::Decimal128(20, 0))).end()?
            }
        };
        let typed = column.get_type(scan.schema())? == *field.data_type();
        columns.push(if typed { column } else { cast(column, field.data_type().clone()) });
    }
    project(named_as(columns, plan.schema()), scan.clone())
}
