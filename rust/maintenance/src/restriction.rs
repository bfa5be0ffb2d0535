//! Restriction: a plan over the inputs at one end of the range, of which only the rows with given keys are wanted.
//!
//! ```text
//! restricted(plan, keys) = now(plan) ⋉ keys  or  before(plan) ⋉ keys        keys are compared null-safe
//! ```
//!
//! The semi-join is moved down as far as it commutes with the operators: through projections, filters, unions, onto the
//! inputs of joins that a key is computed from, and below a grouping or partitioning by the keys.  There the keys are the hashed
//! side, so their dynamic filter reaches the scan, and everything joined to it is probed from what is left.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::common::{Column, DataFusionError, NullEquality};
use datafusion::logical_expr::{Aggregate, Expr, Join, JoinConstraint, JoinType, LogicalPlan};

use crate::columns::{all_columns, named, project, substitute};
use crate::derivation::{Derivation, cannot_build};
use crate::joins::{JoinTree, Weighted, has_join_on_top};
use crate::leaves::Side;
use crate::outer_joins::{self, Kept};
use crate::windows::partition_keys;
use crate::{Reason, temporal};

/// One key: an expression over the plan that is restricted, and its column among the keys.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub expression: Expr,
    pub number: usize,
}

/// The wanted keys, a plan with the columns [`key_name`]`(0)`, `(1)`, …
pub(crate) struct Restriction<'a> {
    pub derivation: Derivation<'a>,
    pub keys: &'a LogicalPlan,
    /// Before or now.
    pub side: Side,
}

/// The name of a key's column.
pub(crate) fn key_name(number: usize) -> String {
    format!("__key_{number}")
}

/// The columns of so many keys, in order.
pub(crate) fn key_columns(count: usize) -> Vec<Expr> {
    (0..count).map(|number| named(key_name(number))).collect()
}

impl Restriction<'_> {
    /// The rows of a plan whose keys are among the wanted ones, with the plan's own columns.
    pub fn of(&self, plan: &LogicalPlan, keys: &[Key]) -> Result<LogicalPlan, Reason> {
        let lifted = |error| cannot_build(plan, &error);
        if has_join_on_top(plan) {
            return self.of_join(plan, keys);
        }
        match plan {
            LogicalPlan::Join(join) => self.of_outer_join(plan, join, keys),
            LogicalPlan::Union(union) => {
                let mut inputs = Vec::with_capacity(union.inputs.len());
                for input in &union.inputs {
                    let columns = all_columns(input.schema());
                    let below = rewritten(keys, |key| substitute(key, &union.schema, &columns)).map_err(lifted)?;
                    inputs.push(Arc::new(self.of(input, &below)?));
                }
                let mut restricted = union.clone();
                restricted.inputs = inputs;
                Ok(LogicalPlan::Union(restricted))
            }
            LogicalPlan::Filter(filter) if self.side == Side::Before && temporal::is_temporal(plan) => {
                let rows = LogicalPlan::Filter(temporal::before(filter).map_err(lifted)?);
                with_input(&rows, self.of(&filter.input, keys)?).map_err(lifted)
            }
            _ => match below(plan, keys) {
                Some((input, below)) => with_input(plan, self.of(input, &below)?).map_err(lifted),
                None => self.semi_joined(self.derivation.at(plan, self.side)?, keys).map_err(lifted),
            },
        }
    }

    /// Restricts those inputs of a tree of inner joins that whole keys come from, and starts from the most restricted.
    fn of_join(&self, plan: &LogicalPlan, keys: &[Key]) -> Result<LogicalPlan, Reason> {
        let lifted = |error| cannot_build(plan, &error);
        let tree = JoinTree::of(plan).map_err(lifted)?;
        let mut by_input: BTreeMap<usize, Vec<Key>> = BTreeMap::new();
        for key in keys {
            let expression = substitute(&key.expression, plan.schema(), &tree.output).map_err(lifted)?;
            let mut inputs = tree.inputs_of(&expression).into_iter();
            if let (Some(input), None) = (inputs.next(), inputs.next()) {
                let expression = tree.over_input(&expression, input).map_err(lifted)?;
                by_input.entry(input).or_default().push(Key { expression, number: key.number });
            }
        }
        let mut factors = Vec::with_capacity(tree.inputs.len());
        for (number, input) in tree.inputs.iter().enumerate() {
            factors.push(match by_input.get(&number) {
                Some(keys) => self.of(input, keys)?,
                None => self.derivation.at(input, self.side)?,
            });
        }
        let start = (0..tree.inputs.len())
            .min_by_key(|number| Reverse(by_input.get(number).map_or(0, Vec::len)))
            .unwrap_or_default();
        let decided = by_input.get(&start).is_some_and(|found| found.len() == keys.len());
        let joined = tree.joined(plan, factors, start, Weighted::No).map_err(lifted)?;
        // Each key was met by itself; only the join has whole keys.
        if decided { Ok(joined) } else { self.semi_joined(joined, keys).map_err(lifted) }
    }

    /// Restricts the side that a join keeps by the keys that come from it, and the other side where join keys say so.
    fn of_outer_join(&self, plan: &LogicalPlan, join: &Join, keys: &[Key]) -> Result<LogicalPlan, Reason> {
        let lifted = |error| cannot_build(plan, &error);
        let (kept, left_is_kept) = match outer_joins::kept(join) {
            Some(Kept::Left) => (&join.left, true),
            Some(Kept::Right) => (&join.right, false),
            Some(Kept::Both) | None => {
                return self.semi_joined(self.derivation.at(plan, self.side)?, keys).map_err(lifted);
            }
        };
        let of_kept = |expression: &Expr| {
            let columns = expression.column_refs();
            !columns.is_empty() && columns.iter().all(|column| kept.schema().has_column(column))
        };
        let own: Vec<Key> = keys.iter().filter(|key| of_kept(&key.expression)).cloned().collect();
        if own.is_empty() {
            return self.semi_joined(self.derivation.at(plan, self.side)?, keys).map_err(lifted);
        }
        // A row that can only meet rows that are not wanted need not be looked into.
        let across: Vec<Key> = join
            .on
            .iter()
            .map(|(left, right)| if left_is_kept { (left, right) } else { (right, left) })
            .flat_map(|(here, there)| {
                let met = own.iter().filter(move |key| key.expression == *here);
                met.map(|key| Key { expression: there.clone(), number: key.number })
            })
            .collect();
        let looked = if left_is_kept { &join.right } else { &join.left };
        let looked = if across.is_empty() || join.null_aware {
            self.derivation.at(looked, self.side)?
        } else {
            self.of(looked, &across)?
        };
        let restricted = self.of(kept, &own)?;
        let (left, right) = if left_is_kept { (restricted, looked) } else { (looked, restricted) };
        let joined = outer_joins::over(join, left, right).map_err(lifted)?;
        if own.len() == keys.len() { Ok(joined) } else { self.semi_joined(joined, keys).map_err(lifted) }
    }

    fn semi_joined(&self, plan: LogicalPlan, keys: &[Key]) -> Result<LogicalPlan, DataFusionError> {
        semi_joined(self.keys, plan, keys)
    }
}

/// The rows of a plan whose keys are among the wanted ones.
///
/// The keys are the hashed side, so that their dynamic filter reaches the scans of the plan.
pub(crate) fn semi_joined(
    wanted: &LogicalPlan,
    plan: LogicalPlan,
    keys: &[Key],
) -> Result<LogicalPlan, DataFusionError> {
    let columns = keys.iter().map(|key| named(key_name(key.number))).collect();
    let wanted = project(columns, wanted.clone())?;
    let on = keys.iter().map(|key| (named(key_name(key.number)), key.expression.clone())).collect();
    let join = Join::try_new(
        Arc::new(wanted),
        Arc::new(plan),
        on,
        None,
        JoinType::RightSemi,
        JoinConstraint::On,
        NullEquality::NullEqualsNull,
        false,
    )?;
    Ok(LogicalPlan::Join(join))
}

/// The input of an operator that a restriction commutes with, and the keys over that input.
pub(crate) fn below<'a>(plan: &'a LogicalPlan, keys: &[Key]) -> Option<(&'a LogicalPlan, Vec<Key>)> {
    match plan {
        LogicalPlan::Projection(projection) => {
            let by: Vec<Expr> = projection.expr.iter().map(|expression| expression.clone().unalias()).collect();
            let keys = rewritten(keys, |key| substitute(key, &projection.schema, &by)).ok()?;
            Some((&projection.input, keys))
        }
        LogicalPlan::Filter(filter) => Some((&filter.input, keys.to_vec())),
        LogicalPlan::SubqueryAlias(alias) => {
            let by = all_columns(alias.input.schema());
            let keys = rewritten(keys, |key| substitute(key, &alias.schema, &by)).ok()?;
            Some((&alias.input, keys))
        }
        LogicalPlan::Sort(sort) if sort.fetch.is_none() => Some((&sort.input, keys.to_vec())),
        LogicalPlan::Repartition(repartition) => Some((&repartition.input, keys.to_vec())),
        // Whole groups are kept or dropped, so it makes no difference whether that happens before they are formed.
        LogicalPlan::Aggregate(aggregate) => {
            let by = group_expressions(aggregate)?;
            let keys = rewritten(keys, |key| substitute(key, &aggregate.schema, &by)).ok()?;
            Some((&aggregate.input, keys))
        }
        LogicalPlan::Unnest(unnest) => {
            let whole =
                |column: &&Column| unnest.input.schema().has_column(column) && !unnest.exec_columns.contains(column);
            let known = keys.iter().all(|key| key.expression.column_refs().iter().all(whole));
            known.then(|| (unnest.input.as_ref(), keys.to_vec()))
        }
        // A partition is kept or dropped as a whole.
        LogicalPlan::Window(window) => {
            let partitions = partition_keys(window);
            let known = keys.iter().all(|key| partitions.contains(&key.expression));
            known.then(|| (window.input.as_ref(), keys.to_vec()))
        }
        _ => None,
    }
}

/// The group keys of an aggregate, unless it has none or forms several groupings at once.
pub(crate) fn group_expressions(aggregate: &Aggregate) -> Option<Vec<Expr>> {
    let keys = &aggregate.group_expr;
    let plain = keys.iter().all(|key| !matches!(key, Expr::GroupingSet(_)));
    (plain && !keys.is_empty()).then(|| keys.iter().map(|key| key.clone().unalias()).collect())
}

/// An operator with one input, over another input of the same columns.
pub(crate) fn with_input(plan: &LogicalPlan, input: LogicalPlan) -> Result<LogicalPlan, DataFusionError> {
    plan.with_new_exprs(plan.expressions(), vec![input])
}

fn rewritten(
    keys: &[Key],
    rewrite: impl Fn(&Expr) -> Result<Expr, DataFusionError>,
) -> Result<Vec<Key>, DataFusionError> {
    keys.iter().map(|key| rewrite(&key.expression).map(|expression| Key { expression, number: key.number })).collect()
}
