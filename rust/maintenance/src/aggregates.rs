//! Grouped aggregates: the groups that a change touches are computed afresh.
//!
//! ```text
//! keys  = distinct group keys of changes(input of the aggregate), consolidated
//! view(now) = view(before) ▷ keys  +  view over now, with the input of the aggregate ⋉ keys
//! ```
//!
//! It holds for any aggregate function, since no state of a group is kept.  A group whose key is in no effective change
//! has the same rows before and now, and so the same aggregates.  Aggregates may be stacked (`count(DISTINCT …)` is
//! planned so) as long as the keys of the upper one are among the keys of the lower one: then a change touches just the
//! groups that its key belongs to, all the way up.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::common::DataFusionError;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan};

use crate::columns::{all_columns, named, project, without_rows};
use crate::consolidate::consolidate;
use crate::derivation::{Derivation, cannot_build, view_rows};
use crate::restriction::{Key, Restriction, below, group_expressions, key_name, with_input};
use crate::{ChangePlan, InputShape, Reason};

/// A view with a grouped aggregate, and below it nothing but what keys can be pushed through.
pub(crate) struct Grouped<'a> {
    /// The positions of the group keys among the view's columns.
    pub key_columns: Vec<usize>,
    /// The lowest plan whose changes say which groups are affected.
    base: &'a LogicalPlan,
    /// The group keys over the columns of `base`.
    base_keys: Vec<Key>,
}

/// The grouped aggregate at the top of a view, below projections and conditions only; `None` if there is none.
///
/// Errors: the reason why its groups cannot be recomputed by key.
pub(crate) fn grouped(view: &LogicalPlan) -> Result<Option<Grouped<'_>>, Reason> {
    let mut plan = view;
    // For each column of `plan`, where the view shows it unchanged.
    let mut shown_at: Vec<Option<usize>> = (0..view.schema().fields().len()).map(Some).collect();
    let aggregate = loop {
        match plan {
            LogicalPlan::Projection(projection) => {
                shown_at = shown_below(&projection.expr, &projection.input, &shown_at);
                plan = &projection.input;
            }
            LogicalPlan::Filter(filter) => plan = &filter.input,
            LogicalPlan::SubqueryAlias(alias) => plan = &alias.input,
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => plan = &sort.input,
            LogicalPlan::Repartition(repartition) => plan = &repartition.input,
            LogicalPlan::Aggregate(aggregate) => break aggregate,
            _ => return Ok(None),
        }
    };
    let expressions = group_expressions(aggregate).ok_or(Reason::AggregateWithoutGroups)?;
    let mut key_columns = Vec::with_capacity(expressions.len());
    for (number, expression) in expressions.iter().enumerate() {
        match shown_at.get(number).copied().flatten() {
            Some(position) => key_columns.push(position),
            None => return Err(Reason::GroupKeysNotInOutput(expression.to_string())),
        }
    }
    let mut base_keys: Vec<Key> =
        expressions.into_iter().enumerate().map(|(number, expression)| Key { expression, number }).collect();
    let mut base: &LogicalPlan = &aggregate.input;
    while stacked(base).is_some() {
        match below(base, &base_keys) {
            Some((input, keys)) => (base, base_keys) = (input, keys),
            None => {
                return Err(Reason::OperatorNotIncremental(crate::analyze::operator_name(base)));
            }
        }
    }
    Ok(Some(Grouped { key_columns, base, base_keys }))
}

/// The next aggregate below a plan, through operators with one input that keys can be pushed through.
pub(crate) fn stacked(plan: &LogicalPlan) -> Option<&Aggregate> {
    match plan {
        LogicalPlan::Aggregate(aggregate) => Some(aggregate),
        LogicalPlan::Projection(projection) => stacked(&projection.input),
        LogicalPlan::Filter(filter) => stacked(&filter.input),
        LogicalPlan::SubqueryAlias(alias) => stacked(&alias.input),
        LogicalPlan::Sort(sort) if sort.fetch.is_none() => stacked(&sort.input),
        LogicalPlan::Repartition(repartition) => stacked(&repartition.input),
        _ => None,
    }
}

impl Grouped<'_> {
    /// The affected keys and the rows of their groups now.
    pub fn change_plan(&self, view: &LogicalPlan, inputs: &BTreeMap<String, InputShape>) -> Result<ChangePlan, Reason> {
        let keys = self.keys(view, Derivation { inputs })?;
        let new_rows = new_rows(view, inputs, &keys)?;
        Ok(ChangePlan::Groups { keys, key_columns: self.key_columns.clone(), new_rows })
    }

    fn keys(&self, view: &LogicalPlan, derivation: Derivation<'_>) -> Result<LogicalPlan, Reason> {
        let changes = derivation.changes(self.base)?;
        let build = || -> Result<LogicalPlan, DataFusionError> {
            let rows = match changes {
                None => without_rows(self.base),
                Some(changes) if changes.insert_only => changes.plan,
                // Changes that cancel out touch no group.
                Some(changes) => consolidate(changes.plan)?,
            };
            let expressions =
                self.base_keys.iter().map(|key| key.expression.clone().alias(key_name(key.number))).collect();
            let keys = project(expressions, rows)?;
            let columns = (0..self.base_keys.len()).map(|number| named(key_name(number)));
            let distinct = LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(keys), columns.collect(), Vec::new())?);
            let fields = view.schema().fields();
            let names = self.key_columns.iter().map(|position| fields[*position].name());
            let shown = all_columns(distinct.schema()).into_iter().zip(names);
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
    let restriction = Restriction { derivation: Derivation { inputs }, keys: &keys };
    view_rows(view, restricted(view, &restriction)?).map_err(lifted)
}

/// The view's plan with the input of the aggregate restricted to the keys.
fn restricted(plan: &LogicalPlan, restriction: &Restriction<'_>) -> Result<LogicalPlan, Reason> {
    let input = match plan {
        LogicalPlan::Aggregate(aggregate) => {
            let keys: Vec<Key> = group_expressions(aggregate)
                .ok_or(Reason::AggregateWithoutGroups)?
                .into_iter()
                .enumerate()
                .map(|(number, expression)| Key { expression, number })
                .collect();
            restriction.of(&aggregate.input, &keys)?
        }
        _ => match plan.inputs().first() {
            Some(input) => restricted(input, restriction)?,
            None => return Err(crate::analyze::refusal(plan)),
        },
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
