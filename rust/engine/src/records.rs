//! Tables of records: what the project keeps about itself, appended in batches.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::stream;
use lake::{CommitOutcome, CommitRequest, CommitStep, DeltaWriteSpec, LakeError, TableLocation, Version};
use serde::Deserialize;

use crate::error::{EngineError, Result};
use crate::refresh::Observer;
use crate::session::EngineSession;

/// How often an append tries again after somebody else was first.
const MAX_TRIES: usize = 32;

/// Where to append.
#[derive(Clone, Debug, Deserialize)]
pub struct AppendRequest {
    /// The table; it is created if it is not there.
    pub table: TableLocation,
    /// Partition columns of a new table.
    #[serde(default)]
    pub partition_by: Vec<String>,
    /// Properties of a new table.
    #[serde(default)]
    pub properties: BTreeMap<String, String>,
    /// What the commits say that they were made at, milliseconds since the epoch.
    #[serde(default)]
    pub timestamp_ms: i64,
}

/// Append rows; appends of several writers do not disturb each other.  `observer` is told the steps of the commit.
pub async fn append(
    session: &EngineSession,
    request: &AppendRequest,
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
    observer: Observer<'_>,
) -> Result<Version> {
    let lake = session.lake();
    let spec = DeltaWriteSpec {
        location: request.table.clone(),
        partition_by: request.partition_by.clone(),
        target_file_size: None,
        properties: request.properties.clone(),
        description: None,
    };
    observer(CommitStep::Planned.name());
    let stream = RecordBatchStreamAdapter::new(Arc::clone(&schema), stream::iter(batches.into_iter().map(Ok)));
    let files = lake::write_files(lake, &spec, &schema, Box::pin(stream)).await?;
    for _ in 0..MAX_TRIES {
        // Carried on from the snapshot that writing the files has left, where a listing would grow with the log.
        let base = match lake.snapshot(&request.table, None).await {
            Ok(snapshot) => Some(snapshot.version),
            Err(LakeError::NotATable { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let commit = CommitRequest {
            location: request.table.clone(),
            base,
            spec: spec.clone(),
            schema: Arc::clone(&schema),
            add: files.clone(),
            remove: vec![],
            change_files: vec![],
            vectors_lost: false,
            data_change: true,
            transactions: vec![],
            metadata_update: false,
            operation: "WRITE".to_owned(),
            info: serde_json::Map::new(),
            timestamp_ms: request.timestamp_ms,
        };
        match lake::commit(lake, commit, &|step| observer(step.name())).await? {
            CommitOutcome::Committed { version, .. } => return Ok(version),
            CommitOutcome::Conflict { .. } => {}
        }
    }
    Err(EngineError::Lake(LakeError::store(&request.table.uri, "appending records", &"others were always first")))
}
