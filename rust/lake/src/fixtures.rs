//! A throwaway table for tests, written through the crate itself.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{Float64Array, Int64Array, RecordBatch, StringArray, StringViewArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::prelude::SessionContext;
use serde_json::{Map, json};

use crate::{
    CommitOutcome, CommitRequest, CommitStep, DataFile, DeltaWriteSpec, Lake, LakeOptions, PinnedTable, Result,
    TableLocation, TableSnapshot, Version, WrittenFile, commit, write_files,
};

/// A table in a folder that goes with it: `id` Int64 not null, `name` Utf8View, `price` Float64.
pub(crate) struct Fixture {
    pub folder: tempfile::TempDir,
    pub lake: Lake,
    pub spec: DeltaWriteSpec,
    pub schema: SchemaRef,
}

impl Fixture {
    pub fn new(properties: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table");
        let location = TableLocation::parse(path.to_str().unwrap(), BTreeMap::new()).unwrap();
        Self {
            folder,
            lake: lake(),
            spec: DeltaWriteSpec {
                properties: properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
                ..DeltaWriteSpec::new(location)
            },
            schema: Arc::new(Schema::new(vec![
                Field::new("id", DataType::Int64, false),
                Field::new("name", DataType::Utf8View, true),
                Field::new("price", DataType::Float64, true),
            ])),
        }
    }

    pub fn location(&self) -> &TableLocation {
        &self.spec.location
    }

    pub fn path(&self) -> PathBuf {
        self.location().local_path().unwrap()
    }

    pub fn entry(&self, version: Version) -> PathBuf {
        self.path().join(format!("_delta_log/{version:020}.json"))
    }

    pub fn batch(&self, rows: &[(i64, Option<&str>, f64)]) -> RecordBatch {
        RecordBatch::try_new(
            Arc::clone(&self.schema),
            vec![
                Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0))),
                Arc::new(rows.iter().map(|row| row.1).collect::<StringViewArray>()),
                Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.2))),
            ],
        )
        .unwrap()
    }

    /// Rows with their `_change_type`.
    pub fn change(&self, change_type: &str, rows: &[(i64, Option<&str>, f64)]) -> (SchemaRef, RecordBatch) {
        let mut fields = self.schema.fields().to_vec();
        fields.push(Arc::new(Field::new("_change_type", DataType::Utf8, false)));
        let schema = Arc::new(Schema::new(fields));
        let mut columns = self.batch(rows).columns().to_vec();
        let types = StringArray::from_iter_values(rows.iter().map(|_| change_type));
        columns.push(Arc::new(types));
        let batch = RecordBatch::try_new(Arc::clone(&schema), columns).unwrap();
        (schema, batch)
    }

    pub async fn write(&self, rows: &[(i64, Option<&str>, f64)]) -> Result<Vec<WrittenFile>> {
        let rows = stream(self.batch(rows));
        write_files(&self.lake, &self.spec, &self.schema, rows).await
    }

    pub fn request(&self, base: Option<Version>, add: Vec<WrittenFile>) -> CommitRequest {
        let mut info = Map::new();
        info.insert("view".to_owned(), json!("prices"));
        CommitRequest {
            location: self.location().clone(),
            base,
            spec: self.spec.clone(),
            schema: Arc::clone(&self.schema),
            add,
            remove: Vec::new(),
            change_files: Vec::new(),
            vectors_lost: false,
            data_change: true,
            transactions: vec![("deltakeep/v/t".to_owned(), base.map_or(0, |base| i64::try_from(base + 1).unwrap()))],
            metadata_update: false,
            operation: "WRITE".to_owned(),
            info,
            timestamp_ms: 1_700_000_000_000 + i64::try_from(base.map_or(0, |base| base + 1)).unwrap(),
        }
    }

    /// Commits one file with one row for each id.
    pub async fn append(&self, base: Option<Version>, ids: &[i64]) -> Version {
        let rows: Vec<(i64, Option<&str>, f64)> = ids.iter().map(|id| (*id, Some("a"), 0.5)).collect();
        let add = self.write(&rows).await.unwrap();
        committed(commit(&self.lake, self.request(base, add), &quiet).await.unwrap())
    }

    pub async fn snapshot(&self, version: Option<Version>) -> Arc<TableSnapshot> {
        self.lake.snapshot(self.location(), version).await.unwrap()
    }

    /// The ids that are live, in order.
    pub async fn ids(&self, version: Option<Version>) -> Vec<i64> {
        let context = SessionContext::new();
        let (url, store) = self.lake.object_store(self.location()).unwrap();
        context.register_object_store(url.as_ref(), store);
        let table = PinnedTable::new(self.lake.clone(), self.snapshot(version).await);
        let batches =
            context.read_table(Arc::new(table)).unwrap().select_columns(&["id"]).unwrap().collect().await.unwrap();
        let mut ids: Vec<i64> = batches
            .iter()
            .flat_map(|batch| {
                let ids: &Int64Array = batch.column(0).as_any().downcast_ref().unwrap();
                ids.values().to_vec()
            })
            .collect();
        ids.sort_unstable();
        ids
    }
}

/// A lake with empty caches that does not wait for the disk.
pub(crate) fn lake() -> Lake {
    Lake::new(LakeOptions { durable: false, snapshot_cache: 16 })
}

pub(crate) fn stream(batch: RecordBatch) -> SendableRecordBatchStream {
    let schema = batch.schema();
    Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::iter([Ok(batch)])))
}

pub(crate) fn quiet(_: CommitStep) {}

pub(crate) fn committed(outcome: CommitOutcome) -> Version {
    match outcome {
        CommitOutcome::Committed { version, checkpoint_error: None, .. } => version,
        other => panic!("not committed: {other:?}"),
    }
}

/// What two snapshots of one version must agree on.
pub(crate) fn facts(snapshot: &TableSnapshot) -> impl PartialEq + std::fmt::Debug + use<> {
    let file = |file: &DataFile| {
        (
            file.key(),
            file.size,
            file.rows,
            format!("{:?}", file.columns),
            file.partition_values.clone(),
            file.entry.clone(),
        )
    };
    (
        (snapshot.version, snapshot.table_id.clone(), snapshot.timestamp_ms),
        snapshot.schema.clone(),
        snapshot.properties.clone(),
        snapshot.files.iter().map(file).collect::<Vec<_>>(),
        snapshot.transactions.clone(),
        (snapshot.reader_features.clone(), snapshot.writer_features.clone()),
    )
}
