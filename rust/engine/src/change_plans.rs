//! How the changes of a view are computed: its change plan, optimized once for each shape of its inputs' changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::catalog::{MemTable, TableProvider};
use datafusion::common::TableReference;
use datafusion::datasource::provider_as_source;
use datafusion::error::Result;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use maintenance::{ChangePlan, InputShape, LEAF_WEIGHT, Reason};

use crate::binding::{LeafNeeds, Side, leaf_needs};
use crate::error::EngineError;
use crate::execution::Execution;
use crate::templates::{Tables, Template};

/// Schema part of the name of the scan of affected keys.
pub(crate) const KEYS: &str = "keys";

/// The change plan of a view.
pub(crate) struct CompiledChanges {
    /// What the change sets have to hold, by side and relation.
    pub needs: BTreeMap<(Side, String), LeafNeeds>,
    /// The change set of the view, or the keys of the groups that may have changed.
    pub first: Template,
    /// What the affected groups hold now; none where `first` is the change set itself.
    pub groups: Option<AffectedGroups>,
}

/// The second step of a view with groups.
pub(crate) struct AffectedGroups {
    /// The positions of the group keys among the view's columns.
    pub key_columns: Vec<usize>,
    /// The rows of the affected groups now, over the keys that `first` gave.
    pub rows: Template,
}

impl CompiledChanges {
    /// Derive and optimize the changes of a view's plan, or say why they cannot be derived.
    ///
    /// `tables` has the kinds of tables that the plans will be bound to, the change sets among them.
    pub fn compile(
        execution: &Execution,
        plan: &LogicalPlan,
        shapes: &BTreeMap<String, InputShape>,
        tables: Tables<'_>,
    ) -> Result<Result<Self, Reason>> {
        let (first, key_columns) = match maintenance::change_plan(plan, shapes) {
            Ok(ChangePlan::Rows { changes }) => (changes, None),
            Ok(ChangePlan::Groups { keys, key_columns, .. }) => (keys, Some(key_columns)),
            Err(reason) => return Ok(Err(reason)),
        };
        let needs = leaf_needs(&execution.optimize(&first)?)?;
        let first = Template::new(execution, first, tables)?;
        let groups = match key_columns {
            Some(key_columns) => {
                let keys = Arc::new(first.optimized().schema().as_arrow().clone());
                let keys: Arc<dyn TableProvider> = Arc::new(MemTable::try_new(keys, vec![vec![]])?);
                let name = TableReference::partial(KEYS, "affected");
                let scan = LogicalPlanBuilder::scan(name, provider_as_source(Arc::clone(&keys)), None)?.build()?;
                let rows = maintenance::group_rows(plan, shapes, &scan)
                    .map_err(|reason| EngineError::defect("change plan", reason.message()))?;
                let rows = Template::new(execution, rows, &|name| {
                    if name.schema() == Some(KEYS) { Ok(Arc::clone(&keys)) } else { tables(name) }
                })?;
                Some(AffectedGroups { key_columns, rows })
            }
            None => None,
        };
        Ok(Ok(Self { needs, first, groups }))
    }
}

/// A change set without rows, of all columns of a relation.
pub(crate) fn empty_change_set(schema: &Schema) -> Result<Arc<dyn TableProvider>> {
    let typed = lake::view_typed(schema);
    let weight = Arc::new(Field::new(LEAF_WEIGHT, DataType::Int64, true));
    let schema = Arc::new(Schema::new(typed.fields().iter().cloned().chain([weight]).collect::<Vec<_>>()));
    Ok(Arc::new(MemTable::try_new(schema, vec![vec![]])?))
}
