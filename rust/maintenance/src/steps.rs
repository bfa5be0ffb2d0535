//! Steps: plans that run before the plan of changes, because what they give is needed in several places of it.
//!
//! A rule that compares an operator before and now restricts both by the keys that changed.  Written in place, those keys
//! would be computed once for each restriction, and with every stateful operator below once more for each of these.  A
//! step is computed once; later plans scan its rows as `steps.<number>`, in the order in which the steps are listed.

use std::cell::RefCell;
use std::sync::Arc;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, TableReference};
use datafusion::logical_expr::{LogicalPlan, LogicalTableSource, TableScanBuilder};

use crate::columns::{all_columns, named_as, numbered};

/// The schema part of the names of scans of steps.
pub const STEPS: &str = "steps";

/// The steps that a derivation needs so far.
#[derive(Default)]
pub(crate) struct Steps {
    plans: RefCell<Vec<LogicalPlan>>,
}

impl Steps {
    /// The rows of a plan, computed once however often the result is used; a plan that only reads stays as it is.
    pub fn once(&self, plan: LogicalPlan) -> Result<LogicalPlan, DataFusionError> {
        if only_reads(&plan) {
            return Ok(plan);
        }
        let schema = Arc::clone(plan.schema());
        let step = Arc::unwrap_or_clone(numbered(plan)?);
        let name = TableReference::partial(STEPS, self.plans.borrow().len().to_string());
        let source = Arc::new(LogicalTableSource::new(Arc::clone(step.schema().inner())));
        let scan = LogicalPlan::TableScan(TableScanBuilder::new(name, source).build()?);
        self.plans.borrow_mut().push(step);
        crate::columns::project(named_as(all_columns(scan.schema()), &schema), scan)
    }

    /// The steps in the order in which they run.
    pub fn into_plans(self) -> Vec<LogicalPlan> {
        self.plans.into_inner()
    }
}

/// Whether a plan does nothing but read, drop and compute columns: cheap enough to be written twice.
fn only_reads(plan: &LogicalPlan) -> bool {
    let mut reads = true;
    let visited = plan.apply(|node| {
        reads &= match node {
            LogicalPlan::TableScan(scan) => {
                matches!(scan.table_name.schema(), Some(schema) if schema == STEPS || schema == crate::Side::Changes.name())
            }
            LogicalPlan::Projection(_) | LogicalPlan::Filter(_) | LogicalPlan::EmptyRelation(_) => true,
            _ => false,
        };
        Ok(if reads { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    });
    visited.is_ok() && reads
}
