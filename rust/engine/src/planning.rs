//! What a refresh would do, without doing it.
//!
//! The same inputs, the same algebra and the same pruning as in [`crate::refresh`], so that the candidates named here
//! are those of the run that follows.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::catalog::{MemTable, TableProvider};
use datafusion::common::{DFSchema, DataFusionError};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, LogicalPlan};
use lake::{ChangeFeed, FeedKind};
use maintenance::{ChangePlan, InputShape, WEIGHT};

use crate::binding::{Side, leaf_needs, unqualified};
use crate::changes::{ChangeSet, ChangeSets};
use crate::error::EngineError;
use crate::execution::Execution;
use crate::inputs::Inputs;
use crate::refresh::{dry_run, gives_up, lake_error, reason};
use crate::request::{Outcome, RefreshPlan, RefreshRequest, RowCount, ScanUnit, Strategy};
use crate::session::EngineSession;

/// Plan a refresh; nothing is written, and data is read only if the request asks for exact rows.
pub async fn plan_refresh(session: &EngineSession, request: &RefreshRequest) -> Result<RefreshPlan, EngineError> {
    let subject = format!("view \"{}\"", request.view.name);
    Box::pin(plan(session, request)).await.map_err(|error| EngineError::execution(&subject, error))
}

async fn plan(session: &EngineSession, request: &RefreshRequest) -> Result<RefreshPlan> {
    let incremental = request.strategy == Strategy::Incremental;
    let inputs = Inputs::open(session, &request.inputs, incremental).await?;
    let execution = Execution::new(session, request.clock_ms)?;
    let optimized = execution.optimize(&inputs.now_plan(session, &request.bundle)?)?;
    let recompute_units = inputs.scan_units(&optimized)?;
    let recompute_bytes = bytes(&recompute_units);
    let operators = request.bundle.maintenance.operators.clone();
    let recompute = |reason: Option<(String, String)>, target_bytes: (u64, u64)| RefreshPlan {
        strategy: Strategy::Recompute,
        reason: reason.as_ref().map(|(code, _)| code.clone()),
        message: reason.map(|(_, message)| message),
        scan_units: recompute_units.clone(),
        bytes_to_read: recompute_bytes,
        candidate_target_files: target_bytes.0,
        bytes_to_write_bound: target_bytes.1,
        change_rows_bound: 0,
        change_rows: None,
        recompute_bytes,
        operators: operators.clone(),
    };
    let target = match request.target.base {
        Some(base) => Some(session.lake().snapshot(&request.target.table, Some(base)).await.map_err(lake_error)?),
        None => None,
    };
    let target_size = target.as_ref().map_or((0, 0), |snapshot| (snapshot.files.len() as u64, snapshot.bytes()));
    if !incremental {
        return Ok(recompute(None, target_size));
    }
    let feeds = match feeds(session, request, &inputs).await {
        Ok(feeds) => feeds,
        Err(error) => {
            let error = EngineError::execution(&request.view.name, error);
            // What is wrong with a change that exists only in thought is the question, not the view.
            if request.hypothetical.is_empty() && gives_up(&error) {
                return Ok(recompute(Some((reason(error.code()).to_owned(), error.message())), target_size));
            }
            return Err(error.into());
        }
    };
    let shapes = inputs.shapes(&feeds);
    let view = inputs.plan(session, &request.bundle)?;
    let change = match maintenance::change_plan(&view, &shapes) {
        Ok(change) => change,
        Err(why) => return Ok(recompute(Some((why.code().to_owned(), why.message())), target_size)),
    };
    let units = match change_units(session, &execution, &inputs, &feeds, &shapes, &view, &change) {
        Ok(units) => units,
        // A change plan that DataFusion cannot optimize must not keep its view from being recomputed.
        Err(error) => {
            let error = EngineError::execution(&request.view.name, error);
            if gives_up(&error) {
                return Ok(recompute(Some((reason(error.code()).to_owned(), error.message())), target_size));
            }
            return Err(error.into());
        }
    };
    let appends = matches!(change, ChangePlan::Rows { .. }) && shapes.values().all(|shape| shape.insert_only);
    let change_rows = if request.exact && request.hypothetical.is_empty() {
        let result = dry_run(session, request).await?;
        if result.outcome == Outcome::FellBack {
            return Ok(recompute(result.reason.zip(result.message), target_size));
        }
        Some(result.rows)
    } else if feeds.is_empty() {
        Some(RowCount::default())
    } else {
        None
    };
    Ok(RefreshPlan {
        strategy: Strategy::Incremental,
        reason: None,
        message: None,
        // The target is read once to find rows that go, and once more where their files are rewritten.
        bytes_to_read: bytes(&units) + if appends { 0 } else { 2 * target_size.1 },
        change_rows_bound: units.iter().filter(|unit| unit.side == Side::Changes.name()).map(|unit| unit.rows).sum(),
        scan_units: units,
        candidate_target_files: if appends { 0 } else { target_size.0 },
        bytes_to_write_bound: if appends { 0 } else { target_size.1 },
        change_rows,
        recompute_bytes,
        operators,
    })
}

fn bytes(units: &[ScanUnit]) -> u64 {
    units.iter().map(|unit| unit.bytes).sum()
}

/// The real change feeds, or those of a hypothetical change.
async fn feeds(
    session: &EngineSession,
    request: &RefreshRequest,
    inputs: &Inputs,
) -> Result<BTreeMap<String, ChangeFeed>> {
    if request.hypothetical.is_empty() {
        return inputs.feeds(session).await;
    }
    let mut feeds = BTreeMap::new();
    for (relation, predicate) in &request.hypothetical {
        let now = inputs.now(relation)?;
        let schema = lake::view_typed(&now.schema);
        let parsed = session
            .planning_context()
            .parse_sql_expr(predicate, &DFSchema::try_from(schema.as_ref().clone())?)
            .map_err(|error| EngineError::planning(&format!("predicate on \"{relation}\""), error))?;
        let predicate: Expr = unqualified(&parsed)?;
        let pruned = lake::prune(&now.files, &schema, &now.partition_columns, &[predicate]);
        let removed: Vec<_> = pruned.kept.iter().map(|index| now.files[*index].clone()).collect();
        if removed.is_empty() {
            continue;
        }
        feeds.insert(
            relation.clone(),
            ChangeFeed {
                kind: FeedKind::Difference,
                before: Arc::clone(&now),
                now,
                added: vec![],
                removed,
                parts: vec![],
            },
        );
    }
    Ok(feeds)
}

/// The scan units of an incremental refresh: the change sets, then everything that the change plans read.
fn change_units(
    session: &EngineSession,
    execution: &Execution,
    inputs: &Inputs,
    feeds: &BTreeMap<String, ChangeFeed>,
    shapes: &BTreeMap<String, InputShape>,
    view: &LogicalPlan,
    change: &ChangePlan,
) -> Result<Vec<ScanUnit>> {
    if feeds.is_empty() {
        return Ok(Vec::new());
    }
    let sets = feeds
        .keys()
        .map(|relation| Ok((relation.clone(), empty_change_set(&inputs.now(relation)?.schema)?)))
        .collect::<Result<ChangeSets>>()?;
    let first = match change {
        ChangePlan::Rows { changes } => changes,
        ChangePlan::Groups { keys, .. } => keys,
    };
    let mut units = Vec::new();
    for ((side, relation), need) in leaf_needs(&execution.optimize(first)?)? {
        if side == Side::Changes {
            let feed = feeds.get(&relation).ok_or_else(|| defect(&relation))?;
            units.push(inputs.change_unit(&relation, feed, &need)?);
        }
    }
    let bound = execution.optimize(&inputs.bind_sides(session, first, &sets)?)?;
    units.extend(inputs.scan_units(&bound)?);
    if let ChangePlan::Groups { keys, .. } = change {
        let schema = Arc::new(keys.schema().as_arrow().clone());
        let keys: Arc<dyn TableProvider> = Arc::new(MemTable::try_new(schema, vec![vec![]])?);
        let rows = execution.optimize(&inputs.bind_group_rows(session, view, shapes, &sets, &keys)?)?;
        units.extend(inputs.scan_units(&rows)?);
    }
    Ok(units)
}

fn defect(relation: &str) -> DataFusionError {
    EngineError::defect("change plan", format!("\"{relation}\" did not change")).into()
}

fn empty_change_set(schema: &Schema) -> Result<ChangeSet> {
    let typed = lake::view_typed(schema);
    let weight = Arc::new(Field::new(WEIGHT, DataType::Int64, true));
    let schema = Arc::new(Schema::new(typed.fields().iter().cloned().chain([weight]).collect::<Vec<_>>()));
    Ok(ChangeSet::in_memory(Arc::new(MemTable::try_new(schema, vec![vec![]])?)))
}
