//! The change sets of the inputs: read once, projected and filtered, consolidated, held in memory.
//!
//! `changes(R) = rows(R, now) - rows(R, before)` as a bag with signed weights, restricted to the columns and rows that
//! the view can see.  Consolidating after the restriction makes an update of an unused column an empty change set.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::catalog::{MemTable, TableProvider};
use datafusion::common::Column;
use datafusion::datasource::provider_as_source;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast, lit, when};
use lake::{ChangeFeed, FeedKind, PartWeight};
use maintenance::{InputShape, WEIGHT};

use crate::binding::LeafNeeds;
use crate::error::EngineError;
use crate::execution::{Collected, Execution};
use crate::request::FileWork;

/// The column of change files that says what happened to a row.
const CHANGE_TYPE: &str = "_change_type";

/// The change set of one relation.
pub struct ChangeSet {
    /// The rows with their weights.
    pub table: Arc<dyn TableProvider>,
    /// How many distinct rows changed.
    pub rows: u64,
    /// What it was read from, which holds the claim on memory.
    pub collected: Option<Collected>,
}

impl ChangeSet {
    /// A change set that is there already.
    pub fn in_memory(table: Arc<dyn TableProvider>) -> Self {
        Self { table, rows: 0, collected: None }
    }

    /// What was read for it.
    pub fn read(&self) -> FileWork {
        self.collected.as_ref().map_or_else(FileWork::default, |collected| collected.read)
    }
}

/// What is known of a relation's changes before they are read.
pub fn shape(feed: Option<&ChangeFeed>) -> InputShape {
    match feed.map(|feed| feed.kind) {
        None | Some(FeedKind::Empty) => InputShape { changed: false, insert_only: true },
        Some(FeedKind::InsertOnly) => InputShape { changed: true, insert_only: true },
        Some(FeedKind::ChangeFiles | FeedKind::Difference) => InputShape { changed: true, insert_only: false },
    }
}

/// Read the part of a feed that `needs` asks for.
pub async fn read(execution: &Execution, feed: &ChangeFeed, needs: &LeafNeeds, budget: u64) -> Result<ChangeSet> {
    let plan = consolidated(execution, feed, needs)?;
    let collected = execution.collect(&plan, budget).await?;
    let schema = Arc::new(plan.schema().as_arrow().clone());
    let batches = collected
        .batches
        .iter()
        .map(|batch| RecordBatch::try_new(Arc::clone(&schema), batch.columns().to_vec()))
        .collect::<Result<Vec<_>, _>>()?;
    let rows = collected.rows;
    Ok(ChangeSet { table: Arc::new(MemTable::try_new(schema, vec![batches])?), rows, collected: Some(collected) })
}

/// The plan of a change set: the parts of the feed, cut to what is needed, signed, and added up.
fn consolidated(execution: &Execution, feed: &ChangeFeed, needs: &LeafNeeds) -> Result<LogicalPlan> {
    let columns: Vec<&String> = needs.columns.iter().filter(|name| name.as_str() != WEIGHT).collect();
    let mut union: Option<LogicalPlanBuilder> = None;
    for part in &feed.parts {
        let mut builder = LogicalPlanBuilder::scan("part", provider_as_source(Arc::clone(&part.provider)), None)?;
        if let Some(filter) = &needs.filter {
            builder = builder.filter(filter.clone())?;
        }
        let weight = match part.weight {
            PartWeight::Plus => lit(1_i64),
            PartWeight::Minus => lit(-1_i64),
            PartWeight::ChangeType => signed(execution, part.provider.as_ref())?,
        };
        let projection = columns
            .iter()
            .map(|name| Expr::Column(Column::new_unqualified(name.as_str())).alias(name.as_str()))
            .chain([cast(weight, DataType::Int64).alias(WEIGHT)]);
        builder = builder.project(projection)?;
        union = Some(match union {
            None => builder,
            Some(union) => union.union(builder.build()?)?,
        });
    }
    let union = union.ok_or_else(|| EngineError::defect("change set", "a feed with changes has no parts"))?;
    if feed.kind == FeedKind::InsertOnly {
        return union.build();
    }
    maintenance::consolidate(union.build()?)
}

/// The weight that a row of a change file stands for, by our own functions of change types.
fn signed(execution: &Execution, provider: &dyn TableProvider) -> Result<Expr> {
    let change_type = provider
        .schema()
        .fields()
        .iter()
        .find(|field| field.name() == CHANGE_TYPE)
        .map(|field| Expr::Column(Column::new_unqualified(field.name())))
        .ok_or_else(|| EngineError::defect("change set", "a change file has no column \"_change_type\""))?;
    let upsert = execution.function("cdf_is_upsert")?.call(vec![change_type]);
    when(upsert, lit(1_i64)).otherwise(lit(-1_i64))
}

/// The change sets of a refresh by relation.
pub type ChangeSets = BTreeMap<String, ChangeSet>;
