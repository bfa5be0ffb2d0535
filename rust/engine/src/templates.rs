//! Templates: optimized plans over tables without rows, which are bound to the tables of one refresh after another.
//!
//! Equation: a template bound to tables is the plan that optimizing it over these tables gives.  A template is used only
//! where the tables have the columns that it reads and answer its filters as those did that it was optimized over;
//! everything else is optimized afresh.

use std::sync::Arc;

use datafusion::arrow::datatypes::Field;
use datafusion::catalog::{MemTable, TableProvider};
use datafusion::common::TableReference;
use datafusion::common::tree_node::Transformed;
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, LogicalPlan, TableScan, TableScanBuilder};
use lake::PinnedTable;
use maintenance::is_work_table;

use crate::binding::bind;
use crate::execution::Execution;

/// Gives the table that a leaf reads.
pub type Tables<'a> = &'a dyn Fn(&TableReference) -> Result<Arc<dyn TableProvider>>;

/// A plan that is optimized once and bound often.
#[derive(Clone, Debug)]
pub struct Template {
    unbound: LogicalPlan,
    optimized: LogicalPlan,
}

impl Template {
    /// Optimize a plan over tables of the kinds that it will be bound to.
    pub fn new(execution: &Execution, unbound: LogicalPlan, tables: Tables<'_>) -> Result<Self> {
        let optimized = without_rows(execution.optimize(&bind(unbound.clone(), tables)?)?)?;
        Ok(Self { unbound, optimized })
    }

    /// The optimized plan, over tables without rows.
    pub fn optimized(&self) -> &LogicalPlan {
        &self.optimized
    }

    /// The optimized plan over `tables`.
    pub fn bound(&self, execution: &Execution, tables: Tables<'_>) -> Result<LogicalPlan> {
        match rebound(&self.optimized, tables)? {
            Some(plan) => Ok(plan),
            None => execution.optimize(&bind(self.unbound.clone(), tables)?),
        }
    }
}

/// The plan over other tables; none where it might have been optimized otherwise over them.
fn rebound(plan: &LogicalPlan, tables: Tables<'_>) -> Result<Option<LogicalPlan>> {
    let mut fits = true;
    let bound = plan.clone().transform_up_with_subqueries(|node| {
        let LogicalPlan::TableScan(scan) = node else { return Ok(Transformed::no(node)) };
        if is_work_table(&scan) {
            return Ok(Transformed::no(LogicalPlan::TableScan(scan)));
        }
        if let Some(rebound) = rebound_scan(&scan, &tables(&scan.table_name)?)? {
            return Ok(Transformed::yes(LogicalPlan::TableScan(rebound)));
        }
        fits = false;
        Ok(Transformed::no(LogicalPlan::TableScan(scan)))
    })?;
    Ok(fits.then_some(bound.data))
}

fn rebound_scan(scan: &TableScan, table: &Arc<dyn TableProvider>) -> Result<Option<TableScan>> {
    let source = provider_as_source(Arc::clone(table));
    let (old, new) = (scan.source.schema(), source.schema());
    let position = |wanted: &Field| {
        let index = new.index_of(wanted.name()).ok()?;
        let found = new.field(index);
        let fits = found.data_type() == wanted.data_type() && (wanted.is_nullable() || !found.is_nullable());
        fits.then_some(index)
    };
    let projection: Option<Vec<usize>> =
        scan.projected_schema.fields().iter().map(|field| position(field.as_ref())).collect();
    let filters: Vec<&Expr> = scan.filters.iter().collect();
    let filtered = filters
        .iter()
        .flat_map(|filter| filter.column_refs())
        .all(|column| old.field_with_name(&column.name).is_ok_and(|field| position(field).is_some()));
    let Some(projection) = projection.filter(|_| filtered) else { return Ok(None) };
    if source.supports_filters_pushdown(&filters)? != scan.source.supports_filters_pushdown(&filters)? {
        return Ok(None);
    }
    TableScanBuilder::new(scan.table_name.clone(), source)
        .with_projection(Some(projection))
        .with_filters(scan.filters.clone())
        .with_fetch(scan.fetch)
        .with_statistics_requests(scan.statistics_requests.clone())
        .build()
        .map(Some)
}

/// The plan over tables of the same kinds without rows, so that keeping it keeps neither rows nor lists of files.
fn without_rows(plan: LogicalPlan) -> Result<LogicalPlan> {
    let emptied = plan.transform_up_with_subqueries(|node| {
        let LogicalPlan::TableScan(mut scan) = node else { return Ok(Transformed::no(node)) };
        let table = source_as_provider(&scan.source)?;
        let empty: Arc<dyn TableProvider> = if let Some(pinned) = table.downcast_ref::<PinnedTable>() {
            Arc::new(pinned.without_files())
        } else if table.is::<MemTable>() {
            Arc::new(MemTable::try_new(table.schema(), vec![vec![]])?)
        } else {
            return Ok(Transformed::no(LogicalPlan::TableScan(scan)));
        };
        scan.source = provider_as_source(empty);
        Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
    })?;
    Ok(emptied.data)
}
