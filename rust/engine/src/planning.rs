//! What a refresh would do, without doing it.
//!
//! The same inputs, the same algebra and the same pruning as in [`crate::refresh`], so that the candidates named here
//! are those of the run that follows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, DataFusionError, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, ExprSchemable};
use lake::{ChangeFeed, FeedKind};

use crate::binding::{Side, unqualified};
use crate::change_plans::CompiledChanges;
use crate::error::EngineError;
use crate::execution::Execution;
use crate::given_up::GivenUp;
use crate::inputs::Inputs;
use crate::refresh::{dry_run, lake_error};
use crate::request::{Outcome, RefreshPlan, RefreshRequest, RowCount, ScanUnit, Strategy};
use crate::session::EngineSession;

/// Plan a refresh; nothing is written, and data is read only if the request asks for exact rows.
///
/// The opened inputs come with the plan, for the refresh that follows.
pub(crate) async fn plan_refresh(
    session: &EngineSession,
    request: &RefreshRequest,
) -> Result<(RefreshPlan, Inputs), EngineError> {
    let subject = format!("view \"{}\"", request.view.name);
    Box::pin(plan(session, request)).await.map_err(|error| EngineError::execution(&subject, error))
}

async fn plan(session: &EngineSession, request: &RefreshRequest) -> Result<(RefreshPlan, Inputs)> {
    let incremental = request.strategy == Strategy::Incremental;
    let inputs = Inputs::open(session, &request.inputs, incremental).await?;
    let execution = Execution::new(session, request.clock_ms)?;
    let recompute = inputs.scan_units(&inputs.recompute_plan(session, &execution, &request.bundle)?)?;
    let recompute_bytes = bytes(&recompute);
    let target = match request.target.base {
        Some(base) => Some(session.lake().snapshot(&request.target.table, Some(base)).await.map_err(lake_error)?),
        None => None,
    };
    let target_size = target.as_ref().map_or((0, 0), |snapshot| (snapshot.files.len() as u64, snapshot.bytes()));
    let found = if incremental {
        let feeds = match feeds(session, request, &inputs).await {
            // What is wrong with a change that exists only in thought is the question, not the view.
            Err(error) if !request.hypothetical.is_empty() => return Err(error),
            feeds => feeds,
        };
        match changes(session, request, &inputs, &execution, feeds).await {
            Ok(found) => found.map_err(Some),
            Err(error) => {
                let error = EngineError::execution(&request.view.name, error);
                Err(Some(GivenUp::from_error(error)?))
            }
        }
    } else {
        Err(None)
    };
    let plan = match found {
        Ok(Changes { units, appends, rows, bytes_to_compare }) => RefreshPlan {
            strategy: Strategy::Incremental,
            reason: None,
            message: None,
            // The target is read once to find rows that go, and once more where their files are rewritten.
            bytes_to_read: bytes(&units) + if appends { 0 } else { 2 * target_size.1 },
            bytes_to_compare,
            // Time may move any row that is looked at.
            change_rows_bound: units
                .iter()
                .filter(|unit| request.goes_with_time() || unit.side == Side::Changes.name())
                .map(|unit| unit.rows)
                .sum(),
            scan_units: units,
            candidate_target_files: if appends { 0 } else { target_size.0 },
            bytes_to_write_bound: if appends { 0 } else { target_size.1 },
            change_rows: rows,
            recompute_bytes,
            operators: request.bundle.maintenance.operators.clone(),
        },
        Err(given_up) => RefreshPlan {
            strategy: Strategy::Recompute,
            reason: given_up.as_ref().map(|given_up| given_up.reason.clone()),
            message: given_up.map(|given_up| given_up.message),
            scan_units: recompute,
            bytes_to_read: recompute_bytes,
            bytes_to_compare: 0,
            candidate_target_files: target_size.0,
            bytes_to_write_bound: target_size.1,
            change_rows_bound: 0,
            change_rows: None,
            recompute_bytes,
            operators: request.bundle.maintenance.operators.clone(),
        },
    };
    Ok((plan, inputs))
}

/// What an incremental refresh would do.
struct Changes {
    units: Vec<ScanUnit>,
    /// Whether rows are only added to the target.
    appends: bool,
    /// The changed rows, where they are known.
    rows: Option<RowCount>,
    bytes_to_compare: u64,
}

async fn changes(
    session: &EngineSession,
    request: &RefreshRequest,
    inputs: &Inputs,
    execution: &Execution,
    feeds: Result<BTreeMap<String, ChangeFeed>>,
) -> Result<Result<Changes, GivenUp>> {
    let feeds = feeds?;
    let shapes = inputs.shapes(&feeds);
    // A change plan that DataFusion cannot optimize is an error here, and a reason to recompute above.
    let clock_before_ms = request.target.clock_ms;
    let compiled = match inputs.compiled_changes(session, execution, &request.bundle, &shapes, clock_before_ms)? {
        Ok(compiled) => compiled,
        Err(reason) => return Ok(Err(reason.into())),
    };
    let nothing = feeds.is_empty() && !request.goes_with_time();
    let units = if nothing { Vec::new() } else { change_units(inputs, &feeds, &compiled)? };
    let rows = if request.exact && request.hypothetical.is_empty() {
        let result = dry_run(session, request).await?;
        if result.outcome == Outcome::FellBack {
            let (reason, message) = (result.reason.unwrap_or_default(), result.message.unwrap_or_default());
            return Ok(Err(GivenUp { reason, message }));
        }
        Some(result.rows)
    } else {
        nothing.then(RowCount::default)
    };
    let appends = compiled.groups.is_none() && compiled.insert_only;
    let compared = |unit: &&ScanUnit| {
        let feed = feeds.get(&unit.relation).filter(|_| unit.side == Side::Changes.name());
        feed.is_some_and(|feed| feed.kind != FeedKind::InsertOnly)
    };
    let bytes_to_compare = units.iter().filter(compared).map(|unit| unit.bytes).sum();
    Ok(Ok(Changes { units, appends, rows, bytes_to_compare }))
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
        let predicate = condition(session, predicate, &schema)
            .map_err(|error| EngineError::planning(&format!("predicate on \"{relation}\""), error))?;
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
                recorded: vec![],
                by_others: false,
                distrusted: None,
                parts: vec![],
                operations: BTreeSet::new(),
            },
        );
    }
    Ok(feeds)
}

/// The condition that a text puts on each row of a table.
fn condition(session: &EngineSession, text: &str, schema: &Schema) -> Result<Expr> {
    let schema = DFSchema::try_from(schema.clone())?;
    let parsed = session.planning_context().parse_sql_expr(text, &schema)?;
    let mut beyond = None;
    parsed.apply(|node| {
        if sees_other_rows(node) {
            beyond = Some(node.to_string());
        }
        Ok(if beyond.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    if let Some(beyond) = beyond {
        return plan_err!("a condition is asked of each row alone, and {beyond} looks at others too");
    }
    match parsed.get_type(&schema)? {
        DataType::Boolean | DataType::Null => unqualified(&parsed),
        other => plan_err!("a condition is true or false, and {parsed} is of type {other}"),
    }
}

/// Whether the value of an expression depends on more than the row that it is computed for.
fn sees_other_rows(node: &Expr) -> bool {
    matches!(
        node,
        Expr::AggregateFunction(_)
            | Expr::WindowFunction(_)
            | Expr::Exists(_)
            | Expr::InSubquery(_)
            | Expr::SetComparison(_)
            | Expr::ScalarSubquery(_)
    )
}

/// The scan units of an incremental refresh: the change sets, then everything that the change plans read.
fn change_units(
    inputs: &Inputs,
    feeds: &BTreeMap<String, ChangeFeed>,
    compiled: &CompiledChanges,
) -> Result<Vec<ScanUnit>> {
    let mut units = Vec::new();
    for ((side, relation), need) in &compiled.needs {
        if *side == Side::Changes {
            let feed = feeds.get(relation).ok_or_else(|| defect(relation))?;
            units.push(inputs.change_unit(relation, feed, need)?);
        }
    }
    for template in compiled.steps.iter().chain([&compiled.first]) {
        units.extend(inputs.scan_units(template.optimized())?);
    }
    if let Some(groups) = &compiled.groups {
        units.extend(inputs.scan_units(groups.rows.optimized())?);
    }
    Ok(units)
}

fn defect(relation: &str) -> DataFusionError {
    EngineError::defect("change plan", format!("\"{relation}\" did not change")).into()
}
