//! Leaves: the scans of an input before, now, and of its changes.
//!
//! Invariant: a scan that was re-based has the same qualified columns as the scan in the view's plan, so that every
//! operator above it stays valid as it is.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DataFusionError, TableReference};
use datafusion::datasource::cte_worktable::CteWorkTable;
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{
    Expr, Filter, LogicalPlan, LogicalTableSource, TableScan, TableScanBuilder, TableSource,
};

use crate::analyze::operator_name;
use crate::columns::{LEAF_WEIGHT, WEIGHT, project};
use crate::null_equality::with_plain_keys;
use crate::{InputShape, Reason, temporal};

/// Which content of an input a scan reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// The content at the start of the range.
    Before,
    /// The content at the end of the range.
    Now,
    /// The change set of the range: the input's columns and the weight.
    Changes,
}

impl Side {
    /// Every side.
    pub const ALL: [Side; 3] = [Side::Before, Side::Now, Side::Changes];

    /// The schema part of the names of scans of this side.
    pub fn name(self) -> &'static str {
        match self {
            Side::Before => "before",
            Side::Now => "now",
            Side::Changes => "changes",
        }
    }

    /// The name of the scan of a relation on this side.
    pub fn of(self, relation: &str) -> TableReference {
        TableReference::partial(self.name(), relation)
    }
}

/// The shape of the input that a scan reads.
///
/// Errors: a table that is not among the inputs (a table function, say) has no known versions.
pub(crate) fn shape_of(scan: &TableScan, inputs: &BTreeMap<String, InputShape>) -> Result<InputShape, Reason> {
    inputs
        .get(scan.table_name.table())
        .copied()
        .ok_or_else(|| Reason::OperatorNotIncremental(operator_name(&LogicalPlan::TableScan(scan.clone()))))
}

/// The plan over the contents of all inputs on one side, before or now: what a recompute or an audit runs.
///
/// The leaves are scans as in a change plan, also inside sub-queries, so that one way of binding them serves both.
pub fn over(plan: &LogicalPlan, side: Side) -> Result<LogicalPlan, DataFusionError> {
    if side == Side::Changes {
        return Err(DataFusionError::Plan("the changes of a view are not its query over changes".to_owned()));
    }
    rebased(plan, side, &BTreeMap::new())
}

/// Whether a scan reads what a table function gives, which has no versions: the planner names it `function()`.
pub(crate) fn is_table_function(scan: &TableScan) -> bool {
    scan.table_name.table().ends_with("()")
}

/// Whether a scan reads what a recursive query has found so far, which is no relation.
pub fn is_work_table(scan: &TableScan) -> bool {
    source_as_provider(&scan.source).is_ok_and(|provider| provider.is::<CteWorkTable>())
}

/// The plan with every scan bound to one side; unchanged inputs are read as they are now.
pub(crate) fn rebased(
    plan: &LogicalPlan,
    side: Side,
    inputs: &BTreeMap<String, InputShape>,
) -> Result<LogicalPlan, DataFusionError> {
    plan.clone()
        .transform_up_with_subqueries(|node| match &node {
            LogicalPlan::TableScan(scan) if !is_table_function(scan) && !is_work_table(scan) => {
                let unchanged = inputs.get(scan.table_name.table()).is_some_and(|shape| !shape.changed);
                rebased_scan(scan, if unchanged { Side::Now } else { side }).map(Transformed::yes)
            }
            LogicalPlan::Filter(filter) if side == Side::Before && temporal::is_temporal(&node) => {
                Ok(Transformed::yes(LogicalPlan::Filter(temporal::before(filter)?)))
            }
            LogicalPlan::Join(join) => match with_plain_keys(join) {
                Some(rewritten) => Ok(Transformed::yes(LogicalPlan::Join(rewritten))),
                None => Ok(Transformed::no(node)),
            },
            _ => Ok(Transformed::no(node)),
        })
        .map(|transformed| transformed.data)
}

/// A scan of one side, with the pushed filters and columns of the original as operators of their own.
///
/// A source may answer a pushed filter exactly, partly or not at all; the source that is bound later need not answer
/// as the one that the plan was optimized with did.
pub(crate) fn rebased_scan(scan: &TableScan, side: Side) -> Result<LogicalPlan, DataFusionError> {
    let relation = side.of(scan.table_name.table());
    let source = match side {
        Side::Before | Side::Now => Arc::clone(&scan.source),
        Side::Changes => with_weight(&scan.source.schema()),
    };
    let mut plan = LogicalPlan::TableScan(TableScanBuilder::new(relation.clone(), source).build()?);
    let filters = scan.filters.iter().map(|filter| requalified(filter, &relation)).collect::<Result<Vec<_>, _>>()?;
    if let Some(predicate) = conjunction(filters) {
        plan = LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(plan))?);
    }
    let mut expressions: Vec<Expr> = scan
        .projected_schema
        .iter()
        .map(|(qualifier, field)| {
            Expr::Column(Column::new(Some(relation.clone()), field.name()))
                .alias_qualified(qualifier.cloned(), field.name())
        })
        .collect();
    if side == Side::Changes {
        expressions.push(Expr::Column(Column::new(Some(relation), LEAF_WEIGHT)).alias(WEIGHT));
    }
    project(expressions, plan)
}

/// A source that stands for the change set of a relation until it is bound.
fn with_weight(schema: &Schema) -> Arc<dyn TableSource> {
    let mut fields = schema.fields().to_vec();
    fields.push(Arc::new(Field::new(LEAF_WEIGHT, DataType::Int64, false)));
    Arc::new(LogicalTableSource::new(Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))))
}

/// An expression over the columns of a relation, whatever they were qualified by.
pub(crate) fn requalified(expression: &Expr, relation: &TableReference) -> Result<Expr, DataFusionError> {
    expression
        .clone()
        .transform_up(|node| match node {
            Expr::Column(column) => {
                Ok(Transformed::yes(Expr::Column(Column::new(Some(relation.clone()), column.name))))
            }
            other => Ok(Transformed::no(other)),
        })
        .map(|transformed| transformed.data)
}
