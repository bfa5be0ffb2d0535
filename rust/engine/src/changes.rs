//! The change sets of the inputs: read once, projected and filtered, consolidated, held in memory.
//!
//! `changes(R) = rows(R, now) - rows(R, before)` as a bag with signed weights, restricted to the columns and rows that
//! the view can see.  Consolidating after the restriction makes an update of an unused column an empty change set.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::catalog::TableProvider;
use datafusion::common::Column;
use datafusion::datasource::provider_as_source;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast, lit};
use lake::{ChangeFeed, FeedKind, FeedPart, PartWeight};
use maintenance::{InputShape, LEAF_WEIGHT, WEIGHT};

use crate::binding::LeafNeeds;
use crate::change_types::signed;
use crate::error::EngineError;
use crate::execution::{Collected, Execution};
use crate::request::FileWork;
use crate::rewritten_files::without_common_rows;

/// The change set of one relation.
pub struct ChangeSet {
    /// The rows with their weights.
    pub table: Arc<dyn TableProvider>,
    /// How many distinct rows changed.
    pub rows: u64,
    /// What it was read from, which holds the claim on memory.
    collected: Collected,
}

impl ChangeSet {
    /// What was read for it.
    pub fn read(&self) -> FileWork {
        self.collected.read
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
    let (parts, compared) = without_common_rows(execution, &feed.parts, needs, budget).await?;
    let plan = consolidated(execution, feed.kind, &parts, needs)?;
    let mut collected = execution.collect(&plan, budget).await?;
    collected.read = collected.read.plus(compared);
    Ok(ChangeSet { table: collected.table(&plan)?, rows: collected.rows, collected })
}

/// The plan of a change set: the parts of the feed, cut to what is needed, signed, and added up.
pub(crate) fn consolidated(
    execution: &Execution,
    kind: FeedKind,
    parts: &[FeedPart],
    needs: &LeafNeeds,
) -> Result<LogicalPlan> {
    let mut union: Option<LogicalPlanBuilder> = None;
    for part in parts {
        let mut builder = LogicalPlanBuilder::scan("part", provider_as_source(Arc::clone(&part.provider)), None)?;
        if let Some(filter) = &needs.filter {
            builder = builder.filter(filter.clone())?;
        }
        let weight = match part.weight {
            PartWeight::Plus => lit(1_i64),
            PartWeight::Minus => lit(-1_i64),
            PartWeight::ChangeType => signed(execution, part.provider.as_ref())?,
        };
        let projection = needs
            .own_columns()
            .map(|name| Expr::Column(Column::new_unqualified(name)).alias(name))
            .chain([cast(weight, DataType::Int64).alias(WEIGHT)]);
        builder = builder.project(projection)?;
        union = Some(match union {
            None => builder,
            Some(union) => union.union(builder.build()?)?,
        });
    }
    let union = union.ok_or_else(|| EngineError::defect("change set", "a feed with changes has no parts"))?;
    let union = union.build()?;
    let rows = if kind == FeedKind::InsertOnly { union } else { maintenance::consolidate(union)? };
    // Under the name that the weight has in a leaf.
    let last = rows.schema().fields().len() - 1;
    let mut named: Vec<Expr> = rows.schema().columns().into_iter().map(Expr::Column).collect();
    named[last] = named[last].clone().alias(LEAF_WEIGHT);
    LogicalPlanBuilder::from(rows).project(named)?.build()
}

/// The change sets of a refresh by relation.
pub type ChangeSets = BTreeMap<String, ChangeSet>;

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{AsArray, Int64Array, RecordBatch, StringArray};
    use datafusion::arrow::datatypes::Int64Type;
    use datafusion::catalog::MemTable;
    use lake::CHANGE_TYPE;

    use super::*;
    use crate::session::{EngineOptions, EngineSession};

    #[tokio::test]
    async fn rows_of_change_files_are_signed_by_our_own_function_and_added_up() {
        let rows = RecordBatch::try_from_iter([
            ("id", Arc::new(Int64Array::from(vec![1, 1, 2, 3, 4, 4])) as _),
            (
                CHANGE_TYPE,
                Arc::new(StringArray::from(vec![
                    "update_preimage",
                    "update_postimage",
                    "insert",
                    "delete",
                    "insert",
                    "update_postimage",
                ])) as _,
            ),
        ])
        .unwrap();
        let provider = Arc::new(MemTable::try_new(rows.schema(), vec![vec![rows]]).unwrap());
        let parts = [FeedPart { provider, weight: PartWeight::ChangeType }];
        let session = EngineSession::new(EngineOptions::default()).unwrap();
        let execution = Execution::new(&session, 0).unwrap();
        let mut needs = LeafNeeds::default();
        needs.columns.insert("id".to_owned());
        let plan = consolidated(&execution, FeedKind::ChangeFiles, &parts, &needs).unwrap();
        assert!(
            plan.display_indent().to_string().contains("cdf_is_upsert(part._change_type)"),
            "{}",
            plan.display_indent()
        );

        let collected = execution.collect(&plan, u64::MAX).await.unwrap();
        let mut found = Vec::new();
        for batch in &collected.batches {
            let [ids, weights] = [0, 1].map(|column| batch.column(column).as_primitive::<Int64Type>().clone());
            found.extend(ids.values().iter().copied().zip(weights.values().iter().copied()));
        }
        found.sort_unstable();
        assert_eq!(found, [(2, 1), (3, -1), (4, 2)]);
    }
}
