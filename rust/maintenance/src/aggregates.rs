//! Groups: the groups that a change touches are computed afresh.
//!
//! ```text
//! keys  = distinct group keys of changes(input of the aggregate), consolidated
//! view(now) = view(before) ▷ keys  +  view over now, with the input of the aggregate ⋉ keys
//! ```
//!
//! It holds for any aggregate function, since no state of a group is kept.  A group whose key is in no effective change
//! has the same rows before and now, and so the same aggregates.  The old rows of the groups are those of the target, so
//! nothing is computed for the content before.
//!
//! The same holds for window functions and their partitions.  Groups and partitions may be stacked (`count(DISTINCT …)`
//! is planned so): as long as the keys of the upper operator are among those of the lower one, a change touches just the
//! groups that its key belongs to, all the way up.
//!
//! This is the rule for a view that *is* groups and shows their keys.  An aggregate anywhere else is compared before and
//! now ([`crate::affected_keys`]).

use std::collections::BTreeMap;

use datafusion::common::DataFusionError;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan};

use crate::affected_keys::{Nulls, compared, compared_as_a_whole, keys_of, keys_over};
use crate::analyze::refusal;
use crate::columns::{all_columns, project, without_rows};
use crate::derivation::{Changes, Derivation, cannot_build, view_rows};
use crate::leaves::Side;
use crate::restriction::{Key, Restriction, below, group_expressions, key_columns, key_name, with_input};
use crate::steps::Steps;
use crate::windows::partition_keys;
use crate::{ChangePlan, InputShape, Reason};

/// The changes of an aggregate below other operators.
pub(crate) fn changes(
    plan: &LogicalPlan,
    aggregate: &Aggregate,
    derivation: Derivation<'_>,
) -> Result<Option<Changes>, Reason> {
    let Some(input) = derivation.changes(&aggregate.input)? else { return Ok(None) };
    match group_expressions(aggregate) {
        Some(keys) => compared(plan, &aggregate.input, &input, &keys, &keys, derivation).map(Some),
        None if aggregate.group_expr.is_empty() => compared_as_a_whole(plan, derivation).map(Some),
        None => Err(refusal(plan)),
    }
}

/// A view of groups, and below them nothing but what keys can be pushed through.
pub(crate) struct Grouped<'a> {
    /// The positions of the group keys among the view's columns.
    pub key_columns: Vec<usize>,
    /// The lowest plan whose changes say which groups are affected.
    base: &'a LogicalPlan,
    /// The group keys over the columns of `base`.
    base_keys: Vec<Expr>,
}

/// The groups at the top of a view, below projections and conditions only; `None` if the view is something else or does
/// not show every key.
pub(crate) fn grouped(view: &LogicalPlan) -> Option<Grouped<'_>> {
    let mut plan = view;
    // For each column of `plan`, where the view shows it unchanged.
    let mut shown_at: Vec<Option<usize>> = (0..view.schema().fields().len()).map(Some).collect();
    let expressions = loop {
        match plan {
            LogicalPlan::Projection(projection) => {
                shown_at = shown_below(&projection.expr, &projection.input, &shown_at);
                plan = &projection.input;
            }
            LogicalPlan::Filter(filter) => plan = &filter.input,
            LogicalPlan::SubqueryAlias(alias) => plan = &alias.input,
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => plan = &sort.input,
            LogicalPlan::Repartition(repartition) => plan = &repartition.input,
            _ => break keys_kept(plan)?,
        }
    };
    let mut key_columns = Vec::with_capacity(expressions.len());
    for (number, expression) in expressions.iter().enumerate() {
        let position = match plan {
            LogicalPlan::Aggregate(_) => number,
            // The columns of its input come first among those of a window operator.
            _ => plan.schema().maybe_index_of_column(expression.try_as_col()?)?,
        };
        key_columns.push(shown_at.get(position).copied().flatten()?);
    }
    let (base, base_keys) = below_stack(plan.inputs().first()?, keys_over(expressions));
    Some(Grouped { key_columns, base, base_keys })
}

/// What lies below a stack of groups and partitions that keep rows with these keys together, and the keys over it.
///
/// A change below the stack stays within its keys on every level of it, so no level has to be looked at by itself.
pub(crate) fn below_stack(plan: &LogicalPlan, keys: Vec<Key>) -> (&LogicalPlan, Vec<Expr>) {
    let (mut base, mut base_keys) = (plan, keys);
    while stacked(base)
        && let Some((input, keys)) = below(base, &base_keys)
    {
        (base, base_keys) = (input, keys);
    }
    (base, base_keys.into_iter().map(|key| key.expression).collect())
}

/// The expressions over its input by which an operator keeps rows together.
fn keys_kept(plan: &LogicalPlan) -> Option<Vec<Expr>> {
    match plan {
        LogicalPlan::Aggregate(aggregate) => group_expressions(aggregate),
        LogicalPlan::Window(window) => Some(partition_keys(window)).filter(|keys| !keys.is_empty()),
        _ => None,
    }
}

/// Whether there are groups or partitions further down, through operators with one input that keys can be pushed through.
fn stacked(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Aggregate(_) | LogicalPlan::Window(_) => true,
        LogicalPlan::Projection(projection) => stacked(&projection.input),
        LogicalPlan::Filter(filter) => stacked(&filter.input),
        LogicalPlan::SubqueryAlias(alias) => stacked(&alias.input),
        LogicalPlan::Sort(sort) if sort.fetch.is_none() => stacked(&sort.input),
        LogicalPlan::Repartition(repartition) => stacked(&repartition.input),
        _ => false,
    }
}

impl Grouped<'_> {
    /// The affected keys and the rows of their groups now.
    pub fn change_plan(&self, view: &LogicalPlan, inputs: &BTreeMap<String, InputShape>) -> Result<ChangePlan, Reason> {
        let steps = Steps::default();
        let keys = self.keys(view, Derivation { inputs, steps: &steps })?;
        let new_rows = new_rows(view, inputs, &keys)?;
        let key_columns = self.key_columns.clone();
        Ok(ChangePlan::Groups { steps: steps.into_plans(), keys, key_columns, new_rows })
    }

    fn keys(&self, view: &LogicalPlan, derivation: Derivation<'_>) -> Result<LogicalPlan, Reason> {
        let changes = derivation.changes(self.base)?;
        let build = || -> Result<LogicalPlan, DataFusionError> {
            let changes = changes.unwrap_or_else(|| Changes { plan: without_rows(self.base), insert_only: true });
            let distinct = keys_of(&changes, &self.base_keys, Nulls::Kept)?;
            let fields = view.schema().fields();
            let names = self.key_columns.iter().map(|position| fields[*position].name());
            let shown = key_columns(self.base_keys.len()).into_iter().zip(names);
            project(shown.map(|(column, name)| column.alias(name)).collect(), distinct)
        };
        build().map_err(|error| cannot_build(view, &error))
    }
}

/// The view's rows of the groups with the given keys now.
pub(crate) fn new_rows(
    view: &LogicalPlan,
    inputs: &BTreeMap<String, InputShape>,
    keys: &LogicalPlan,
) -> Result<LogicalPlan, Reason> {
    let lifted = |error| cannot_build(view, &error);
    let numbered = all_columns(keys.schema())
        .into_iter()
        .enumerate()
        .map(|(number, column)| column.alias(key_name(number)))
        .collect();
    let keys = project(numbered, keys.clone()).map_err(lifted)?;
    // Rows now need no steps: those are for changes.
    let steps = Steps::default();
    let restriction = Restriction { derivation: Derivation { inputs, steps: &steps }, keys: &keys, side: Side::Now };
    view_rows(view, restricted(view, &restriction)?).map_err(lifted)
}

/// The view's plan with the input of its groups restricted to the keys.
fn restricted(plan: &LogicalPlan, restriction: &Restriction<'_>) -> Result<LogicalPlan, Reason> {
    let input = *plan.inputs().first().ok_or_else(|| refusal(plan))?;
    let input = match keys_kept(plan) {
        Some(keys) => restriction.of(input, &keys_over(keys))?,
        None => restricted(input, restriction)?,
    };
    with_input(plan, input).map_err(|error| cannot_build(plan, &error))
}

/// For each column of the input, where the view shows it, given where it shows the columns of the projection.
fn shown_below(expressions: &[Expr], input: &LogicalPlan, shown_at: &[Option<usize>]) -> Vec<Option<usize>> {
    let mut below = vec![None; input.schema().fields().len()];
    for (expression, shown) in expressions.iter().zip(shown_at) {
        if let (Expr::Column(column), Some(position)) = (expression.clone().unalias(), shown)
            && let Some(index) = input.schema().maybe_index_of_column(&column)
        {
            below[index].get_or_insert(*position);
        }
    }
    below
}
