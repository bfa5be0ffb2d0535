//! Merged groups: a view of counts and sums is kept from its own rows and the changes, and no input is read again.
//!
//! ```text
//! measures(now) = measures(before) + measures(changes)        a change of weight w counts w times
//! changes(view) = rows of the affected groups now - rows of these groups in the target
//! ```
//!
//! It holds for measures that form a group under addition: `count(*)`, `count(x)`, `sum(x)` of integers and decimals, and
//! the [states](functions::exact_sums::states) of exact sums of floats.  A sum over no value is NULL, and a group without
//! rows is gone; so a view can be kept in this way if it shows its keys, `count(*)`, and with each sum of a nullable
//! expression the count of the same expression.  Without groups there always is one row, and `count(*)` is needed only
//! beside a sum of what is never NULL.
//!
//! The least and the greatest value of a group are kept as long as no value that goes is as extreme as what is there:
//!
//! ```text
//! max(now) = max(max(before), max(came))      if max(went) < max(max(before), max(came))
//! ```
//!
//! Groups for which that does not hold are computed from their rows now, and only they.  Of floats, whose zeros are equal
//! and whose NaN have no order, only what lies between is compared in this way.
//!
//! A FILTER is part of what is measured: `sum(x) FILTER (WHERE c)` is the sum of `CASE WHEN c THEN x END`.
//!
//! Plain sums of floats are left out: they depend on what was added before.  So are float keys, whose zeros are one group
//! and two values.
//!
//! Source: Gupta, Mumick & Subrahmanian, "Maintaining views incrementally" (SIGMOD 1993), the counting algorithm.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::{DataFusionError, ScalarValue, TableReference};
use datafusion::functions_aggregate::expr_fn::{bool_or, count, max, min, sum};
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{
    Aggregate, AggregateUDF, Expr, ExprSchemable, Filter, LogicalPlan, LogicalTableSource, TableScanBuilder, cast, lit,
    when,
};
use functions::exact_sums::states::{makes_states, merge};

use crate::affected_keys::keys_over;
use crate::aggregates::new_rows;
use crate::columns::{WEIGHT, all_columns, column_at, named, named_unqualified, project, sum_of, weight, weighted};
use crate::consolidate::consolidate;
use crate::derivation::{Derivation, cannot_build, view_weighted};
use crate::linear::no_changes;
use crate::restriction::{group_expressions, key_columns, key_name, semi_joined};
use crate::steps::Steps;
use crate::{ChangePlan, InputShape, Reason};

/// The schema part of the name of the scan of the view's own rows, before the refresh.
pub const TARGET: &str = "target";

/// Something that is kept of each group, over the input of the aggregate.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Measure {
    /// `count(*)`.
    Rows,
    /// `count(x)`.
    Count(Expr),
    /// `sum(x)`, of integers or decimals.
    Sum(Expr),
    /// The state of an exact sum over these arguments.
    State(Arc<AggregateUDF>, Vec<Expr>),
    /// `min(x)` or `max(x)`.
    Extreme(Extreme, Expr),
}

/// Which end of the values of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extreme {
    Least,
    Greatest,
}

impl Extreme {
    /// The aggregate that finds it.
    fn of(self, values: Expr) -> Expr {
        match self {
            Self::Least => min(values),
            Self::Greatest => max(values),
        }
    }

    /// Whether a value is less extreme than another one; NULL if one of them is.
    fn within(self, value: Expr, other: Expr) -> Expr {
        match self {
            Self::Least => value.gt(other),
            Self::Greatest => value.lt(other),
        }
    }
}

impl Measure {
    /// What an aggregate expression measures, if that can be kept.
    pub fn of(expression: &Expr, input: &LogicalPlan) -> Option<Self> {
        let (function, mut arguments) = plain_aggregate(expression)?;
        if makes_states(function.name()) {
            let once = matches!(arguments.pop()?, Expr::Literal(ScalarValue::Int64(Some(1)), _));
            return once.then_some(Self::State(function, arguments));
        }
        let [argument] = <[Expr; 1]>::try_from(arguments).ok()?;
        let data_type = argument.get_type(input.schema()).ok()?;
        match function.name() {
            "count" if !argument.nullable(input.schema()).ok()? => Some(Self::Rows),
            "count" => Some(Self::Count(argument)),
            "count_if" => Some(Self::Count(when(argument, lit(1_i64)).end().ok()?)),
            "sum" => {
                let added = data_type.is_signed_integer() || matches!(data_type, DataType::Decimal128(..));
                added.then_some(Self::Sum(argument))
            }
            "min" | "bool_and" if is_ordered(&data_type) => Some(Self::Extreme(Extreme::Least, argument)),
            "max" | "bool_or" if is_ordered(&data_type) => Some(Self::Extreme(Extreme::Greatest, argument)),
            _ => None,
        }
    }

    /// The aggregate that measures all rows of a group.
    pub fn of_rows(&self) -> Expr {
        match self {
            Self::Rows => count(lit(1_i64)),
            Self::Count(argument) => count(argument.clone()),
            Self::Sum(argument) => sum(argument.clone()),
            Self::State(function, arguments) => state(function, arguments, lit(1_i64)),
            Self::Extreme(extreme, argument) => extreme.of(argument.clone()),
        }
    }

    /// The count that tells whether a sum has a value; none for a measure that knows it itself.
    pub fn counted_by(&self, input: &LogicalPlan) -> Option<Self> {
        match self {
            Self::Sum(argument) if argument.nullable(input.schema()).unwrap_or(true) => {
                Some(Self::Count(argument.clone()))
            }
            Self::Sum(_) => Some(Self::Rows),
            Self::Rows | Self::Count(_) | Self::State(..) | Self::Extreme(..) => None,
        }
    }

    /// The values whose least or greatest one it is.
    pub fn extreme_of(&self) -> Option<&Expr> {
        match self {
            Self::Extreme(_, argument) => Some(argument),
            _ => None,
        }
    }

    /// The measure of weighted changes; of an extreme that of the rows that came.
    fn of_changes(&self, data_type: &DataType) -> Result<Expr, DataFusionError> {
        Ok(match self {
            Self::Rows => sum(weight()),
            Self::Count(argument) => sum(when(argument.clone().is_not_null(), weight()).otherwise(lit(0_i64))?),
            Self::Sum(argument) => match data_type {
                DataType::Decimal128(..) => sum(argument.clone() * cast(weight(), DataType::Decimal128(20, 0))),
                _ => sum(cast(argument.clone(), DataType::Int64) * weight()),
            },
            Self::State(function, arguments) => state(function, arguments, weight()),
            Self::Extreme(extreme, argument) => extreme.of(when(weight().gt(lit(0_i64)), argument.clone()).end()?),
        })
    }

    /// The measure of a group from the measures of its parts.
    pub fn of_parts(&self, part: Expr) -> Expr {
        match self {
            Self::Rows | Self::Count(_) | Self::Sum(_) => sum(part),
            Self::State(..) => merge().call(vec![part]),
            Self::Extreme(extreme, _) => extreme.of(part),
        }
    }
}

fn state(function: &Arc<AggregateUDF>, arguments: &[Expr], weight: Expr) -> Expr {
    function.call(arguments.iter().cloned().chain([weight]).collect())
}

/// Whether values of a type have an order under which the least and the greatest are found.
fn is_ordered(data_type: &DataType) -> bool {
    data_type.is_numeric()
        || matches!(
            data_type,
            DataType::Boolean
                | DataType::Date32
                | DataType::Date64
                | DataType::Timestamp(..)
                | DataType::Utf8
                | DataType::LargeUtf8
                | DataType::Utf8View
        )
}

/// The function and the arguments of an aggregate that takes every row once, in whatever order; where it has a FILTER the
/// first argument is NULL in the rows that it leaves out.
pub(crate) fn plain_aggregate(expression: &Expr) -> Option<(Arc<AggregateUDF>, Vec<Expr>)> {
    let Expr::AggregateFunction(AggregateFunction { func, params }) = expression.clone().unalias_nested().data else {
        return None;
    };
    let mut arguments = params.args;
    if let Some(filter) = params.filter {
        let first = arguments.first_mut()?;
        *first = when(*filter, first.clone()).end().ok()?;
    }
    let plain = !params.distinct && params.order_by.is_empty() && params.null_treatment.is_none();
    plain.then_some((func, arguments))
}

/// What a column of the view shows.
#[derive(Clone, Copy, Debug)]
enum Shown {
    Key(usize),
    Measure(usize),
}

/// A view that is kept from its own rows.
pub(crate) struct MergedGroups<'a> {
    aggregate: &'a Aggregate,
    /// The group keys over the input of the aggregate; empty without groups.
    keys: Vec<Expr>,
    measures: Vec<Measure>,
    /// What each column of the view shows.
    columns: Vec<Shown>,
}

/// The view as merged groups; `None` if it is something else.
pub(crate) fn merged(view: &LogicalPlan) -> Option<MergedGroups<'_>> {
    let (aggregate, positions) = shown_aggregate(view)?;
    let keys = if aggregate.group_expr.is_empty() { Vec::new() } else { group_expressions(aggregate)? };
    let keyed = |key: &Expr| key.get_type(aggregate.input.schema()).is_ok_and(|data_type| is_key(&data_type));
    if !keys.iter().all(keyed) {
        return None;
    }
    let measures =
        aggregate.aggr_expr.iter().map(|one| Measure::of(one, &aggregate.input)).collect::<Option<Vec<_>>>()?;
    let of_position = |position: usize| {
        if position < keys.len() { Shown::Key(position) } else { Shown::Measure(position - keys.len()) }
    };
    let found = MergedGroups { aggregate, columns: positions.into_iter().map(of_position).collect(), keys, measures };
    found.is_complete().then_some(found)
}

/// The aggregate at the top of a view below projections of bare columns, and which of its columns the view shows.
fn shown_aggregate(view: &LogicalPlan) -> Option<(&Aggregate, Vec<usize>)> {
    match view {
        LogicalPlan::Aggregate(aggregate) => Some((aggregate, (0..aggregate.schema.fields().len()).collect())),
        LogicalPlan::Projection(projection) => {
            let (aggregate, below) = shown_aggregate(&projection.input)?;
            let positions = projection.expr.iter().map(|expression| {
                let Expr::Column(column) = expression.clone().unalias_nested().data else { return None };
                below.get(projection.input.schema().maybe_index_of_column(&column)?).copied()
            });
            Some((aggregate, positions.collect::<Option<_>>()?))
        }
        LogicalPlan::SubqueryAlias(alias) => shown_aggregate(&alias.input),
        _ => None,
    }
}

/// Whether equal values of a type are the same value.
fn is_key(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, values) => is_key(values),
        other => !other.is_floating() && !other.is_nested(),
    }
}

impl MergedGroups<'_> {
    /// Whether the view shows all that its next content is made of.
    fn is_complete(&self) -> bool {
        let shows = |measure: &Measure| self.column_of(measure).is_some();
        let keys = (0..self.keys.len()).all(|key| self.column_of_key(key).is_some());
        let rows = self.keys.is_empty() || shows(&Measure::Rows);
        let input = &self.aggregate.input;
        let counts = self.measures.iter().filter_map(|measure| measure.counted_by(input)).all(|count| shows(&count));
        let measures = self.measures.iter().all(shows);
        // Without keys there is nothing by which to find the rows of a group whose extreme went.
        let found = !self.keys.is_empty() || self.extremes().next().is_none();
        keys && rows && counts && measures && found
    }

    /// The position of the view's column that shows a measure.
    fn column_of(&self, wanted: &Measure) -> Option<usize> {
        self.columns.iter().position(|shown| matches!(shown, Shown::Measure(one) if self.measures[*one] == *wanted))
    }

    fn column_of_key(&self, key: usize) -> Option<usize> {
        self.columns.iter().position(|shown| matches!(shown, Shown::Key(position) if *position == key))
    }

    /// The extremes among the measures, with their numbers.
    fn extremes(&self) -> impl Iterator<Item = (usize, Extreme, &Expr)> {
        self.measures.iter().enumerate().filter_map(|(number, measure)| match measure {
            Measure::Extreme(extreme, argument) => Some((number, *extreme, argument)),
            _ => None,
        })
    }

    /// The change set of the view.
    pub fn change_plan(&self, view: &LogicalPlan, inputs: &BTreeMap<String, InputShape>) -> Result<ChangePlan, Reason> {
        let lifted = |error| cannot_build(view, &error);
        let steps = Steps::default();
        let changes = Derivation { inputs, steps: &steps }.changes(&self.aggregate.input)?;
        let changes = match changes {
            None => no_changes(view).and_then(|changes| view_weighted(view, changes)).map_err(lifted)?,
            Some(changes) => {
                let goes = !changes.insert_only && self.extremes().next().is_some();
                let delta = self.measured(changes.plan, view, goes).and_then(|delta| steps.once(delta));
                let delta = delta.map_err(lifted)?;
                let before = self.own_rows(view, &delta).and_then(|rows| steps.once(rows)).map_err(lifted)?;
                let mut added = self.added(view, &before, delta, goes).map_err(lifted)?;
                let mut terms = Vec::new();
                if goes {
                    added = steps.once(added).map_err(lifted)?;
                    let lost = self.lost_keys(view, &added).and_then(|keys| steps.once(keys)).map_err(lifted)?;
                    let found = new_rows(view, inputs, &lost)?;
                    terms.push(weighted(found, lit(1_i64)).map_err(lifted)?);
                }
                let build = || -> Result<LogicalPlan, DataFusionError> {
                    terms.push(self.shown(view, added, goes)?);
                    terms.push(weighted(before.clone(), lit(-1_i64))?);
                    consolidate(sum_of(terms, before.schema())?)
                };
                build().map_err(lifted)?
            }
        };
        Ok(ChangePlan::Rows { steps: steps.into_plans(), changes, insert_only: false })
    }

    /// The measures of the changes in each group that they touch: `__key_<number>` and `__measure_<number>`; with `goes`
    /// also, for each extreme, that of the rows that went, `__went_<number>`, and of floats whether any that came or went
    /// is one that has no place in an order, `__odd_<number>`.
    fn measured(&self, changes: LogicalPlan, view: &LogicalPlan, goes: bool) -> Result<LogicalPlan, DataFusionError> {
        let keys = self.keys.iter().enumerate().map(|(number, key)| key.clone().alias(key_name(number))).collect();
        let mut measures = Vec::with_capacity(self.measures.len());
        for (number, measure) in self.measures.iter().enumerate() {
            measures.push(measure.of_changes(self.type_of(measure, view))?.alias(measure_name(number)));
        }
        for (number, extreme, argument) in self.extremes().filter(|_| goes) {
            let went = when(weight().lt(lit(0_i64)), argument.clone()).end()?;
            measures.push(extreme.of(went).alias(went_name(number)));
            if self.is_float(number, view) {
                measures.push(bool_or(is_odd(argument.clone())).alias(odd_name(number)));
            }
        }
        let sums = LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(changes), keys, measures)?);
        self.typed(view, sums, goes)
    }

    /// The view's rows of the groups that the changes touch, before.
    fn own_rows(&self, view: &LogicalPlan, delta: &LogicalPlan) -> Result<LogicalPlan, DataFusionError> {
        let fields = view.schema().fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
        let source = LogicalTableSource::new(Arc::new(Schema::new(fields.collect::<Vec<Field>>())));
        let name = TableReference::partial(TARGET, "rows");
        let rows = LogicalPlan::TableScan(TableScanBuilder::new(name, Arc::new(source)).build()?);
        let columns = named_unqualified(all_columns(rows.schema()), view.schema());
        if self.keys.is_empty() {
            return project(columns, rows);
        }
        let shown = (0..self.keys.len()).filter_map(|key| self.column_of_key(key));
        let keys = keys_over(shown.map(|position| column_at(rows.schema(), position)));
        project(columns, semi_joined(delta, rows, &keys)?)
    }

    /// The measures of the touched groups now, under the names of [`Self::measured`]: those of their rows before and of
    /// the changes, put together.
    fn added(
        &self,
        view: &LogicalPlan,
        before: &LogicalPlan,
        delta: LogicalPlan,
        goes: bool,
    ) -> Result<LogicalPlan, DataFusionError> {
        let of_own = |position: Option<usize>| position.map(|position| column_at(before.schema(), position));
        let mut columns = Vec::new();
        for key in 0..self.keys.len() {
            columns.extend(of_own(self.column_of_key(key)).map(|column| column.alias(key_name(key))));
        }
        for (number, measure) in self.measures.iter().enumerate() {
            columns.extend(of_own(self.column_of(measure)).map(|column| column.alias(measure_name(number))));
        }
        let mut parts: Vec<Expr> = Vec::new();
        for (number, measure) in self.measures.iter().enumerate() {
            parts.push(measure.of_parts(named(measure_name(number))).alias(measure_name(number)));
        }
        for (number, extreme, _) in self.extremes().filter(|_| goes) {
            let nothing = cast(lit(ScalarValue::Null), self.type_of(&self.measures[number], view).clone());
            columns.push(nothing.alias(went_name(number)));
            parts.push(extreme.of(named(went_name(number))).alias(went_name(number)));
            if self.is_float(number, view) {
                let own = of_own(self.column_of(&self.measures[number])).unwrap_or_else(|| lit(0.0));
                columns.push(is_odd(own).alias(odd_name(number)));
                parts.push(bool_or(named(odd_name(number))).alias(odd_name(number)));
            }
        }
        let both = vec![Arc::new(project(columns, before.clone())?), Arc::new(delta)];
        let both = LogicalPlan::Union(datafusion::logical_expr::Union::try_new(both)?);
        let added = LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(both), key_columns(self.keys.len()), parts)?);
        self.typed(view, added, goes)
    }

    /// Whether what was put together of a group is not what its rows give: an extreme value went.
    fn is_lost(&self, view: &LogicalPlan) -> Expr {
        let lost = self.extremes().map(|(number, extreme, _)| {
            let went = named(went_name(number));
            let within = extreme.within(went.clone(), named(measure_name(number)));
            let lost = went.is_not_null().and(within.is_not_true());
            if self.is_float(number, view) { lost.or(named(odd_name(number)).is_true()) } else { lost }
        });
        lost.reduce(Expr::or).unwrap_or_else(|| lit(false))
    }

    /// The keys of groups that are computed from their rows.
    fn lost_keys(&self, view: &LogicalPlan, added: &LogicalPlan) -> Result<LogicalPlan, DataFusionError> {
        let lost = LogicalPlan::Filter(Filter::try_new(self.is_lost(view), Arc::new(added.clone()))?);
        project(key_columns(self.keys.len()), lost)
    }

    /// The view's rows of the touched groups now, with weights, without those that are computed from their rows.
    ///
    /// A group with fewer rows than none was not what the changes say; its row is taken away, and is not found.
    fn shown(&self, view: &LogicalPlan, added: LogicalPlan, goes: bool) -> Result<LogicalPlan, DataFusionError> {
        let kept =
            if goes { LogicalPlan::Filter(Filter::try_new(!self.is_lost(view), Arc::new(added))?) } else { added };
        let rows = self.number_of(&Measure::Rows).filter(|_| !self.keys.is_empty()).map(measure_name);
        let (alive, weight) = match rows {
            Some(rows) => {
                let some = named(&rows).not_eq(lit(0_i64));
                let weight = when(named(&rows).gt(lit(0_i64)), lit(1_i64)).otherwise(lit(-1_i64))?;
                (LogicalPlan::Filter(Filter::try_new(some, Arc::new(kept))?), weight)
            }
            None => (kept, lit(1_i64)),
        };
        let mut columns = Vec::with_capacity(self.columns.len());
        for (shown, field) in self.columns.iter().zip(view.schema().fields()) {
            let column = match shown {
                Shown::Key(key) => named(key_name(*key)),
                Shown::Measure(number) => self.valued(*number)?,
            };
            columns.push(column.alias(field.name()));
        }
        columns.push(weight.alias(WEIGHT));
        project(columns, alive)
    }

    /// A measure as the view shows it: a sum over no value is NULL.
    fn valued(&self, number: usize) -> Result<Expr, DataFusionError> {
        let measure = &self.measures[number];
        let counted = measure.counted_by(&self.aggregate.input).and_then(|count| self.number_of(&count));
        match counted {
            Some(count) => when(named(measure_name(count)).gt(lit(0_i64)), named(measure_name(number))).end(),
            None => Ok(named(measure_name(number))),
        }
    }

    fn number_of(&self, wanted: &Measure) -> Option<usize> {
        self.measures.iter().position(|measure| measure == wanted)
    }

    /// The type that the view has for a measure.
    fn type_of<'v>(&self, measure: &Measure, view: &'v LogicalPlan) -> &'v DataType {
        let position = self.column_of(measure).unwrap_or_default();
        view.schema().field(position).data_type()
    }

    fn is_float(&self, number: usize, view: &LogicalPlan) -> bool {
        self.type_of(&self.measures[number], view).is_floating()
    }

    /// Keys and measures under their names, the measures in the types that the view has for them.
    fn typed(&self, view: &LogicalPlan, sums: LogicalPlan, goes: bool) -> Result<LogicalPlan, DataFusionError> {
        let of_view = |name: String, number: usize| {
            cast(named(&name), self.type_of(&self.measures[number], view).clone()).alias(name)
        };
        let mut columns = key_columns(self.keys.len());
        columns.extend((0..self.measures.len()).map(|number| of_view(measure_name(number), number)));
        for (number, ..) in self.extremes().filter(|_| goes) {
            columns.push(of_view(went_name(number), number));
            if self.is_float(number, view) {
                columns.push(named(odd_name(number)));
            }
        }
        project(columns, sums)
    }
}

/// Whether a float is a zero, of which there are two, or a NaN, which is above or below everything else.
fn is_odd(value: Expr) -> Expr {
    let value = cast(value, DataType::Float64);
    let zero = value.clone().between(lit(-0.0), lit(0.0));
    let outside = value.clone().lt(lit(f64::NEG_INFINITY)).or(value.gt(lit(f64::INFINITY)));
    zero.or(outside)
}

fn measure_name(number: usize) -> String {
    format!("__measure_{number}")
}

fn went_name(number: usize) -> String {
    format!("__went_{number}")
}

fn odd_name(number: usize) -> String {
    format!("__odd_{number}")
}
