//! Stages: a view that no rule keeps as a whole, cut into states that are kept and a small rest that is computed from them.
//!
//! ```text
//! view = rest(state)        state = the topmost aggregate of the view that the change rules keep, or a join above all
//! ```
//!
//! A state is a view like any other, with a table of its own; the rest reads that table instead of the inputs.  So the
//! k greatest of many groups cost as much as there are groups, and a sum of everything costs one row.  Rows that were
//! only filtered make no state: reading them again costs about what reading their copy would.
//!
//! An aggregate whose measures can be added up gets a state with all that [merged groups](crate::merged_groups) have to
//! know; then no input is read again, where groups that are computed anew read all of their rows.  An average of decimals is
//! a sum and a count there, and what is made of exact sums of floats is asked from their states.
//!
//! Grouping sets have one state, of the groups by all their keys: `ROLLUP`, `CUBE` and `GROUPING SETS` of the rest put its
//! groups together.  The least and the greatest of everything are those of a state with one group, whose key is constant:
//! by it the rows of the group are found again when an extreme is gone, and without rows there is no group.
//!
//! Where states are asked for always, such aggregates below joins, conditions and other groups are states too, each read
//! by the view or by the states before it: what compares groups with each other or with rows then reads the changes of
//! the groups, and not the rows of both sides of each change.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::common::{DataFusionError, NullEquality, TableReference};
use datafusion::functions_aggregate::expr_fn::max;
use datafusion::logical_expr::utils::grouping_set_to_exprlist;
use datafusion::logical_expr::{
    Aggregate, Expr, ExprSchemable, GroupingSet, Join, JoinConstraint, JoinType, LogicalPlan, LogicalPlanBuilder,
    TableScanBuilder, TableSource, cast, lit, when,
};
use functions::exact_sums::states::{kept_as, value};

use crate::analyze::analyze;
use crate::columns::{all_columns, column_at, named, named_as, project};
use crate::merged_groups::{Measure, merged, plain_aggregate};
use crate::restriction::{group_expressions, with_input};

/// A view in stages.
#[derive(Clone, Debug)]
pub struct Stages {
    /// What is kept by changes; each may read the states behind it.
    pub states: Vec<LogicalPlan>,
    /// The view over the states' tables.
    pub rest: LogicalPlan,
}

/// Cuts a view that cannot be kept as a whole; `None` where that would not help.
///
/// With `always` groups that can be added up are states even if their changes could be derived without them, wherever
/// they are in the view.
///
/// The plans scan the state with a number as the relation `name_of(number)`, from the source that `source_of` makes for
/// it, or do not where no table can hold the state; its columns may have other types than the state's, as a table would
/// give them.
///
/// # Errors
/// DataFusion's, for a plan that cannot be built.
pub fn stages(
    view: &LogicalPlan,
    always: bool,
    name_of: impl Fn(usize) -> String,
    source_of: impl Fn(&str, &LogicalPlan) -> datafusion::error::Result<Option<Arc<dyn TableSource>>>,
) -> Result<Option<Stages>, DataFusionError> {
    let mut cut = Cut { states: Vec::new(), name_of, source_of };
    let incremental = analyze(view).incremental;
    let mut rest = view.clone();
    let whole = incremental && (!always || merged(view).is_some());
    if !whole
        && let Some((state, depth)) = topmost_state(view)?
        && (!incremental || state.added_up)
        && let Some(scan) = cut.scan_of(&state.plan, 0)?
    {
        rest = with_state(view, depth, &state, &scan)?;
    }
    if always {
        rest = cut.below(rest, 0)?;
        let mut number = 0;
        while let Some(state) = cut.states.get(number) {
            cut.states[number] = cut.below(state.clone(), number + 1)?;
            number += 1;
        }
    }
    Ok((!cut.states.is_empty()).then_some(Stages { states: cut.states, rest }))
}

/// A view that is being cut.
struct Cut<N, S> {
    states: Vec<LogicalPlan>,
    name_of: N,
    source_of: S,
}

impl<N, S> Cut<N, S>
where
    N: Fn(usize) -> String,
    S: Fn(&str, &LogicalPlan) -> datafusion::error::Result<Option<Arc<dyn TableSource>>>,
{
    /// A scan of a state for a reader that may read those from the number `first` on; `None` where no table can hold it.
    fn scan_of(&mut self, state: &LogicalPlan, first: usize) -> Result<Option<LogicalPlan>, DataFusionError> {
        let known = self.states.iter().position(|known| known == state);
        let number = known.unwrap_or(self.states.len());
        if number < first {
            return Ok(None);
        }
        let name = (self.name_of)(number);
        let Some(source) = (self.source_of)(&name, state)? else { return Ok(None) };
        if known.is_none() {
            self.states.push(state.clone());
        }
        Ok(Some(LogicalPlan::TableScan(TableScanBuilder::new(TableReference::bare(name), source).build()?)))
    }

    /// Whether a plan scans states, and nothing else.
    fn reads_states_only(&self, plan: &LogicalPlan) -> Result<bool, DataFusionError> {
        let names: Vec<TableReference> =
            (0..self.states.len()).map(|number| TableReference::bare((self.name_of)(number))).collect();
        let (mut states, mut others) = (false, false);
        plan.apply_with_subqueries(|node| {
            if let LogicalPlan::TableScan(scan) = node {
                let known = names.contains(&scan.table_name);
                (states, others) = (states || known, others || !known);
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(states && !others)
    }

    /// A plan with states in the place of the groups below its own that can be added up.
    ///
    /// A cut after which changes no longer keep the plan is not made: some rules look at what is below.
    fn below(&mut self, mut plan: LogicalPlan, first: usize) -> Result<LogicalPlan, DataFusionError> {
        let kept = analyze(&plan).incremental;
        let mut passed = usize::from(merged(&plan).is_some());
        loop {
            let (mut left, mut found) = (passed, false);
            let states = self.states.len();
            let changed = plan.clone().transform_down_with_subqueries(|node| {
                let LogicalPlan::Aggregate(aggregate) = &node else { return Ok(Transformed::no(node)) };
                if found {
                    return Ok(Transformed::no(node));
                }
                let Some(state) = added_up(aggregate)? else { return Ok(Transformed::no(node)) };
                if left > 0 {
                    left -= 1;
                    return Ok(Transformed::no(node));
                }
                // What puts the groups of a state together once more has its state already.
                if self.reads_states_only(&aggregate.input)? {
                    return Ok(Transformed::no(node));
                }
                found = true;
                let Some(scan) = self.scan_of(&state.plan, first)? else { return Ok(Transformed::no(node)) };
                let is_row = aggregate.group_expr.is_empty() && matches!(state.reading, Reading::Rows);
                let scan = if is_row { one_row(scan)? } else { scan };
                let read = with_state(&node, 0, &state, &scan)?;
                Ok(Transformed::new(read, true, TreeNodeRecursion::Jump))
            })?;
            if !found {
                return Ok(plan);
            }
            let cut =
                changed.data.transform_up_with_subqueries(|node| Ok(Transformed::yes(node.recompute_schema()?)))?.data;
            if changed.transformed && (!kept || analyze(&cut).incremental) {
                plan = cut;
            } else {
                self.states.truncate(states);
                passed += 1;
            }
        }
    }
}

/// The row of a state without groups, in a form that cannot have more: a scalar sub-query has to have one.
fn one_row(scan: LogicalPlan) -> Result<LogicalPlan, DataFusionError> {
    let columns = all_columns(scan.schema()).into_iter().zip(scan.schema().fields().iter());
    let columns = columns.map(|(column, field)| max(column).alias(field.name())).collect();
    Ok(LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(scan), vec![], columns)?))
}

/// What is kept of an operator.
struct State {
    plan: LogicalPlan,
    reading: Reading,
    /// Where each column of the operator comes from.
    shown: Vec<Shown>,
    /// Whether it is kept from its own rows.
    added_up: bool,
}

/// How the rows of an operator are made of those of its state.
enum Reading {
    /// Row by row.
    Rows,
    /// The groups are put together to groups by fewer keys.
    Sets(Sets),
    /// There is one row, with these measures of the one group that the state has, or of none.
    OneRow(Vec<Measure>),
}

/// Groupings of the groups of a state by fewer keys.
struct Sets {
    groupings: GroupingSet,
    /// The keys of the state, as the groupings name them.
    keys: Vec<Expr>,
    /// The measures of the state, which come after its keys.
    measures: Vec<Measure>,
}

impl Sets {
    /// The groups of all groupings: the keys, DataFusion's number of the grouping, and the measures.
    fn over(&self, scan: &LogicalPlan) -> Result<LogicalPlan, DataFusionError> {
        let key = |key: &Expr| {
            let position = self.keys.iter().position(|known| known == key);
            position
                .map(|position| column_at(scan.schema(), position))
                .ok_or_else(|| DataFusionError::Plan(format!("\"{key}\" is no key of the groups that a state keeps")))
        };
        let keys = |keys: &[Expr]| keys.iter().map(key).collect::<Result<Vec<_>, _>>();
        let groupings = match &self.groupings {
            GroupingSet::Rollup(of) => GroupingSet::Rollup(keys(of)?),
            GroupingSet::Cube(of) => GroupingSet::Cube(keys(of)?),
            GroupingSet::GroupingSets(sets) => {
                GroupingSet::GroupingSets(sets.iter().map(|of| keys(of)).collect::<Result<_, _>>()?)
            }
        };
        let first = self.keys.len();
        let parts = self.measures.iter().enumerate();
        let parts = parts.map(|(number, measure)| measure.of_parts(column_at(scan.schema(), first + number)));
        let groups = Aggregate::try_new(Arc::new(scan.clone()), vec![Expr::GroupingSet(groupings)], parts.collect())?;
        let groups = LogicalPlan::Aggregate(groups);
        let mut columns = all_columns(groups.schema());
        for (column, measure) in columns.iter_mut().skip(first + 1).zip(&self.measures) {
            *column = counted(measure, column.clone())?;
        }
        project(columns, groups)
    }
}

/// The measures of the one group of a state whose key is 1; without it, those of no rows.
fn one_group(scan: &LogicalPlan, measures: &[Measure]) -> Result<LogicalPlan, DataFusionError> {
    let one = LogicalPlanBuilder::empty(true).project([lit(1_i64).alias("__one")])?.build()?;
    let on = vec![(named("__one"), column_at(scan.schema(), 0))];
    let (join, constraint) = (JoinType::Left, JoinConstraint::On);
    let nulls = NullEquality::NullEqualsNothing;
    let join = Join::try_new(Arc::new(one), Arc::new(scan.clone()), on, None, join, constraint, nulls, false)?;
    let join = LogicalPlan::Join(join);
    let columns = all_columns(join.schema()).into_iter().skip(2).zip(measures);
    let columns = columns.map(|(column, measure)| counted(measure, column)).collect::<Result<_, _>>()?;
    project(columns, join)
}

/// A measure under its own name: a count of no rows is zero, and a sum of no counts is none.
fn counted(measure: &Measure, column: Expr) -> Result<Expr, DataFusionError> {
    if !matches!(measure, Measure::Rows | Measure::Count(_)) {
        return Ok(column);
    }
    let name = column.qualified_name();
    let counted = when(column.clone().is_not_null(), column).otherwise(lit(0_i64))?;
    Ok(counted.alias_qualified(name.0, name.1))
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
    /// A statistic of exact sums.
    Value {
        state: usize,
        word: &'static str,
    },
}

impl Shown {
    /// The same where the columns that it names come after so many others.
    fn after(self, first: usize) -> Self {
        match self {
            Self::Column(position) => Self::Column(first + position),
            Self::Mean { sum, count } => Self::Mean { sum: first + sum, count: first + count },
            Self::Value { state, word } => Self::Value { state: first + state, word },
        }
    }
}

/// The state of the topmost operator that has one, and how many operators are above that.
fn topmost_state(view: &LogicalPlan) -> Result<Option<(State, usize)>, DataFusionError> {
    let (mut plan, mut depth, mut reduced) = (view, 0, false);
    let mut last_resort = None;
    loop {
        let input = match plan {
            LogicalPlan::Aggregate(aggregate) => {
                match state_of(plan, aggregate)? {
                    // Groups below it are few to read, and the rows that they are made of many where an extreme goes.
                    Some(state) if matches!(state.reading, Reading::OneRow(_)) => {
                        last_resort = last_resort.or(Some((state, depth)));
                    }
                    Some(state) => return Ok(Some((state, depth))),
                    None => {}
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
            _ => return Ok(last_resort),
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
    Ok(analyze(&plan).incremental.then_some(State { plan, reading: Reading::Rows, shown, added_up: false }))
}

/// An aggregate that is kept from its own rows, with the counts for that; `None` if not all of it can be added up.
fn added_up(aggregate: &Aggregate) -> Result<Option<State>, DataFusionError> {
    let input = &aggregate.input;
    let mut measures = Measures::default();
    let mut shown = Vec::with_capacity(aggregate.aggr_expr.len());
    for expression in &aggregate.aggr_expr {
        shown.push(if let Some(measure) = Measure::of(expression, input) {
            let counted = measure.counted_by(input);
            let number = measures.place(measure);
            counted.map(|count| measures.place(count));
            Shown::Column(number)
        } else if let Some((state, word)) = asked_of_state(expression) {
            Shown::Value { state: measures.place(state), word }
        } else if let Some(argument) = averaged_decimal(expression, input) {
            let summed = Measure::Sum(argument);
            let Some(count) = summed.counted_by(input) else { return Ok(None) };
            Shown::Mean { sum: measures.place(summed), count: measures.place(count) }
        } else {
            return Ok(None);
        });
    }
    let mut keys: Vec<Expr> = grouping_set_to_exprlist(&aggregate.group_expr)?.into_iter().cloned().collect();
    let groupings = match aggregate.group_expr.as_slice() {
        [Expr::GroupingSet(groupings)] => Some(groupings.clone()),
        _ => None,
    };
    let extremes = measures.0.iter().filter_map(Measure::extreme_of);
    let types = extremes.map(|argument| argument.get_type(input.schema())).collect::<Result<Vec<_>, _>>()?;
    let constant_key = keys.is_empty() && !types.is_empty();
    if constant_key {
        // DataFusion finds other extremes among NaN for a group than for everything.
        if types.iter().any(DataType::is_floating) {
            return Ok(None);
        }
        keys.push(lit(1_i64));
    }
    if !keys.is_empty() {
        measures.place(Measure::Rows);
    }
    let expressions = measures.0.iter().map(Measure::of_rows);
    let expressions = expressions.enumerate().map(|(number, one)| one.alias(format!("__{number}"))).collect();
    let counted = Aggregate::try_new(Arc::clone(input), keys.clone(), expressions)?;
    let plan = named_by_position(&LogicalPlan::Aggregate(counted), keys.len())?;
    if merged(&plan).is_none() || !analyze(&plan).incremental {
        return Ok(None);
    }
    let measures = measures.0;
    // The number of the grouping comes between keys and measures.
    let (reading, first) = match groupings {
        Some(groupings) => (Reading::Sets(Sets { groupings, keys: keys.clone(), measures }), keys.len() + 1),
        None if constant_key => (Reading::OneRow(measures), 0),
        None => (Reading::Rows, keys.len()),
    };
    let shown = (0..first).map(Shown::Column).chain(shown.into_iter().map(|shown| shown.after(first))).collect();
    Ok(Some(State { plan, reading, shown, added_up: true }))
}

/// The measures of a state, each once.
#[derive(Default)]
struct Measures(Vec<Measure>);

impl Measures {
    /// The number of a measure, which is taken in if it is new.
    fn place(&mut self, measure: Measure) -> usize {
        self.0.iter().position(|one| *one == measure).unwrap_or_else(|| {
            self.0.push(measure);
            self.0.len() - 1
        })
    }
}

/// The state that an exact aggregate is made of, and what it is asked for.
fn asked_of_state(expression: &Expr) -> Option<(Measure, &'static str)> {
    let (function, arguments) = plain_aggregate(expression)?;
    let (state, word) = kept_as(function.name())?;
    Some((Measure::State(state, arguments), word))
}

/// The argument of an average of decimals that DataFusion adds up in 128 bits, and whose result has four digits more.
fn averaged_decimal(expression: &Expr, input: &LogicalPlan) -> Option<Expr> {
    let (function, arguments) = plain_aggregate(expression)?;
    let [argument] = <[Expr; 1]>::try_from(arguments).ok()?;
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
    state: &State,
    scan: &LogicalPlan,
) -> Result<LogicalPlan, DataFusionError> {
    if depth > 0 {
        let inputs = plan.inputs();
        let input = inputs.first().ok_or_else(|| DataFusionError::Plan("an operator has no input".to_owned()))?;
        return with_input(plan, with_state(input, depth - 1, state, scan)?);
    }
    let read = match &state.reading {
        Reading::Rows => scan,
        Reading::Sets(sets) => &sets.over(scan)?,
        Reading::OneRow(measures) => &one_group(scan, measures)?,
    };
    let mut columns = Vec::with_capacity(state.shown.len());
    for (shown, field) in state.shown.iter().zip(plan.schema().fields()) {
        let column = match shown {
            Shown::Column(position) => column_at(read.schema(), *position),
            Shown::Value { state, word } => value().call(vec![column_at(read.schema(), *state), lit(*word)]),
            // Dividing a decimal adds four digits and cuts the rest off, as the average does.
            Shown::Mean { sum, count } => {
                let (sum, count) = (column_at(read.schema(), *sum), column_at(read.schema(), *count));
                when(count.clone().gt(lit(0_i64)), sum / cast(count, DataType::Decimal128(20, 0))).end()?
            }
        };
        let typed = column.get_type(read.schema())? == *field.data_type();
        columns.push(if typed { column } else { cast(column, field.data_type().clone()) });
    }
    project(named_as(columns, plan.schema()), read.clone())
}
