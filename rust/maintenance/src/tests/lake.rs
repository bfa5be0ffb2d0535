//! A small lake in memory: random tables, random changes, and the check of a view's change plan against recomputation.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, new_empty_array};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::logical_expr::{
    Expr, LogicalPlan, LogicalPlanBuilder, TableProviderFilterPushDown, TableScanBuilder,
    TableSource,
};
use datafusion::optimizer::{Analyzer, Optimizer, OptimizerContext};
use datafusion::prelude::{SessionConfig, SessionContext};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::{ChangePlan, InputShape, Side, WEIGHT, change_plan, group_rows};

pub(super) type Row = Vec<ScalarValue>;

/// The relations of the tests: every type class, every column nullable.
pub(super) fn schema_of(relation: &str) -> SchemaRef {
    let fields = match relation {
        "r" => vec![
            ("a", DataType::Int64),
            ("b", DataType::Int64),
            ("s", DataType::Utf8),
            ("x", DataType::Float64),
        ],
        "t" => vec![
            ("a", DataType::Int64),
            ("c", DataType::Int64),
            ("s", DataType::Utf8View),
        ],
        "u" => vec![
            ("c", DataType::Int64),
            ("d", DataType::Date32),
            ("m", DataType::Decimal128(10, 2)),
        ],
        other => panic!("no relation \"{other}\""),
    };
    let fields: Vec<_> = fields
        .into_iter()
        .map(|(name, data_type)| Field::new(name, data_type, true))
        .collect();
    Arc::new(Schema::new(fields))
}

pub(super) const RELATIONS: [&str; 3] = ["r", "t", "u"];

fn value_of(data_type: &DataType) -> BoxedStrategy<ScalarValue> {
    let number = || prop_oneof![1 => Just(None), 5 => (0_i64..4).prop_map(Some)];
    let text = || {
        select(vec![
            None,
            Some(String::new()),
            Some("p".to_owned()),
            Some("q".to_owned()),
        ])
    };
    match data_type {
        DataType::Int64 => number().prop_map(ScalarValue::Int64).boxed(),
        DataType::Utf8 => text().prop_map(ScalarValue::Utf8).boxed(),
        DataType::Utf8View => text().prop_map(ScalarValue::Utf8View).boxed(),
        DataType::Date32 => number()
            .prop_map(|day| {
                ScalarValue::Date32(day.map(|day| 19_000 + i32::try_from(day).unwrap()))
            })
            .boxed(),
        DataType::Decimal128(precision, scale) => {
            let (precision, scale) = (*precision, *scale);
            number()
                .prop_map(move |cents| {
                    ScalarValue::Decimal128(
                        cents.map(|cents| i128::from(cents) * 25),
                        precision,
                        scale,
                    )
                })
                .boxed()
        }
        // Sums of these are exact in any order.
        DataType::Float64 => select(vec![
            None,
            Some(f64::NAN),
            Some(-0.0),
            Some(0.0),
            Some(1.5),
            Some(-2.0),
        ])
        .prop_map(ScalarValue::Float64)
        .boxed(),
        other => panic!("no values of type {other}"),
    }
}

fn row_of(relation: &str) -> BoxedStrategy<Row> {
    let columns: Vec<_> = schema_of(relation)
        .fields()
        .iter()
        .map(|field| value_of(field.data_type()))
        .collect();
    columns.boxed()
}

/// One table before and now, and the signed rows that lead from one to the other, not consolidated.
#[derive(Clone, Debug)]
pub(super) struct TableHistory {
    pub before: Vec<Row>,
    pub now: Vec<Row>,
    pub changes: Vec<(Row, i64)>,
    pub shape: InputShape,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Unchanged,
    InsertOnly,
    Mixed,
}

fn history_of(relation: &'static str) -> BoxedStrategy<TableHistory> {
    let kind = prop_oneof![
        2 => Just(Kind::Unchanged),
        2 => Just(Kind::InsertOnly),
        5 => Just(Kind::Mixed)
    ];
    let before = vec(
        (
            row_of(relation),
            prop_oneof![4 => Just(0_u8), 1 => Just(1), 1 => Just(2)],
        ),
        0..9,
    );
    (kind, before, vec(row_of(relation), 0..4))
        .prop_map(|(kind, before, inserts)| {
            let inserts = if matches!(kind, Kind::Unchanged) {
                Vec::new()
            } else {
                inserts
            };
            let mut now = Vec::new();
            let mut changes = Vec::new();
            for (row, fate) in &before {
                let fate = if matches!(kind, Kind::Mixed) {
                    *fate
                } else {
                    0
                };
                if fate > 0 {
                    changes.push((row.clone(), -1));
                }
                // An update that changes nothing removes the row and brings it back.
                if fate == 2 {
                    changes.push((row.clone(), 1));
                }
                if fate != 1 {
                    now.push(row.clone());
                }
            }
            now.extend(inserts.iter().cloned());
            changes.extend(inserts.into_iter().map(|row| (row, 1)));
            let shape = InputShape {
                changed: !matches!(kind, Kind::Unchanged),
                insert_only: matches!(kind, Kind::InsertOnly),
            };
            TableHistory {
                before: before.into_iter().map(|(row, _)| row).collect(),
                now,
                changes,
                shape,
            }
        })
        .boxed()
}

pub(super) type History = BTreeMap<&'static str, TableHistory>;

/// All relations over one random range of changes.
pub(super) fn histories() -> impl Strategy<Value = History> {
    RELATIONS
        .map(history_of)
        .prop_map(|histories| RELATIONS.into_iter().zip(histories).collect())
}

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
        context
            .register_table(relation, memory(&schema_of(relation), &[]))
            .unwrap();
    }
    let state = context.state();
    let plan = state
        .create_logical_plan(sql)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
    let plan = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::TableScan(mut scan) => {
            scan.source = Arc::new(PlannedTable {
                schema: scan.source.schema(),
            });
            Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
        }
        other => Ok(Transformed::no(other)),
    });
    // As at compile: the clock must not be folded into the plan.
    let rules = OptimizerContext::new().without_query_execution_start_time();
    let plan =
        Analyzer::new().execute_and_check(plan.unwrap().data, state.config_options(), |_, _| {});
    let plan = plan.and_then(|plan| Optimizer::new().optimize(plan, &rules, |_, _| {}));
    plan.unwrap_or_else(|error| panic!("{sql}: {error}"))
}

fn context() -> SessionContext {
    SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2))
}

/// The plan with its scans bound to tables.
fn bound(plan: &LogicalPlan, tables: &dyn Fn(Option<&str>, &str) -> Arc<MemTable>) -> LogicalPlan {
    plan.clone()
        .transform_up(|node| match &node {
            LogicalPlan::TableScan(scan) => {
                let table = tables(scan.table_name.schema(), scan.table_name.table());
                let mut bound = LogicalPlanBuilder::scan(
                    scan.table_name.clone(),
                    provider_as_source(table),
                    None,
                )?;
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

fn memory(schema: &SchemaRef, rows: &[Row]) -> Arc<MemTable> {
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

fn side_of(history: &History, side: Side, relation: &str) -> Arc<MemTable> {
    let table = &history[relation];
    let schema = schema_of(relation);
    match side {
        Side::Before => memory(&schema, &table.before),
        Side::Now => memory(&schema, &table.now),
        Side::Changes => {
            let mut fields = schema.fields().to_vec();
            fields.push(Arc::new(Field::new(WEIGHT, DataType::Int64, false)));
            let rows: Vec<Row> = table
                .changes
                .iter()
                .map(|(row, weight)| {
                    row.iter()
                        .cloned()
                        .chain([ScalarValue::Int64(Some(*weight))])
                        .collect()
                })
                .collect();
            memory(&Arc::new(Schema::new(fields)), &rows)
        }
    }
}

async fn run(plan: LogicalPlan) -> Result<Vec<Row>, DataFusionError> {
    let batches = context()
        .execute_logical_plan(plan)
        .await?
        .collect()
        .await?;
    let mut rows = Vec::new();
    for batch in batches {
        for index in 0..batch.num_rows() {
            let row = batch
                .columns()
                .iter()
                .map(|column| ScalarValue::try_from_array(column, index));
            rows.push(row.collect::<Result<Row, _>>()?);
        }
    }
    Ok(rows)
}

async fn run_changes(plan: &LogicalPlan, history: &History) -> Vec<Row> {
    let plan = bound(plan, &|schema, relation| {
        let side = Side::ALL
            .into_iter()
            .find(|side| Some(side.name()) == schema);
        side_of(history, side.expect("a scan names its side"), relation)
    });
    let shown = plan.display_indent().to_string();
    run(plan)
        .await
        .unwrap_or_else(|error| panic!("{error}\n{shown}"))
}

async fn run_view(plan: &LogicalPlan, history: &History, side: Side) -> Vec<Row> {
    run(bound(plan, &|_, relation| side_of(history, side, relation)))
        .await
        .unwrap()
}

/// A row as bits, so that NaN equals NaN; the two zeros are one where grouping makes them one.
fn bits(row: &[ScalarValue], zeros_are_equal: bool) -> Vec<String> {
    row.iter()
        .map(|value| match value {
            ScalarValue::Float64(Some(number)) => {
                let number = if zeros_are_equal && *number == 0.0 {
                    0.0
                } else {
                    *number
                };
                format!("float {:x}", number.to_bits())
            }
            other => format!("{other:?}"),
        })
        .collect()
}

fn bag(rows: impl IntoIterator<Item = (Vec<String>, i64)>) -> HashMap<Vec<String>, i64> {
    let mut counted = HashMap::new();
    for (row, count) in rows {
        *counted.entry(row).or_insert(0) += count;
    }
    counted.retain(|_, count| *count != 0);
    counted
}

fn once(rows: Vec<Row>, zeros_are_equal: bool) -> HashMap<Vec<String>, i64> {
    bag(rows.into_iter().map(|row| (bits(&row, zeros_are_equal), 1)))
}

/// Checks one view over one history; panics with the view and its plans.
pub(super) async fn check(sql: &str, history: &History) {
    let plan = planned(sql).await;
    let shapes: BTreeMap<String, InputShape> = history
        .iter()
        .map(|(relation, table)| ((*relation).to_owned(), table.shape))
        .collect();
    let derived = change_plan(&plan, &shapes).unwrap_or_else(|reason| {
        panic!(
            "{sql}\n{}: {reason}\n{}",
            reason.code(),
            plan.display_indent()
        )
    });
    let before = run_view(&plan, history, Side::Before).await;
    let now = run_view(&plan, history, Side::Now).await;
    match derived {
        ChangePlan::Rows { changes } => {
            assert_columns(&plan, &changes, true);
            let rows = run_changes(&changes, history).await;
            let weighted: Vec<(Vec<String>, i64)> = rows
                .into_iter()
                .map(|mut row| match row.pop() {
                    Some(ScalarValue::Int64(Some(weight))) => (bits(&row, false), weight),
                    other => panic!("not a weight: {other:?}"),
                })
                .collect();
            assert!(
                weighted.iter().all(|(_, weight)| *weight != 0),
                "{sql}: a weight is 0"
            );
            let changed = || history.values().filter(|table| table.shape.changed);
            if changed().any(|table| !table.shape.insert_only) && reads_deletes(&changes, history) {
                let distinct: HashSet<_> = weighted.iter().map(|(row, _)| row).collect();
                assert_eq!(distinct.len(), weighted.len(), "{sql}: not consolidated");
            } else {
                assert!(
                    weighted.iter().all(|(_, weight)| *weight > 0),
                    "{sql}: inserts only, but a weight below 0"
                );
            }
            let applied = bag(before
                .iter()
                .map(|row| (bits(row, false), 1))
                .chain(weighted));
            assert_eq!(
                applied,
                once(now, false),
                "{sql}\n{history:#?}\n{}",
                changes.display_indent()
            );
        }
        ChangePlan::Groups {
            keys,
            key_columns,
            new_rows,
        } => {
            assert_columns(&plan, &new_rows, false);
            let affected_rows = run_changes(&keys, history).await;
            let affected: HashSet<_> = affected_rows.iter().map(|key| bits(key, true)).collect();
            assert_eq!(
                affected.len(),
                affected_rows.len(),
                "{sql}: keys are not distinct"
            );
            let rows = run_changes(&new_rows, history).await;
            let key_of = |row: &Row| {
                bits(
                    &key_columns
                        .iter()
                        .map(|position| row[*position].clone())
                        .collect::<Row>(),
                    true,
                )
            };
            assert!(
                rows.iter().all(|row| affected.contains(&key_of(row))),
                "{sql}: rows of other groups"
            );
            let kept = before
                .into_iter()
                .filter(|row| !affected.contains(&key_of(row)));
            let applied = once(kept.chain(rows.clone()).collect(), true);
            let wanted = once(now, true);
            assert_eq!(
                applied,
                wanted,
                "{sql}\n{history:#?}\n{}",
                new_rows.display_indent()
            );

            let key_schema: SchemaRef = Arc::clone(keys.schema().inner());
            let held = LogicalPlan::TableScan(
                TableScanBuilder::new(
                    "held",
                    provider_as_source(memory(&key_schema, &affected_rows)),
                )
                .build()
                .unwrap(),
            );
            let again = group_rows(&plan, &shapes, &held).unwrap();
            let again = bound(&again, &|schema, relation| match schema {
                None => memory(&key_schema, &affected_rows),
                Some(_) => side_of(history, Side::Now, relation),
            });
            assert_eq!(
                once(run(again).await.unwrap(), true),
                once(rows, true),
                "{sql}: other rows for held keys"
            );
        }
    }
}

/// Whether a scan of changes in the plan reads an input that is not insert-only.
fn reads_deletes(plan: &LogicalPlan, history: &History) -> bool {
    scans(plan, Side::Changes)
        .iter()
        .any(|relation| !history[relation.as_str()].shape.insert_only)
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

fn assert_columns(view: &LogicalPlan, derived: &LogicalPlan, weighted: bool) {
    let mut wanted: Vec<(String, DataType)> = view
        .schema()
        .fields()
        .iter()
        .map(|field| (field.name().clone(), field.data_type().clone()))
        .collect();
    if weighted {
        wanted.push((WEIGHT.to_owned(), DataType::Int64));
    }
    let found: Vec<_> = derived
        .schema()
        .fields()
        .iter()
        .map(|field| (field.name().clone(), field.data_type().clone()))
        .collect();
    assert_eq!(found, wanted);
    assert!(
        derived
            .schema()
            .iter()
            .all(|(qualifier, _)| qualifier.is_none())
    );
}

/// Runs random cases of one view; the seed of a failure is printed by proptest and taken from `PROPTEST_RNG_SEED`.
pub(super) fn check_random_cases(sql: &str, cases: u32) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let config = ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    proptest!(config, |(history in histories())| {
        runtime.block_on(check(sql, &history));
    });
}
