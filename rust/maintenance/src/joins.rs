//! Inner joins: one term for each changed input.
//!
//! ```text
//! changes(R₁ ⋈ … ⋈ Rₙ) = Σᵢ  now(R₁) ⋈ … ⋈ now(Rᵢ₋₁) ⋈ changes(Rᵢ) ⋈ before(Rᵢ₊₁) ⋈ … ⋈ before(Rₙ)
//! ```
//!
//! Old and new contents of every input can be read, so there are `n` terms and not `2ⁿ - 1`, and each has one factor
//! with a weight: the weight of a row of a term is that of its change.
//! A tree of inner joins is taken apart into its inputs and conditions, and each term is put together again from its
//! change outwards along the equalities.  So the few changed rows, or what they lead to, are always the left side, which
//! DataFusion hashes; the rows of an unchanged input are only probed, with a dynamic filter from the hashed keys.
//!
//! Source: Salem et al., "How to roll a join" (SIGMOD 2000); Larson & Zhou, "Efficient maintenance of materialized
//! outer-join views" (ICDE 2007).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::common::{DFSchema, DataFusionError, NullEquality};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, Filter, Join, JoinConstraint, JoinType, LogicalPlan, Operator, binary_expr};

use crate::Reason;
use crate::affected_keys::{Nulls, keys_of, keys_over};
use crate::columns::{all_columns, column_at, named, named_as, project, substitute, sum_of, weight};
use crate::derivation::{Changes, Derivation, cannot_build};
use crate::leaves::Side;
use crate::null_equality::with_plain_keys;
use crate::restriction::Restriction;

/// Whether a join keeps exactly the matching pairs.
pub(crate) fn is_inner(join: &Join) -> bool {
    join.join_type == JoinType::Inner && !join.null_aware
}

/// The changes of a tree of inner joins.
pub(crate) fn changes(plan: &LogicalPlan, derivation: Derivation<'_>) -> Result<Option<Changes>, Reason> {
    let lifted = |error| cannot_build(plan, &error);
    let tree = JoinTree::of(plan).map_err(lifted)?;
    let changed = tree.inputs.iter().map(|input| derivation.changes(input)).collect::<Result<Vec<_>, _>>()?;
    let mut terms = Vec::new();
    let mut insert_only = true;
    for (position, change) in changed.into_iter().enumerate() {
        let Some(change) = change else { continue };
        insert_only &= change.insert_only;
        let asked = tree.inputs.iter().enumerate().any(|(other, input)| other != position && has_state(input));
        let change = if asked { derivation.once(plan, change)? } else { change };
        let term = Term { tree: &tree, position, change, derivation };
        let factors = tree
            .inputs
            .iter()
            .enumerate()
            .map(|(other, input)| match other.cmp(&position) {
                std::cmp::Ordering::Less => term.factor(other, input, Side::Now),
                std::cmp::Ordering::Equal => Ok(term.change.plan.clone()),
                std::cmp::Ordering::Greater => term.factor(other, input, Side::Before),
            })
            .collect::<Result<Vec<_>, _>>()?;
        terms.push(tree.joined(plan, factors, position, Weighted::Yes).map_err(lifted)?);
    }
    if terms.is_empty() {
        return Ok(None);
    }
    Ok(Some(Changes { plan: sum_of(terms, plan.schema()).map_err(lifted)?, insert_only }))
}

/// The term of one changed input.
struct Term<'a> {
    tree: &'a JoinTree<'a>,
    position: usize,
    change: Changes,
    derivation: Derivation<'a>,
}

impl Term<'_> {
    /// Another input at one end of the range: whole if it is only read, else as far as the change's keys ask for it.
    ///
    /// A scan is restricted by the join itself, whose dynamic filter reaches it; what has to be computed is not.
    fn factor(&self, other: usize, input: &LogicalPlan, side: Side) -> Result<LogicalPlan, Reason> {
        if !has_state(input) {
            return self.derivation.at(input, side);
        }
        let lifted = |error| cannot_build(input, &error);
        let (here, there) = self.tree.equalities(self.position, other).map_err(lifted)?;
        if here.is_empty() {
            return self.derivation.at(input, side);
        }
        let keys = keys_of(&self.change, &here, Nulls::Kept).map_err(lifted)?;
        let keys = self.derivation.steps.once(keys).map_err(lifted)?;
        Restriction { derivation: self.derivation, keys: &keys, side }.of(input, &keys_over(there))
    }
}

/// Whether a plan computes more than its rows one by one.
fn has_state(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Aggregate(_) | LogicalPlan::Window(_) => true,
        LogicalPlan::Join(join) => !is_inner(join) || has_state(&join.left) || has_state(&join.right),
        other => other.inputs().into_iter().any(has_state),
    }
}

/// Whether the factor that a product starts from carries a weight.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weighted {
    Yes,
    No,
}

/// A tree of inner joins as its inputs, its conditions and its output columns.
///
/// Each column of an input has a name of its own, `__<input>_<position>`, so that neither the two sides of a self join
/// nor columns that were dropped half way up can be confused.
pub(crate) struct JoinTree<'a> {
    /// What is joined, from left to right.
    pub inputs: Vec<&'a LogicalPlan>,
    conditions: Vec<Condition>,
    /// The output columns as expressions over the named columns of the inputs.
    pub output: Vec<Expr>,
    input_of: BTreeMap<String, usize>,
}

enum Condition {
    Equal { left: Expr, right: Expr, nulls: NullEquality },
    Other(Expr),
}

impl<'a> JoinTree<'a> {
    /// Takes the tree at the top of a plan apart; any other plan is a tree of one input.
    pub fn of(plan: &'a LogicalPlan) -> Result<Self, DataFusionError> {
        let mut tree =
            Self { inputs: Vec::new(), conditions: Vec::new(), output: Vec::new(), input_of: BTreeMap::new() };
        tree.output = tree.take_apart(plan)?;
        Ok(tree)
    }

    /// Adds what is below a plan to the tree and returns the plan's columns over the inputs.
    fn take_apart(&mut self, plan: &'a LogicalPlan) -> Result<Vec<Expr>, DataFusionError> {
        match plan {
            LogicalPlan::Join(join) if is_inner(join) => {
                let left = self.take_apart(&join.left)?;
                let right = self.take_apart(&join.right)?;
                let rewritten = with_plain_keys(join);
                let keys = rewritten.as_ref().unwrap_or(join);
                for (on_left, on_right) in &keys.on {
                    self.conditions.push(Condition::Equal {
                        left: substitute(on_left, join.left.schema(), &left)?,
                        right: substitute(on_right, join.right.schema(), &right)?,
                        nulls: keys.null_equality,
                    });
                }
                let columns: Vec<Expr> = left.into_iter().chain(right).collect();
                if let Some(filter) = &join.filter {
                    self.conditions.push(Condition::Other(substitute(filter, &join.schema, &columns)?));
                }
                Ok(columns)
            }
            LogicalPlan::SubqueryAlias(alias) if has_join_on_top(&alias.input) => self.take_apart(&alias.input),
            LogicalPlan::Filter(filter) if has_join_on_top(&filter.input) => {
                let columns = self.take_apart(&filter.input)?;
                let predicate = substitute(&filter.predicate, filter.input.schema(), &columns)?;
                self.conditions.push(Condition::Other(predicate));
                Ok(columns)
            }
            LogicalPlan::Projection(projection) if has_join_on_top(plan) => {
                let columns = self.take_apart(&projection.input)?;
                let input = projection.input.schema();
                projection
                    .expr
                    .iter()
                    .map(|expression| substitute(&expression.clone().unalias(), input, &columns))
                    .collect()
            }
            input => {
                let number = self.inputs.len();
                self.inputs.push(input);
                let names: Vec<String> =
                    (0..input.schema().fields().len()).map(|position| format!("__{number}_{position}")).collect();
                self.input_of.extend(names.iter().map(|name| (name.clone(), number)));
                Ok(names.into_iter().map(named).collect())
            }
        }
    }

    /// The inputs that an expression over the named columns reads.
    pub fn inputs_of(&self, expression: &Expr) -> BTreeSet<usize> {
        expression.column_refs().into_iter().filter_map(|column| self.input_of.get(&column.name).copied()).collect()
    }

    /// The two sides of the equalities between two inputs and nothing else, each over its input's own columns.
    fn equalities(&self, one: usize, other: usize) -> Result<(Vec<Expr>, Vec<Expr>), DataFusionError> {
        let mut found = (Vec::new(), Vec::new());
        for condition in &self.conditions {
            let Condition::Equal { left, right, .. } = condition else { continue };
            let only = |expression: &Expr, input: usize| {
                let inputs = self.inputs_of(expression);
                inputs.len() == 1 && inputs.contains(&input)
            };
            let (here, there) = if only(left, one) && only(right, other) {
                (left, right)
            } else if only(right, one) && only(left, other) {
                (right, left)
            } else {
                continue;
            };
            found.0.push(self.over_input(here, one)?);
            found.1.push(self.over_input(there, other)?);
        }
        Ok(found)
    }

    /// Rewrites an expression over the columns of one input, as named here, to that input's own names.
    pub fn over_input(&self, expression: &Expr, number: usize) -> Result<Expr, DataFusionError> {
        let schema = self.inputs[number].schema();
        let names = (0..schema.fields().len()).map(|position| (None, format!("__{number}_{position}")));
        let fields = names
            .zip(schema.fields())
            .map(|((qualifier, name), field)| (qualifier, Arc::new(field.as_ref().clone().with_name(name))));
        let schema_of_names = DFSchema::new_with_metadata(fields.collect(), schema.metadata().clone())?;
        substitute(expression, &schema_of_names, &all_columns(schema))
    }

    /// Joins one plan for each input, starting from one of them, under the columns of the original plan.
    ///
    /// A plan has the columns of its input in order; with `Weighted::Yes` the first one has the weight after them, and
    /// so has the result.
    pub fn joined(
        &self,
        original: &LogicalPlan,
        factors: Vec<LogicalPlan>,
        start: usize,
        weighted: Weighted,
    ) -> Result<LogicalPlan, DataFusionError> {
        let mut factors = factors.into_iter().enumerate().map(Some).collect::<Vec<_>>();
        let mut pending: Vec<Pending<'_>> =
            self.conditions.iter().map(|condition| Pending::new(condition, self)).collect();
        let mut reached = BTreeSet::new();
        let mut product: Option<LogicalPlan> = None;
        while let Some(next) = self.next_input(start, &reached, &pending) {
            let Some((_, factor)) = factors.get_mut(next).and_then(Option::take) else {
                break;
            };
            let carries = if next == start { weighted } else { Weighted::No };
            let factor = self.with_names(next, factor, carries)?;
            let alone = taken(&mut pending, |condition| condition.inputs.iter().all(|input| *input == next));
            let factor = filtered(factor, alone.into_iter().map(Pending::into_predicate).collect())?;
            product = Some(match product {
                None => factor,
                Some(left) => {
                    let ready = taken(&mut pending, |condition| {
                        condition.inputs.iter().all(|input| *input == next || reached.contains(input))
                    });
                    join_step(left, factor, ready, &reached, next)?
                }
            });
            reached.insert(next);
        }
        let product = product.ok_or_else(|| DataFusionError::Plan("a join has no inputs".to_owned()))?;
        let mut expressions = named_as(self.output.iter().cloned(), original.schema());
        if weighted == Weighted::Yes {
            expressions.push(weight());
        }
        project(expressions, product)
    }

    /// The first input that an equality ties to those reached; else the first one left, as a cross join.
    fn next_input(&self, start: usize, reached: &BTreeSet<usize>, pending: &[Pending<'_>]) -> Option<usize> {
        if reached.is_empty() {
            return Some(start);
        }
        let mut left = (0..self.inputs.len()).filter(|input| !reached.contains(input));
        left.clone()
            .find(|input| pending.iter().any(|condition| condition.orient(reached, *input).is_some()))
            .or_else(|| left.next())
    }

    /// The plan of an input under the names that are its own in this tree.
    fn with_names(&self, number: usize, plan: LogicalPlan, weighted: Weighted) -> Result<LogicalPlan, DataFusionError> {
        let width = self.inputs[number].schema().fields().len();
        let mut expressions: Vec<Expr> = (0..width)
            .map(|position| column_at(plan.schema(), position).alias(format!("__{number}_{position}")))
            .collect();
        if weighted == Weighted::Yes {
            expressions.push(weight());
        }
        project(expressions, plan)
    }
}

/// A condition that no step of the product has applied yet, and the inputs that it reads.
struct Pending<'a> {
    condition: &'a Condition,
    inputs: BTreeSet<usize>,
    left: BTreeSet<usize>,
    right: BTreeSet<usize>,
}

impl<'a> Pending<'a> {
    fn new(condition: &'a Condition, tree: &JoinTree<'_>) -> Self {
        let (left, right) = match condition {
            Condition::Equal { left, right, .. } => (tree.inputs_of(left), tree.inputs_of(right)),
            Condition::Other(predicate) => (tree.inputs_of(predicate), BTreeSet::new()),
        };
        let inputs = left.union(&right).copied().collect();
        Self { condition, inputs, left, right }
    }

    /// The equality as (over what is reached, over the next input), if it ties the two.
    fn orient(&self, reached: &BTreeSet<usize>, next: usize) -> Option<(&'a Expr, &'a Expr, NullEquality)> {
        let Condition::Equal { left, right, nulls } = self.condition else {
            return None;
        };
        let only_next = |inputs: &BTreeSet<usize>| inputs.len() == 1 && inputs.contains(&next);
        let known = |inputs: &BTreeSet<usize>| !inputs.is_empty() && inputs.is_subset(reached);
        if known(&self.left) && only_next(&self.right) {
            Some((left, right, *nulls))
        } else if known(&self.right) && only_next(&self.left) {
            Some((right, left, *nulls))
        } else {
            None
        }
    }

    fn into_predicate(self) -> Expr {
        match self.condition {
            Condition::Equal { left, right, nulls: NullEquality::NullEqualsNothing } => left.clone().eq(right.clone()),
            Condition::Equal { left, right, nulls: NullEquality::NullEqualsNull } => {
                binary_expr(left.clone(), Operator::IsNotDistinctFrom, right.clone())
            }
            Condition::Other(predicate) => predicate.clone(),
        }
    }
}

/// Joins the next input to the product, with the conditions that can be decided now.
fn join_step(
    left: LogicalPlan,
    right: LogicalPlan,
    ready: Vec<Pending<'_>>,
    reached: &BTreeSet<usize>,
    next: usize,
) -> Result<LogicalPlan, DataFusionError> {
    // A join has one meaning of NULL keys; equalities of the other kind are decided as conditions.
    let null_equality = ready
        .iter()
        .filter_map(|condition| condition.orient(reached, next))
        .map(|(_, _, nulls)| nulls)
        .min_by_key(|nulls| *nulls == NullEquality::NullEqualsNull)
        .unwrap_or(NullEquality::NullEqualsNothing);
    let mut on = Vec::new();
    let mut others = Vec::new();
    for condition in ready {
        match condition.orient(reached, next) {
            Some((known, probed, nulls)) if nulls == null_equality => {
                on.push((known.clone(), probed.clone()));
            }
            _ => others.push(condition.into_predicate()),
        }
    }
    let join = Join::try_new(
        Arc::new(left),
        Arc::new(right),
        on,
        conjunction(others),
        JoinType::Inner,
        JoinConstraint::On,
        null_equality,
        false,
    )?;
    Ok(LogicalPlan::Join(join))
}

fn filtered(plan: LogicalPlan, predicates: Vec<Expr>) -> Result<LogicalPlan, DataFusionError> {
    match conjunction(predicates) {
        Some(predicate) => Filter::try_new(predicate, Arc::new(plan)).map(LogicalPlan::Filter),
        None => Ok(plan),
    }
}

/// Moves the conditions that hold `ready` out of `pending`.
fn taken<'a>(pending: &mut Vec<Pending<'a>>, ready: impl Fn(&Pending<'a>) -> bool) -> Vec<Pending<'a>> {
    let (now, later): (Vec<_>, Vec<_>) = std::mem::take(pending).into_iter().partition(|each| ready(each));
    *pending = later;
    now
}

/// Whether a plan is an inner join below operators that only name, drop and filter its rows.
pub(crate) fn has_join_on_top(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Join(join) => is_inner(join),
        LogicalPlan::SubqueryAlias(alias) => has_join_on_top(&alias.input),
        LogicalPlan::Filter(filter) => has_join_on_top(&filter.input),
        LogicalPlan::Projection(projection) => {
            let is_column = |expression: &Expr| matches!(expression.clone().unalias(), Expr::Column(_));
            projection.expr.iter().all(is_column) && has_join_on_top(&projection.input)
        }
        _ => false,
    }
}
