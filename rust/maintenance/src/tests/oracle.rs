//! The oracle: a view's change plan against the recomputation of the view, as counted bags.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{LogicalPlan, TableScanBuilder};
use proptest::prelude::*;

use super::binding::{Tables, bound, memory, planned, run, run_view, side_of};
use super::lake::{History, Row, histories};
use crate::{ChangePlan, InputShape, Side, WEIGHT, change_plan, group_rows, over};

/// A row as bits, so that NaN equals NaN; the two zeros are one where grouping makes them one.
fn bits(row: &[ScalarValue], zeros_are_equal: bool) -> Vec<String> {
    row.iter()
        .map(|value| match value {
            ScalarValue::Float64(Some(number)) => {
                let number = if zeros_are_equal && *number == 0.0 { 0.0 } else { *number };
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

/// A view over one history, with its content before and now.
struct Case<'a> {
    sql: &'a str,
    plan: LogicalPlan,
    history: &'a History,
    shapes: BTreeMap<String, InputShape>,
    before: Vec<Row>,
    now: Vec<Row>,
}

/// Checks one view over one history; panics with the view and its plans.
pub(super) async fn check(sql: &str, history: &History) {
    let plan = planned(sql).await;
    let shapes: BTreeMap<String, InputShape> =
        history.iter().map(|(relation, table)| ((*relation).to_owned(), table.shape)).collect();
    let derived = change_plan(&plan, &shapes)
        .unwrap_or_else(|reason| panic!("{sql}\n{}: {reason}\n{}", reason.code(), plan.display_indent()));
    let before = run_view(&plan, history, Side::Before).await;
    let now = run_view(&plan, history, Side::Now).await;
    let again = Tables::new(history).run(&over(&plan, Side::Now).unwrap()).await;
    assert_eq!(once(again, true), once(now.clone(), true), "{sql}: the re-based plan differs");
    let case = Case { sql, plan, history, shapes, before, now };
    match derived {
        ChangePlan::Rows { steps, changes, insert_only } => {
            let schema = case.plan.schema().inner();
            let history = Tables::over_target(history, schema, &case.before).with_steps(&steps).await;
            case.check_rows(&changes, &history, insert_only).await;
        }
        ChangePlan::Groups { steps, keys, key_columns, new_rows } => {
            let history = Tables::new(history).with_steps(&steps).await;
            case.check_groups(&keys, &key_columns, &new_rows, &history).await;
        }
    }
}

impl Case<'_> {
    async fn check_rows(&self, changes: &LogicalPlan, tables: &Tables<'_>, insert_only: bool) {
        let sql = self.sql;
        assert_columns(&self.plan, changes, true);
        let weighted: Vec<(Vec<String>, i64)> = tables
            .run(changes)
            .await
            .into_iter()
            .map(|mut row| match row.pop() {
                Some(ScalarValue::Int64(Some(weight))) => (bits(&row, false), weight),
                other => panic!("not a weight: {other:?}"),
            })
            .collect();
        assert!(weighted.iter().all(|(_, weight)| *weight != 0), "{sql}: a weight is 0");
        if insert_only {
            assert!(weighted.iter().all(|(_, weight)| *weight > 0), "{sql}: a weight below 0 from inserts");
        } else {
            let distinct: HashSet<_> = weighted.iter().map(|(row, _)| row).collect();
            assert_eq!(distinct.len(), weighted.len(), "{sql}: not consolidated");
        }
        let applied = bag(self.before.iter().map(|row| (bits(row, false), 1)).chain(weighted));
        assert_eq!(applied, once(self.now.clone(), false), "{}", self.shown(changes));
    }

    async fn check_groups(
        &self,
        keys: &LogicalPlan,
        key_columns: &[usize],
        new_rows: &LogicalPlan,
        tables: &Tables<'_>,
    ) {
        let sql = self.sql;
        assert_columns(&self.plan, new_rows, false);
        let key_schema: SchemaRef = Arc::clone(keys.schema().inner());
        for (key, position) in key_schema.fields().iter().zip(key_columns) {
            let column = self.plan.schema().field(*position);
            assert_eq!((key.name(), key.data_type()), (column.name(), column.data_type()));
        }
        let affected_rows = tables.run(keys).await;
        let affected: HashSet<_> = affected_rows.iter().map(|key| bits(key, true)).collect();
        assert_eq!(affected.len(), affected_rows.len(), "{sql}: keys are not distinct");
        let key_of = |row: &Row| {
            let key: Row = key_columns.iter().map(|position| row[*position].clone()).collect();
            bits(&key, true)
        };
        let rows = tables.run(new_rows).await;
        assert!(rows.iter().all(|row| affected.contains(&key_of(row))), "{sql}: rows of other groups");
        let kept = self.before.iter().filter(|row| !affected.contains(&key_of(row))).cloned();
        let applied = once(kept.chain(rows.clone()).collect(), true);
        assert_eq!(applied, once(self.now.clone(), true), "{}", self.shown(new_rows));

        let held = provider_as_source(memory(&key_schema, &affected_rows));
        let held = LogicalPlan::TableScan(TableScanBuilder::new("held", held).build().unwrap());
        let again = group_rows(&self.plan, &self.shapes, &held).unwrap();
        let again = bound(&again, &|schema, relation| match schema {
            None => memory(&key_schema, &affected_rows),
            Some(_) => side_of(self.history, Side::Now, relation),
        });
        assert_eq!(once(run(again).await.unwrap(), true), once(rows, true), "{sql}: other rows for held keys");
    }

    fn shown(&self, derived: &LogicalPlan) -> String {
        format!("{}\n{:#?}\n{}", self.sql, self.history, derived.display_indent())
    }
}

fn assert_columns(view: &LogicalPlan, derived: &LogicalPlan, weighted: bool) {
    let mut wanted: Vec<(String, DataType)> =
        view.schema().fields().iter().map(|field| (field.name().clone(), field.data_type().clone())).collect();
    if weighted {
        wanted.push((WEIGHT.to_owned(), DataType::Int64));
    }
    let found: Vec<_> =
        derived.schema().fields().iter().map(|field| (field.name().clone(), field.data_type().clone())).collect();
    assert_eq!(found, wanted);
    assert!(derived.schema().iter().all(|(qualifier, _)| qualifier.is_none()));
}

/// Runs random cases of one view; the seed of a failure is printed by proptest and taken from `PROPTEST_RNG_SEED`.
pub(super) fn check_random_cases(sql: &str, cases: u32) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(history in histories())| {
        runtime.block_on(check(sql, &history));
    });
}
