//! The digest of a target's content, kept while a refresh writes rows.
//!
//! Invariant: what a commit says is the digest of the rows that the target then has, or nothing.

use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::array::RecordBatch;
use datafusion::error::Result;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use functions::ContentDigest;
use futures::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};

use crate::audit::{PinnedInput, approximate_columns, pins};
use crate::bundle::PlanBundle;
use crate::error::EngineError;
use crate::execution::Execution;
use crate::inputs::Inputs;
use crate::refresh::lake_error;
use crate::session::EngineSession;

/// The digest of the content as a refresh leaves it.
#[derive(Clone, Default)]
pub(crate) struct TargetDigest {
    /// That of the rows that stay; none where nobody knows it.
    base: Option<ContentDigest>,
    change: Arc<Mutex<ContentDigest>>,
}

impl TargetDigest {
    /// Builds upon content with this digest, as a commit wrote it.
    pub(crate) fn upon(base: Option<&str>) -> Self {
        Self { base: base.and_then(|text| text.parse().ok()), change: Arc::default() }
    }

    /// Of content that replaces what was there.
    pub(crate) fn anew() -> Self {
        Self { base: Some(ContentDigest::default()), change: Arc::default() }
    }

    /// The digest of the content, if that of the content before is known.
    pub(crate) fn content(&self) -> Option<String> {
        let change = *self.change.lock().unwrap_or_else(PoisonError::into_inner);
        self.base.map(|base| (base + change).to_string())
    }

    /// The same rows; those that go through are added.
    pub(crate) fn of_added(&self, rows: SendableRecordBatchStream) -> SendableRecordBatchStream {
        if self.base.is_none() {
            return rows;
        }
        let (schema, digest) = (rows.schema(), self.clone());
        let rows = rows.map(move |batch| {
            let batch = batch?;
            digest.change(ContentDigest::of(&batch)?, ContentDigest::default());
            Ok(batch)
        });
        Box::pin(RecordBatchStreamAdapter::new(schema, rows))
    }

    /// These rows are added, those are taken.
    pub(crate) fn exchange(&self, added: &[RecordBatch], taken: &[RecordBatch]) -> Result<()> {
        if self.base.is_some() {
            self.change(of_batches(added)?, of_batches(taken)?);
        }
        Ok(())
    }

    fn change(&self, added: ContentDigest, taken: ContentDigest) {
        let mut change = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        *change = *change + added - taken;
    }
}

fn of_batches(batches: &[RecordBatch]) -> Result<ContentDigest> {
    batches.iter().try_fold(ContentDigest::default(), |sum, batch| Ok(sum + ContentDigest::of(batch)?))
}

/// What to take the digest of: a view's query at its pins.
#[derive(Clone, Debug, Deserialize)]
pub struct DigestRequest {
    /// The compiled view.
    pub bundle: PlanBundle,
    /// Its inputs at the frontier.
    pub inputs: Vec<PinnedInput>,
    /// What `now()` was when the content was made, milliseconds since the epoch.
    #[serde(default)]
    pub clock_ms: i64,
}

/// The digest of what a view's query gives.
#[derive(Clone, Debug, Serialize)]
pub struct DigestReport {
    /// As commits write it.
    pub digest: String,
    /// Rows that the query gives.
    pub rows: u64,
    /// Columns that are not the same bits in every run, so that no digest of them is.
    pub approximate_columns: Vec<String>,
}

/// The digest of a view's query; only the inputs are read, and no row is held.
pub async fn digest(session: &EngineSession, request: &DigestRequest) -> Result<DigestReport, EngineError> {
    let subject = format!("view \"{}\"", request.bundle.name);
    compute(session, request).await.map_err(|error| EngineError::execution(&subject, error))
}

async fn compute(session: &EngineSession, request: &DigestRequest) -> Result<DigestReport> {
    let bundle = &request.bundle;
    let schema = lake::schema_from_delta_json(&bundle.name, &bundle.table_schema).map_err(lake_error)?;
    let approximate = approximate_columns(&bundle.lineage.outputs, &schema);
    let execution = Execution::new(session, request.clock_ms)?;
    let inputs = Inputs::open(session, &pins(&request.inputs), false).await?;
    let optimized = inputs.recompute_plan(session, &execution, bundle)?;
    let physical = execution.physical(&optimized).await?;
    let (mut sum, mut rows) = (ContentDigest::default(), 0);
    let mut stream = execution.stream(&physical)?;
    while let Some(batch) = stream.try_next().await? {
        sum = sum + ContentDigest::of(&batch)?;
        rows += batch.num_rows() as u64;
    }
    Ok(DigestReport {
        digest: sum.to_string(),
        rows,
        approximate_columns: approximate.into_iter().map(|index| schema.field(index).name().clone()).collect(),
    })
}
