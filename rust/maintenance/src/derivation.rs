//! The recursion: the changes of an operator from the changes of its inputs.
//!
//! Invariant: the plan of changes has the qualified columns of the operator, in order, and the weight last, unqualified.

use std::collections::BTreeMap;

use datafusion::common::DataFusionError;
use datafusion::logical_expr::LogicalPlan;

use crate::analyze::{operator_name, refusal};
use crate::columns::{all_columns, named_unqualified, project, weight};
use crate::consolidate::consolidate;
use crate::leaves::{Side, rebased, rebased_scan, shape_of};
use crate::steps::Steps;
use crate::{ChangePlan, InputShape, Reason, aggregates, joins, linear, outer_joins, temporal, windows};

/// The change set of one operator.
pub(crate) struct Changes {
    /// The operator's columns and the weight.
    pub plan: LogicalPlan,
    /// Whether all weights are positive.
    pub insert_only: bool,
}

/// The rules, and the inputs that they are applied for.
#[derive(Clone, Copy)]
pub(crate) struct Derivation<'a> {
    pub inputs: &'a BTreeMap<String, InputShape>,
    pub steps: &'a Steps,
}

impl Derivation<'_> {
    /// The changes of a plan; `None` if it reads unchanged inputs only, and no clock.
    pub fn changes(self, plan: &LogicalPlan) -> Result<Option<Changes>, Reason> {
        let lifted = |error| cannot_build(plan, &error);
        match plan {
            LogicalPlan::TableScan(scan) => {
                let shape = shape_of(scan, self.inputs)?;
                if !shape.changed {
                    return Ok(None);
                }
                let plan = rebased_scan(scan, Side::Changes).map_err(lifted)?;
                Ok(Some(Changes { plan, insert_only: shape.insert_only }))
            }
            LogicalPlan::EmptyRelation(_) | LogicalPlan::Values(_) => Ok(None),
            LogicalPlan::Projection(projection) => {
                let input = self.changes(&projection.input)?;
                input.map(|input| linear::projection(projection, input)).transpose().map_err(lifted)
            }
            LogicalPlan::Filter(filter) if temporal::is_temporal(plan) => temporal::changes(plan, filter, self),
            LogicalPlan::Filter(filter) => {
                let input = self.changes(&filter.input)?;
                input.map(|input| linear::filter(filter, input)).transpose().map_err(lifted)
            }
            LogicalPlan::SubqueryAlias(alias) => {
                let input = self.changes(&alias.input)?;
                input.map(|input| linear::alias(alias, input)).transpose().map_err(lifted)
            }
            LogicalPlan::Unnest(unnest) => {
                let input = self.changes(&unnest.input)?;
                input.map(|input| linear::unnest(unnest, input)).transpose().map_err(lifted)
            }
            LogicalPlan::Union(union) => {
                let mut inputs = Vec::new();
                for input in &union.inputs {
                    if let Some(changes) = self.changes(input)? {
                        inputs.push((input.as_ref(), changes));
                    }
                }
                linear::union(union, inputs).map_err(lifted)
            }
            // A view is a bag: neither an order nor a partitioning is part of its content.
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => self.changes(&sort.input),
            LogicalPlan::Repartition(repartition) => self.changes(&repartition.input),
            LogicalPlan::Join(join) if joins::is_inner(join) => joins::changes(plan, self),
            LogicalPlan::Join(join) => match outer_joins::kept(join) {
                Some(kept) => outer_joins::changes(plan, join, kept, self),
                None => Err(refusal(plan)),
            },
            LogicalPlan::Aggregate(aggregate) => aggregates::changes(plan, aggregate, self),
            LogicalPlan::Window(window) => windows::changes(plan, window, self),
            other => Err(refusal(other)),
        }
    }

    /// Changes that are computed once, however often they are used.
    pub fn once(self, plan: &LogicalPlan, changes: Changes) -> Result<Changes, Reason> {
        let insert_only = changes.insert_only;
        let plan = self.steps.once(changes.plan).map_err(|error| cannot_build(plan, &error))?;
        Ok(Changes { plan, insert_only })
    }

    /// The plan over the inputs before or now.
    pub fn at(self, plan: &LogicalPlan, side: Side) -> Result<LogicalPlan, Reason> {
        rebased(plan, side, self.inputs).map_err(|error| cannot_build(plan, &error))
    }
}

/// The change set of a view: its columns without qualifiers, and the weight.
pub(crate) fn view_changes(plan: &LogicalPlan, inputs: &BTreeMap<String, InputShape>) -> Result<ChangePlan, Reason> {
    let steps = Steps::default();
    let changes = Derivation { inputs, steps: &steps }.changes(plan)?;
    let build = || {
        let (input, insert_only) = match changes {
            Some(changes) => (changes.plan, changes.insert_only),
            None => (linear::no_changes(plan)?, true),
        };
        let rows = view_weighted(plan, input)?;
        let changes = if insert_only { rows } else { consolidate(rows)? };
        Ok((changes, insert_only))
    };
    let (changes, insert_only) = build().map_err(|error| cannot_build(plan, &error))?;
    Ok(ChangePlan::Rows { steps: steps.into_plans(), changes, insert_only })
}

/// The view's columns without qualifiers, and the weight.
pub(crate) fn view_weighted(plan: &LogicalPlan, changes: LogicalPlan) -> Result<LogicalPlan, DataFusionError> {
    let mut expressions = named_unqualified(all_columns(plan.schema()), plan.schema());
    expressions.push(weight());
    project(expressions, changes)
}

/// The view's columns without qualifiers.
pub(crate) fn view_rows(plan: &LogicalPlan, rows: LogicalPlan) -> Result<LogicalPlan, DataFusionError> {
    project(named_unqualified(all_columns(plan.schema()), plan.schema()), rows)
}

/// The reason for a plan that DataFusion does not let us build: recomputing is always right.
pub(crate) fn cannot_build(plan: &LogicalPlan, error: &DataFusionError) -> Reason {
    Reason::OperatorNotIncremental(format!("{} ({})", operator_name(plan), error.strip_backtrace()))
}
