//! How the changes of a view are computed: its change plan, optimized once for each shape of its inputs' changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::catalog::{MemTable, TableProvider};
use datafusion::common::TableReference;
use datafusion::datasource::provider_as_source;
use datafusion::error::Result;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use maintenance::{ChangePlan, InputShape, LEAF_WEIGHT, Reason, STEPS, TARGET};

use crate::binding::{LeafNeeds, Side, leaf_needs};
use crate::error::EngineError;
use crate::execution::{Collected, Execution};
use crate::templates::{Tables, Template};

/// Schema part of the name of the scan of affected keys.
const KEYS: &str = "keys";

/// The change plan of a view.
pub(crate) struct CompiledChanges {
    /// What the change sets have to hold, by side and relation.
    pub needs: BTreeMap<(Side, String), LeafNeeds>,
    /// What is computed before `first`, in this order.
    pub steps: Vec<Template>,
    /// The change set of the view, or the keys of the groups that may have changed.
    pub first: Template,
    /// Whether the change set has inserts only.
    pub insert_only: bool,
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
    /// `tables` has the kinds of tables that the plans will be bound to, the change sets among them; `before` has the
    /// time of the content that is there, for a plan that asks for it.
    pub fn compile(
        execution: &Execution,
        before: Option<&Execution>,
        plan: &LogicalPlan,
        shapes: &BTreeMap<String, InputShape>,
        tables: Tables<'_>,
    ) -> Result<Result<Self, Reason>> {
        let (steps, first, insert_only, key_columns) = match maintenance::change_plan(plan, shapes) {
            Ok(ChangePlan::Rows { steps, changes, insert_only }) => (steps, changes, insert_only, None),
            Ok(ChangePlan::Groups { steps, keys, key_columns, .. }) => (steps, keys, false, Some(key_columns)),
            Err(reason) => return Ok(Err(reason)),
        };
        let at_that_time = |plan| match before {
            Some(before) => maintenance::with_clock_before(plan, |function| before.moment(function)),
            None => Ok(plan),
        };
        let steps = steps.into_iter().map(at_that_time).collect::<Result<Vec<_>>>()?;
        let first = at_that_time(first)?;
        let optimized =
            steps.iter().chain([&first]).map(|plan| execution.optimize(plan)).collect::<Result<Vec<_>>>()?;
        let needs = leaf_needs(&optimized)?;
        let mut held = Held::over(without_rows(plan)?);
        let mut templates = Vec::with_capacity(steps.len());
        for step in steps {
            let template = held.template(execution, step, tables)?;
            held.steps.push(without_rows(template.optimized())?);
            templates.push(template);
        }
        let first = held.template(execution, first, tables)?;
        let groups = match key_columns {
            Some(key_columns) => {
                let keys = without_rows(first.optimized())?;
                let name = TableReference::partial(KEYS, "affected");
                let scan = LogicalPlanBuilder::scan(name, provider_as_source(Arc::clone(&keys)), None)?.build()?;
                let rows = maintenance::group_rows(plan, shapes, &scan)
                    .map_err(|reason| EngineError::defect("change plan", reason.message()))?;
                let rows = at_that_time(rows)?;
                held.keys = Some(keys);
                Some(AffectedGroups { key_columns, rows: held.template(execution, rows, tables)? })
            }
            None => None,
        };
        Ok(Ok(Self { needs, steps: templates, first, insert_only, groups }))
    }
}

/// What was computed on the way to a change set, and is scanned by later plans.
#[derive(Default)]
pub(crate) struct Held {
    /// The view's own rows before.
    target: Option<Arc<dyn TableProvider>>,
    steps: Vec<Arc<dyn TableProvider>>,
    /// The keys of the affected groups.
    keys: Option<Arc<dyn TableProvider>>,
    /// The claims on memory of the rows of the steps.
    claims: Vec<Collected>,
}

impl Held {
    /// Nothing yet but the view's own rows.
    pub fn over(target: Arc<dyn TableProvider>) -> Self {
        Self { target: Some(target), ..Self::default() }
    }

    /// The keys of affected groups, for the rows of these groups.
    pub fn of_keys(keys: Arc<dyn TableProvider>) -> Self {
        Self { keys: Some(keys), ..Self::default() }
    }

    /// Add the rows of the next step.
    pub fn push(&mut self, table: Arc<dyn TableProvider>, rows: Collected) {
        self.steps.push(table);
        self.claims.push(rows);
    }

    /// The table of a scan that reads no relation.
    pub fn table(&self, name: &TableReference) -> Result<Arc<dyn TableProvider>> {
        let found = match name.schema() {
            Some(TARGET) => self.target.as_ref(),
            Some(KEYS) => self.keys.as_ref(),
            Some(STEPS) => name.table().parse::<usize>().ok().and_then(|number| self.steps.get(number)),
            _ => None,
        };
        found
            .map(Arc::clone)
            .ok_or_else(|| EngineError::defect("change plan", format!("\"{name}\" is not there")).into())
    }

    fn template(&self, execution: &Execution, plan: LogicalPlan, tables: Tables<'_>) -> Result<Template> {
        Template::new(execution, plan, &|name| if Side::of(name).is_some() { tables(name) } else { self.table(name) })
    }
}

/// A table for the rows of a plan, without any.
fn without_rows(plan: &LogicalPlan) -> Result<Arc<dyn TableProvider>> {
    Ok(Arc::new(MemTable::try_new(Arc::new(plan.schema().as_arrow().clone()), vec![vec![]])?))
}

/// A change set without rows, of all columns of a relation.
pub(crate) fn empty_change_set(schema: &Schema) -> Result<Arc<dyn TableProvider>> {
    let typed = lake::view_typed(schema);
    let weight = Arc::new(Field::new(LEAF_WEIGHT, DataType::Int64, true));
    let schema = Arc::new(Schema::new(typed.fields().iter().cloned().chain([weight]).collect::<Vec<_>>()));
    Ok(Arc::new(MemTable::try_new(schema, vec![vec![]])?))
}
