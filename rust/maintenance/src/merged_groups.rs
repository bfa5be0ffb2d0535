//! Merged groups: a view of counts and sums is kept from its own rows and the changes, and no input is read again.
//!
//! ```text
//! measures(now) = measures(before) + measures(changes)        a change of weight w counts w times
//! changes(view) = rows of the affected groups now - rows of these groups in the target
//! ```
//!
//! It holds for measures that form a group under addition: `count(*)`, `count(x)`, and `sum(x)` of integers and decimals.
//! A sum over no value is NULL, and a group without rows is gone; so a view can be kept in this way if it shows
//! its keys, `count(*)`, and with each sum of a nullable expression the count of the same expression.  Without groups there
//! always is one row, and `count(*)` is needed only beside a sum of what is never NULL.
//!
//! Floats are left out: their sums depend on what was added before.  So are float keys, whose zeros are one group and two
//! values.
//!
//! Source: Gupta, Mumick & Subrahmanian, "Maintaining views incrementally" (SIGMOD 1993), the counting algorithm.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::{DataFusionError, TableReference};
use datafusion::functions_aggregate::expr_fn::sum;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{
    Aggregate, AggregateUDF, Expr, ExprSchemable, Filter, LogicalPlan, LogicalTableSource, TableScanBuilder, cast, lit,
    when,
};

use crate::affected_keys::keys_over;
use crate::columns::{WEIGHT, all_columns, column_at, named, named_unqualified, project, sum_of, weight, weighted};
use crate::consolidate::consolidate;
use crate::derivation::{Derivation, cannot_build, view_weighted};
use crate::linear::no_changes;
use crate::restriction::{group_expressions, key_columns, key_name, semi_joined};
use crate::steps::Steps;
use crate::{ChangePlan, InputShape, Reason};

/// The schema part of the name of the scan of the view's own rows, before the refresh.
pub const TARGET: &str = "target";

/// Something that is added up in each group, over the input of the aggregate.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Measure {
    /// `count(*)`.
    Rows,
    /// `count(x)`.
    Count(Expr),
    /// `sum(x)`, of integers or decimals.
    Sum(Expr),
}

impl Measure {
    /// What an aggregate expression measures, if that can be added up.
    pub fn of(expression: &Expr, input: &LogicalPlan) -> Option<Self> {
        let (function, argument) = plain_aggregate(expression)?;
        match function.name() {
            "count" if !argument.nullable(input.schema()).ok()? => Some(Self::Rows),
            "count" => Some(Self::Count(argument)),
            "sum" => {
                let data_type = argument.get_type(input.schema()).ok()?;
                let added = data_type.is_signed_integer() || matches!(data_type, DataType::Decimal128(..));
                added.then_some(Self::Sum(argument))
            }
            _ => None,
        }
    }

    /// The count that tells whether a sum has a value; none for a count.
    pub fn counted_by(&self, input: &LogicalPlan) -> Option<Self> {
        match self {
            Self::Sum(argument) if argument.nullable(input.schema()).unwrap_or(true) => {
                Some(Self::Count(argument.clone()))
            }
            Self::Sum(_) => Some(Self::Rows),
            Self::Rows | Self::Count(_) => None,
        }
    }

    /// The measure of weighted changes.
    fn of_changes(&self, data_type: &DataType) -> Result<Expr, DataFusionError> {
        Ok(match self {
            Self::Rows => sum(weight()),
            Self::Count(argument) => sum(when(argument.clone().is_not_null(), weight()).otherwise(lit(0_i64))?),
            Self::Sum(argument) => match data_type {
                DataType::Decimal128(..) => sum(argument.clone() * cast(weight(), DataType::Decimal128(20, 0))),
                _ => sum(cast(argument.clone(), DataType::Int64) * weight()),
            },
        })
    }
}

/// The function and the argument of an aggregate of one argument that takes every row once, in whatever order.
pub(crate) fn plain_aggregate(expression: &Expr) -> Option<(Arc<AggregateUDF>, Expr)> {
    let Expr::AggregateFunction(AggregateFunction { func, params }) = expression.clone().unalias_nested().data else {
        return None;
    };
    let plain = !params.distinct && params.filter.is_none() && params.order_by.is_empty();
    let [argument] = <[Expr; 1]>::try_from(params.args).ok()?;
    (plain && params.null_treatment.is_none()).then_some((func, argument))
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
        keys && rows && counts && measures
    }

    /// The position of the view's column that shows a measure.
    fn column_of(&self, wanted: &Measure) -> Option<usize> {
        self.columns.iter().position(|shown| matches!(shown, Shown::Measure(one) if self.measures[*one] == *wanted))
    }

    fn column_of_key(&self, key: usize) -> Option<usize> {
        self.columns.iter().position(|shown| matches!(shown, Shown::Key(position) if *position == key))
    }

    /// The change set of the view.
    pub fn change_plan(&self, view: &LogicalPlan, inputs: &BTreeMap<String, InputShape>) -> Result<ChangePlan, Reason> {
        let steps = Steps::default();
        let changes = Derivation { inputs, steps: &steps }.changes(&self.aggregate.input)?;
        let build = || -> Result<LogicalPlan, DataFusionError> {
            let Some(changes) = changes else {
                return view_weighted(view, no_changes(view)?);
            };
            let delta = steps.once(self.measured(changes.plan, view)?)?;
            let before = steps.once(self.own_rows(view, &delta)?)?;
            let now = self.added(view, &before, delta)?;
            let gone = weighted(before.clone(), lit(-1_i64))?;
            consolidate(sum_of(vec![now, gone], before.schema())?)
        };
        let changes = build().map_err(|error| cannot_build(view, &error))?;
        Ok(ChangePlan::Rows { steps: steps.into_plans(), changes, insert_only: false })
    }

    /// The measures of the changes in each group that they touch: `__key_<number>` and `__measure_<number>`.
    fn measured(&self, changes: LogicalPlan, view: &LogicalPlan) -> Result<LogicalPlan, DataFusionError> {
        let keys = self.keys.iter().enumerate().map(|(number, key)| key.clone().alias(key_name(number))).collect();
        let mut measures = Vec::with_capacity(self.measures.len());
        for (number, measure) in self.measures.iter().enumerate() {
            measures.push(measure.of_changes(self.type_of(measure, view))?.alias(measure_name(number)));
        }
        let sums = LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(changes), keys, measures)?);
        self.typed(view, sums)
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

    /// The view's rows of the touched groups now, with weights: their rows before and the changes, added up.
    ///
    /// A group with fewer rows than none was not what the changes say; its row is taken away, and is not found.
    fn added(
        &self,
        view: &LogicalPlan,
        before: &LogicalPlan,
        delta: LogicalPlan,
    ) -> Result<LogicalPlan, DataFusionError> {
        let keys = (0..self.keys.len())
            .filter_map(|key| Some(column_at(before.schema(), self.column_of_key(key)?).alias(key_name(key))));
        let measures = self.measures.iter().enumerate().filter_map(|(number, measure)| {
            Some(column_at(before.schema(), self.column_of(measure)?).alias(measure_name(number)))
        });
        let parts = vec![Arc::new(project(keys.chain(measures).collect(), before.clone())?), Arc::new(delta)];
        let both = LogicalPlan::Union(datafusion::logical_expr::Union::try_new(parts)?);
        let sums = (0..self.measures.len()).map(|number| sum(named(measure_name(number))).alias(measure_name(number)));
        let keys = key_columns(self.keys.len());
        let sums = LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(both), keys, sums.collect())?);
        let sums = self.typed(view, sums)?;
        let rows = self.number_of(&Measure::Rows).filter(|_| !self.keys.is_empty()).map(measure_name);
        let (alive, weight) = match rows {
            Some(rows) => {
                let some = named(&rows).not_eq(lit(0_i64));
                let weight = when(named(&rows).gt(lit(0_i64)), lit(1_i64)).otherwise(lit(-1_i64))?;
                (LogicalPlan::Filter(Filter::try_new(some, Arc::new(sums))?), weight)
            }
            None => (sums, lit(1_i64)),
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

    /// Keys and measures under their names, the measures in the types that the view has for them.
    fn typed(&self, view: &LogicalPlan, sums: LogicalPlan) -> Result<LogicalPlan, DataFusionError> {
        let measures = self.measures.iter().enumerate().map(|(number, measure)| {
            cast(named(measure_name(number)), self.type_of(measure, view).clone()).alias(measure_name(number))
        });
        project(key_columns(self.keys.len()).into_iter().chain(measures).collect(), sums)
    }
}

fn measure_name(number: usize) -> String {
    format!("__measure_{number}")
}
