//! Binding: the leaves of a plan become pinned scans.
//!
//! A leaf is a `TableScan` whose source knows only a schema.  Binding gives it the rows of a version, or a change
//! set, under the same name and with the same columns; everything above it stays as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DataFusionError, ScalarValue, TableReference};
use datafusion::datasource::provider_as_source;
use datafusion::error::Result;
use datafusion::logical_expr::utils::{conjunction, disjunction, split_conjunction};
use datafusion::logical_expr::{Expr, Filter, LogicalPlan, LogicalPlanBuilder, TableScan, TableScanBuilder, cast, lit};

use maintenance::{LEAF_WEIGHT, is_work_table};

use crate::error::EngineError;

/// Which content of a relation a leaf reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The version that the view's content reflects.
    Before,
    /// The version of this refresh.
    Now,
    /// The rows between the two, with weights.
    Changes,
}

impl Side {
    /// Its name in plans and scan units.
    pub fn name(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::Now => "now",
            Self::Changes => "changes",
        }
    }

    /// Relation and side that a leaf's table name stands for; a bare name means the version of this refresh.
    ///
    /// None for what was computed on the way ([`crate::change_plans::Held`]).
    pub fn of(name: &TableReference) -> Option<(Self, &str)> {
        let side = match name.schema() {
            Some("before") => Self::Before,
            Some("changes") => Self::Changes,
            None | Some("now") => Self::Now,
            Some(_) => return None,
        };
        Some((side, name.table()))
    }
}

/// What the leaves of one relation and side ask of it, all leaves together.
#[derive(Clone, Debug, Default)]
pub struct LeafNeeds {
    /// Columns that are read.
    pub columns: BTreeSet<String>,
    /// A predicate that every row that counts satisfies, over unqualified columns; none where a leaf wants all rows.
    pub filter: Option<Expr>,
    filters: Vec<Option<Expr>>,
}

impl LeafNeeds {
    /// The columns that are the relation's own: a change set has its weight beside them.
    pub fn own_columns(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(String::as_str).filter(|name| *name != LEAF_WEIGHT)
    }
}

/// Visit each leaf of an optimized plan with the predicate that the optimizer left directly above it.
pub fn visit_leaves(plan: &LogicalPlan, mut visit: impl FnMut(&TableScan, Option<&Expr>) -> Result<()>) -> Result<()> {
    plan.apply_with_subqueries(|node| {
        match node {
            LogicalPlan::Filter(Filter { predicate, input, .. }) => {
                if let LogicalPlan::TableScan(scan) = input.as_ref()
                    && !is_work_table(scan)
                {
                    visit(scan, Some(predicate))?;
                    return Ok(TreeNodeRecursion::Jump);
                }
            }
            LogicalPlan::TableScan(scan) if !is_work_table(scan) => visit(scan, None)?,
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

/// What optimized plans read from each relation and side, all of them together.
///
/// The predicates are those that the optimizer pushed into a leaf or left directly above it.
pub fn leaf_needs(plans: &[LogicalPlan]) -> Result<BTreeMap<(Side, String), LeafNeeds>> {
    let mut needs = BTreeMap::<(Side, String), LeafNeeds>::new();
    let mut note = |scan: &TableScan, above: Option<&Expr>| {
        let Some((side, relation)) = Side::of(&scan.table_name) else { return Ok(()) };
        let entry = needs.entry((side, relation.to_owned())).or_default();
        entry.columns.extend(scan.projected_schema.fields().iter().map(|field| field.name().clone()));
        for filter in &scan.filters {
            entry.columns.extend(filter.column_refs().into_iter().map(|column| column.name.clone()));
        }
        // A predicate over weights is about changes after they are added up, not about rows of the relation.
        let predicates = scan
            .filters
            .iter()
            .chain(above)
            .flat_map(split_conjunction)
            .filter(|predicate| !predicate.column_refs().iter().any(|column| column.name == LEAF_WEIGHT))
            .map(unqualified)
            .collect::<Result<Vec<_>, _>>()?;
        entry.filters.push(conjunction(predicates));
        Ok(())
    };
    for plan in plans {
        visit_leaves(plan, &mut note)?;
    }
    for need in needs.values_mut() {
        let all = std::mem::take(&mut need.filters);
        need.filter = all.into_iter().collect::<Option<Vec<_>>>().and_then(disjunction);
    }
    Ok(needs)
}

/// Give every leaf the rows that `provider` has for it.
pub fn bind(
    plan: LogicalPlan,
    provider: &dyn Fn(&TableReference) -> Result<Arc<dyn TableProvider>>,
) -> Result<LogicalPlan> {
    let bound = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::TableScan(scan) if !is_work_table(&scan) => {
            leaf(&scan, &provider(&scan.table_name)?).map(Transformed::yes)
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(bound.data)
}

/// The leaf over a provider: its columns by name, missing ones NULL, its predicates as an explicit filter above.
fn leaf(scan: &TableScan, provider: &Arc<dyn TableProvider>) -> Result<LogicalPlan> {
    let relation = scan.table_name.table();
    let schema = provider.schema();
    let wanted = scan.projected_schema.fields();
    let mut filter_columns: Vec<String> = scan
        .filters
        .iter()
        .flat_map(|filter| filter.column_refs().into_iter().map(|column| column.name.clone()).collect::<Vec<_>>())
        .filter(|name| !wanted.iter().any(|field| field.name() == name))
        .collect();
    filter_columns.sort();
    filter_columns.dedup();
    let declared = scan.source.schema();
    let fields: Vec<_> = wanted
        .iter()
        .map(|field| Ok(Arc::clone(field)))
        .chain(filter_columns.iter().map(|name| {
            declared
                .fields()
                .iter()
                .find(|field| field.name() == name)
                .cloned()
                .ok_or_else(|| schema_changed(relation, format!("column \"{name}\" is gone")))
        }))
        .collect::<Result<_>>()?;
    let present: Vec<usize> = fields.iter().filter_map(|field| schema.index_of(field.name()).ok()).collect();
    let rebound = TableScanBuilder::new(scan.table_name.clone(), provider_as_source(Arc::clone(provider)))
        .with_projection(Some(present))
        .build()?;
    let exact = fields
        .iter()
        .all(|field| schema.field_with_name(field.name()).is_ok_and(|found| found.data_type() == field.data_type()));
    let mut builder = LogicalPlanBuilder::from(LogicalPlan::TableScan(rebound));
    if !exact {
        let columns = fields
            .iter()
            .map(|field| {
                let column = Column::new(Some(scan.table_name.clone()), field.name());
                match schema.field_with_name(field.name()) {
                    Ok(found) if found.data_type() == field.data_type() => Ok(Expr::Column(column)),
                    Ok(_) => Ok(cast(Expr::Column(column), field.data_type().clone())
                        .alias_qualified(Some(scan.table_name.clone()), field.name())),
                    Err(_) if field.is_nullable() => Ok(lit(ScalarValue::try_from(field.data_type())?)
                        .alias_qualified(Some(scan.table_name.clone()), field.name())),
                    Err(_) => Err(schema_changed(
                        relation,
                        format!("column \"{}\" is gone and may not be NULL", field.name()),
                    )),
                }
            })
            .collect::<Result<Vec<_>>>()?;
        builder = builder.project(columns)?;
    }
    if let Some(predicate) = conjunction(scan.filters.clone()) {
        builder = builder.filter(predicate)?;
    }
    if !filter_columns.is_empty() {
        builder = builder.project(
            wanted.iter().map(|field| Expr::Column(Column::new(Some(scan.table_name.clone()), field.name()))),
        )?;
    }
    builder.build()
}

fn schema_changed(relation: &str, detail: String) -> DataFusionError {
    EngineError::SchemaChanged { relation: relation.to_owned(), detail }.into()
}

/// The same expression over columns without a qualifier.
pub fn unqualified(expr: &Expr) -> Result<Expr> {
    Ok(expr
        .clone()
        .transform(|node| {
            Ok(match node {
                Expr::Column(column) => Transformed::yes(Expr::Column(Column::new_unqualified(column.name))),
                other => Transformed::no(other),
            })
        })?
        .data)
}
