//! Planning a view, binding the scans of plans to tables in memory, and running them.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, new_empty_array};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, TableProviderFilterPushDown, TableSource, lit};
use datafusion::optimizer::{Analyzer, Optimizer, OptimizerContext};
use datafusion::prelude::{SessionConfig, SessionContext};

use super::lake::{History, RELATIONS, Row, schema_of};
use crate::{LEAF_WEIGHT, STEPS, Side, TARGET, with_clock_before};

/// A source that exists for the planner only, and claims to answer every filter exactly.
#[derive(Debug)]
struct PlannedTable {
    schema: SchemaRef,
}

impl TableSource for PlannedTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>, DataFusionError> {
        Ok(vec![TableProviderFilterPushDown::Exact; filters.len()])
    }
}

/// Plans a view as the engine does: optimized, over sources without rows.
pub(super) async fn planned(sql: &str) -> LogicalPlan {
    let context = context();
    for relation in RELATIONS {
        context.register_table(relation, memory(&schema_of(relation), &[])).unwrap();
    }
    let state = context.state();
    let plan = state.create_logical_plan(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    let plan = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::TableScan(mut scan) => {
            scan.source = Arc::new(PlannedTable { schema: scan.source.schema() });
            Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
        }
        other => Ok(Transformed::no(other)),
    });
    // As at compile: the clock must not be folded into the plan.
    let rules = OptimizerContext::new().without_query_execution_start_time();
    let plan = Analyzer::new().execute_and_check(plan.unwrap().data, state.config_options(), |_, _| {});
    let plan = plan.and_then(|plan| Optimizer::new().optimize(plan, &rules, |_, _| {}));
    plan.unwrap_or_else(|error| panic!("{sql}: {error}"))
}

fn context() -> SessionContext {
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2));
    functions::install(&mut context.state_ref().write(), &functions::PlatformOptions::default()).unwrap();
    context
}

/// The plan with its scans bound to tables.
pub(super) fn bound(plan: &LogicalPlan, tables: &dyn Fn(Option<&str>, &str) -> Arc<MemTable>) -> LogicalPlan {
    plan.clone()
        .transform_up_with_subqueries(|node| match &node {
            LogicalPlan::TableScan(scan) => {
                let table = tables(scan.table_name.schema(), scan.table_name.table());
                let mut bound = LogicalPlanBuilder::scan(scan.table_name.clone(), provider_as_source(table), None)?;
                for filter in &scan.filters {
                    bound = bound.filter(filter.clone())?;
                }
                if let Some(projection) = &scan.projection {
                    bound = bound.select(projection.iter().copied())?;
                }
                let bound = bound.build()?;
                Ok(Transformed::yes(bound))
            }
            _ => Ok(Transformed::no(node)),
        })
        .unwrap()
        .data
}

pub(super) fn memory(schema: &SchemaRef, rows: &[Row]) -> Arc<MemTable> {
    let columns: Vec<ArrayRef> = schema
        .fields()
        .iter()
        .enumerate()
        .map(|(position, field)| {
            if rows.is_empty() {
                new_empty_array(field.data_type())
            } else {
                ScalarValue::iter_to_array(rows.iter().map(|row| row[position].clone())).unwrap()
            }
        })
        .collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    let batch = RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options).unwrap();
    Arc::new(MemTable::try_new(Arc::clone(schema), vec![vec![batch]]).unwrap())
}

pub(super) fn side_of(history: &History, side: Side, relation: &str) -> Arc<MemTable> {
    let table = &history[relation];
    let schema = schema_of(relation);
    match side {
        Side::Before => memory(&schema, &table.before),
        Side::Now => memory(&schema, &table.now),
        Side::Changes => {
            let mut fields = schema.fields().to_vec();
            fields.push(Arc::new(Field::new(LEAF_WEIGHT, DataType::Int64, false)));
            let rows: Vec<Row> = table
                .changes
                .iter()
                .map(|(row, weight)| row.iter().cloned().chain([ScalarValue::Int64(Some(*weight))]).collect())
                .collect();
            memory(&Arc::new(Schema::new(fields)), &rows)
        }
    }
}

/// The time of the content before, and that of the refresh, in seconds; the integers of the lake are around them.
const CLOCKS: (i64, i64) = (1, 3);

/// The plan with the time of a side in the place of the clock.
fn at_time(plan: LogicalPlan, side: Side) -> LogicalPlan {
    let moment =
        |seconds: i64| lit(ScalarValue::TimestampNanosecond(Some(seconds * 1_000_000_000), Some("+00:00".into())));
    let now = moment(if side == Side::Before { CLOCKS.0 } else { CLOCKS.1 });
    let plan = with_clock_before(plan, |function| {
        assert_eq!(function, "now");
        Ok(moment(CLOCKS.0))
    });
    plan.unwrap()
        .transform_up_with_subqueries(|node| {
            node.map_expressions(|expression| {
                expression.transform_up(|part| match &part {
                    Expr::ScalarFunction(call) if call.func.name() == "now" => Ok(Transformed::yes(now.clone())),
                    _ => Ok(Transformed::no(part)),
                })
            })
        })
        .unwrap()
        .data
}

/// Runs a plan at the time of the refresh.
pub(super) async fn run(plan: LogicalPlan) -> Result<Vec<Row>, DataFusionError> {
    run_in(&context(), at_time(plan, Side::Now)).await
}

async fn run_in(context: &SessionContext, plan: LogicalPlan) -> Result<Vec<Row>, DataFusionError> {
    let batches = context.execute_logical_plan(plan).await?.collect().await?;
    let mut rows = Vec::new();
    for batch in batches {
        for index in 0..batch.num_rows() {
            let row = batch.columns().iter().map(|column| ScalarValue::try_from_array(column, index));
            rows.push(row.collect::<Result<Row, _>>()?);
        }
    }
    Ok(rows)
}

/// The tables that derived plans scan: the sides of a history, and the rows of steps.
pub(super) struct Tables<'a> {
    history: &'a History,
    /// The view's own rows before.
    target: Option<Arc<MemTable>>,
    steps: Vec<Arc<MemTable>>,
}

impl<'a> Tables<'a> {
    pub fn new(history: &'a History) -> Self {
        Self { history, target: None, steps: Vec::new() }
    }

    /// With the view's own rows before.
    pub fn over_target(history: &'a History, schema: &SchemaRef, rows: &[Row]) -> Self {
        Self { target: Some(memory(schema, rows)), ..Self::new(history) }
    }

    /// Runs steps in their order.
    pub async fn with_steps(mut self, steps: &[LogicalPlan]) -> Self {
        for step in steps {
            let rows = self.run(step).await;
            self.steps.push(memory(step.schema().inner(), &rows));
        }
        self
    }

    pub async fn run(&self, plan: &LogicalPlan) -> Vec<Row> {
        let plan = bound(plan, &|schema, relation| {
            if schema == Some(STEPS) {
                return Arc::clone(&self.steps[relation.parse::<usize>().unwrap()]);
            }
            if schema == Some(TARGET) {
                return Arc::clone(self.target.as_ref().expect("the view's own rows"));
            }
            let side = Side::ALL.into_iter().find(|side| Some(side.name()) == schema);
            side_of(self.history, side.expect("a scan names its side"), relation)
        });
        let shown = plan.display_indent().to_string();
        run(plan).await.unwrap_or_else(|error| panic!("{error}\n{shown}"))
    }
}

/// Runs the view's own plan; without the rule that mixes up the meanings of NULL in neighbouring joins.
pub(super) async fn run_view(plan: &LogicalPlan, history: &History, side: Side) -> Vec<Row> {
    let context = context();
    assert!(context.remove_optimizer_rule("eliminate_cross_join"));
    let plan = bound(plan, &|_, relation| side_of(history, side, relation));
    run_in(&context, at_time(plan, side)).await.unwrap()
}

/// The relations that a plan scans on one side, one entry for each scan.
pub(super) fn scans(plan: &LogicalPlan, side: Side) -> Vec<String> {
    let mut found = Vec::new();
    plan.apply(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && scan.table_name.schema() == Some(side.name())
        {
            found.push(scan.table_name.table().to_owned());
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .unwrap();
    found
}
