//! Writing rows into files that no version names yet.
//!
//! Files are bounded in size and carry statistics.  A file that is not committed is deleted when the last
//! [`WrittenFile`] that stands for it is dropped, also when the write itself is dropped half-way.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Float16Array, Float32Array, Float64Array, RecordBatch};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::prelude::SessionContext;
use delta_kernel::table_properties::DataSkippingNumIndexedCols;
use deltalake_core::datafile::writer::{DeltaWriter, WriterConfig};
use futures::StreamExt;
use object_store::ObjectStore;
use object_store::path::Path;
use object_store::prefix::PrefixStore;

use crate::actions::{Add, Cdc, encode_path};
use crate::constraints::{check_nulls, checked_stream, required_constraints};
use crate::durability::FileGuard;
use crate::error::{LakeError, Result};
use crate::lake::Lake;
use crate::properties::DeltaWriteSpec;
use crate::recording_store::RecordingStore;
use crate::schema::storable_schema;
use crate::statistics::FileCounts;
use crate::table::{Constraint, DataFile, DvDescriptor};

/// Folder of the files with changed rows.
const CHANGE_FOLDER: &str = "_change_data";
/// Size above which a new file is begun where nothing else is said, in bytes.
const DEFAULT_FILE_SIZE: u64 = 128 * 1024 * 1024;
/// Rows that are encoded at once.
const ENCODED_ROWS: usize = 8192;
/// Columns that get statistics where nothing else is said, as everywhere in Delta.
const INDEXED_COLUMNS: u64 = 32;

/// A file that was written and that a commit can name.  Clones stand for the same file.
#[derive(Clone, Debug)]
pub struct WrittenFile {
    /// Path relative to the table, percent-decoded.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
    /// Number of physical rows.
    pub rows: u64,
    /// Values of the partition columns; `None` is NULL.
    pub partition_values: BTreeMap<String, Option<String>>,
    /// Statistics in Delta's JSON.
    pub stats: Option<String>,
    /// When the file was written, in milliseconds since 1970.
    pub modification_time_ms: i64,
    /// Vector of hidden rows, for a file that is already in the table.
    pub deletion_vector: Option<DvDescriptor>,
    /// What the commit has to sync, relative to the table.
    pub(crate) unsynced: Option<String>,
    guard: Option<Arc<FileGuard>>,
}

impl WrittenFile {
    /// A file of the table as it is after more of its rows were hidden.
    ///
    /// `vector_file` is the new file with the vector, relative to the table; it goes with this value if nothing
    /// commits it.
    pub fn with_deletion_vector(
        lake: &Lake,
        spec: &DeltaWriteSpec,
        file: &DataFile,
        vector: DvDescriptor,
        vector_file: Option<&str>,
    ) -> Result<Self> {
        let guard = match vector_file {
            Some(path) => Some(Arc::new(guard(lake, spec, path)?)),
            None => None,
        };
        Ok(Self {
            path: file.path.clone(),
            size: file.size,
            rows: file.rows.unwrap_or_default(),
            partition_values: file.partition_values.as_ref().clone(),
            stats: file.entry.stats.as_deref().map(loose_bounds),
            modification_time_ms: file.modification_time_ms,
            deletion_vector: Some(vector),
            unsynced: vector_file.map(str::to_owned),
            guard,
        })
    }

    /// Number of rows that are not hidden.
    pub fn live_rows(&self) -> u64 {
        let hidden = self.deletion_vector.as_ref().map_or(0, |vector| u64::try_from(vector.cardinality).unwrap_or(0));
        self.rows.saturating_sub(hidden)
    }

    /// Sets whether the file stays without this value.
    pub(crate) fn keep(&self, kept: bool) {
        if let Some(guard) = &self.guard {
            guard.keep(kept);
        }
    }

    pub(crate) fn to_add(&self, data_change: bool) -> Add {
        Add {
            path: encode_path(&self.path),
            partition_values: self.partition_values.clone(),
            size: self.size,
            modification_time: self.modification_time_ms,
            data_change,
            stats: self.stats.clone(),
            tags: None,
            deletion_vector: self.deletion_vector.clone(),
            base_row_id: None,
            default_row_commit_version: None,
        }
    }

    pub(crate) fn to_cdc(&self) -> Cdc {
        Cdc {
            path: encode_path(&self.path),
            partition_values: self.partition_values.clone(),
            size: self.size,
            data_change: false,
            tags: None,
        }
    }
}

/// Statistics of which some rows are hidden: still bounds, but no longer exact.
fn loose_bounds(stats: &str) -> String {
    match serde_json::from_str::<serde_json::Value>(stats) {
        Ok(serde_json::Value::Object(mut map)) => {
            map.insert("tightBounds".to_owned(), false.into());
            serde_json::Value::Object(map).to_string()
        }
        _ => stats.to_owned(),
    }
}

fn guard(lake: &Lake, spec: &DeltaWriteSpec, path: &str) -> Result<FileGuard> {
    let store = lake.store(&spec.location)?;
    Ok(FileGuard::new(
        Arc::clone(&store.table),
        spec.location.local_path().as_deref(),
        Path::parse(path).map_err(|error| LakeError::invalid(error.to_string()))?,
    ))
}

/// Writes rows into new data files with statistics.  Nothing is visible until a commit names them.
///
/// Rows are cast to the storable form of `schema`, and checked against the constraints of the spec and of the table.
///
/// # Errors
/// `schema_mismatch`, `constraint_violated`, `store_error`, and whatever the stream ends with; all files are deleted
/// then.
pub async fn write_files(
    lake: &Lake,
    spec: &DeltaWriteSpec,
    schema: &SchemaRef,
    stream: SendableRecordBatchStream,
) -> Result<Vec<WrittenFile>> {
    Writing::new(lake, spec, schema).await?.write(stream).await
}

/// All that is decided once for the data files of one commit; clones write the same way.
#[derive(Clone)]
pub(crate) struct Writing {
    lake: Lake,
    spec: DeltaWriteSpec,
    schema: SchemaRef,
    constraints: Vec<Constraint>,
    indexed: DataSkippingNumIndexedCols,
}

impl Writing {
    /// Looks at the table and at what it asks of its rows.
    pub async fn new(lake: &Lake, spec: &DeltaWriteSpec, schema: &SchemaRef) -> Result<Self> {
        for name in &spec.partition_by {
            if schema.field_with_name(name).is_ok_and(|field| field.data_type().is_floating()) {
                return Err(LakeError::UnsupportedFeature {
                    uri: spec.location.uri.clone(),
                    feature: format!("floating-point partition column '{name}'"),
                    action: "written",
                    hint: "partition by another column, or cast it to a decimal or a string".to_owned(),
                });
            }
        }
        let table = match lake.snapshot(&spec.location, None).await {
            Ok(snapshot) => Some(snapshot),
            Err(LakeError::NotATable { .. }) => None,
            Err(error) => return Err(error),
        };
        let indexed = match spec.properties.get("delta.dataSkippingNumIndexedCols") {
            Some(number) if number.trim() == "-1" => DataSkippingNumIndexedCols::AllColumns,
            Some(number) => DataSkippingNumIndexedCols::NumColumns(number.parse().unwrap_or(INDEXED_COLUMNS)),
            None => DataSkippingNumIndexedCols::NumColumns(INDEXED_COLUMNS),
        };
        Ok(Self {
            constraints: required_constraints(spec, table.as_deref()),
            lake: lake.clone(),
            spec: spec.clone(),
            schema: Arc::clone(schema),
            indexed,
        })
    }

    /// The table, for messages.
    pub fn uri(&self) -> &str {
        &self.spec.location.uri
    }

    /// Writes the rows of a stream into files of their own.
    pub async fn write(&self, stream: SendableRecordBatchStream) -> Result<Vec<WrittenFile>> {
        let stream = if self.constraints.is_empty() {
            stream
        } else {
            checked_stream(&SessionContext::new(), &self.spec.location.uri, &self.constraints, stream)?
        };
        write(&self.lake, &self.spec, &self.schema, stream, None, self.indexed).await
    }
}

/// Writes changed rows, which carry `_change_type`, into new files below `_change_data/`.
///
/// # Errors
/// As [`write_files`], without the table's constraints: rows that left need not meet them.
pub async fn write_change_files(
    lake: &Lake,
    spec: &DeltaWriteSpec,
    schema: &SchemaRef,
    stream: SendableRecordBatchStream,
) -> Result<Vec<WrittenFile>> {
    if schema.field_with_name("_change_type").is_err() {
        return Err(LakeError::SchemaMismatch {
            uri: spec.location.uri.clone(),
            detail: "changed rows need the column '_change_type'; add it to the stream".to_owned(),
        });
    }
    let indexed = DataSkippingNumIndexedCols::NumColumns(0);
    write(lake, spec, schema, stream, Some(CHANGE_FOLDER), indexed).await
}

async fn write(
    lake: &Lake,
    spec: &DeltaWriteSpec,
    schema: &SchemaRef,
    mut stream: SendableRecordBatchStream,
    folder: Option<&'static str>,
    indexed: DataSkippingNumIndexedCols,
) -> Result<Vec<WrittenFile>> {
    let uri = &spec.location.uri;
    spec.validate()?;
    let stored = storable_schema(uri, schema)?;
    check_partitions(spec, &stored)?;
    let table = Arc::clone(&lake.store(&spec.location)?.table);
    let local = spec.location.local_path();
    let inner: Arc<dyn ObjectStore> = match folder {
        Some(folder) => Arc::new(PrefixStore::new(Arc::clone(&table), folder)),
        None => Arc::clone(&table),
    };
    let recording = Arc::new(RecordingStore::new(inner, move |path| {
        let path = match folder {
            Some(folder) => Path::parse(format!("{folder}/{path}")).unwrap_or_default(),
            None => path.clone(),
        };
        FileGuard::new(Arc::clone(&table), local.as_deref(), path)
    }));
    let config = WriterConfig::new(
        Arc::clone(&stored),
        spec.partition_by.clone(),
        None,
        NonZeroU64::new(file_size(spec)),
        Some(ENCODED_ROWS),
        indexed,
        None,
    )
    .with_random_prefix_length(needs_plain_paths(spec, &stored, folder.is_some()).then_some(2));
    let failed = |error: deltalake_core::DeltaTableError| LakeError::store(uri, "writing data files", &error);
    let store: Arc<dyn ObjectStore> = Arc::<RecordingStore>::clone(&recording);
    let mut writer = DeltaWriter::new(store, config);
    let mut with_nan = BTreeSet::new();
    let drained = async {
        while let Some(batch) = stream.next().await {
            let batch = stored_batch(uri, &batch?, &stored, &spec.partition_by)?;
            note_nan(&batch, &mut with_nan);
            writer.write(&batch).await.map_err(failed)?;
        }
        Ok(())
    };
    if let Err(error) = drained.await {
        // Parts of unfinished uploads cost money where nobody sees them; the first error is the one to tell.
        let _ = writer.abort().await;
        return Err(error);
    }
    let adds = writer.close().await.map_err(failed)?;
    let mut guards = recording.take();
    adds.into_iter()
        .map(|add| {
            let guard = guards.remove(&add.path);
            let path = match folder {
                Some(folder) => format!("{folder}/{}", add.path),
                None => add.path,
            };
            let stats = add.stats.map(|stats| without_bounds(stats, &with_nan));
            Ok(WrittenFile {
                size: u64::try_from(add.size).unwrap_or_default(),
                rows: FileCounts::parse(stats.as_deref()).num_records.unwrap_or_default(),
                partition_values: add.partition_values.into_iter().collect(),
                stats: folder.is_none().then_some(stats).flatten(),
                modification_time_ms: add.modification_time,
                deletion_vector: None,
                unsynced: Some(path.clone()),
                guard: guard.map(Arc::new),
                path,
            })
        })
        .collect()
}

/// Whether files go into folders of random names instead of those of their partition values.
///
/// delta-rs reads change feeds without decoding the paths of files, so that they must not need it: change files never,
/// data files only where a value of their partition may have to be encoded.
fn needs_plain_paths(spec: &DeltaWriteSpec, stored: &SchemaRef, change_files: bool) -> bool {
    let encoded = |name: &String| {
        stored
            .field_with_name(name)
            .is_ok_and(|field| matches!(field.data_type(), DataType::Utf8 | DataType::Timestamp(..)))
            || !name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
    };
    !spec.partition_by.is_empty() && (change_files || spec.partition_by.iter().any(encoded))
}

fn file_size(spec: &DeltaWriteSpec) -> u64 {
    spec.target_file_size
        .or_else(|| spec.properties.get("delta.targetFileSize")?.parse().ok())
        .filter(|size| *size > 0)
        .unwrap_or(DEFAULT_FILE_SIZE)
}

fn check_partitions(spec: &DeltaWriteSpec, stored: &SchemaRef) -> Result<()> {
    let refuse = |column: &str, why: &str| {
        Err(LakeError::SchemaMismatch {
            uri: spec.location.uri.clone(),
            detail: format!("partition column '{column}' {why}"),
        })
    };
    for column in &spec.partition_by {
        match stored.field_with_name(column) {
            Err(_) => {
                return refuse(column, "is not among the columns; add it or partition by another");
            }
            Ok(field) if field.data_type().is_nested() || *field.data_type() == DataType::Binary => {
                return refuse(column, "is nested or binary; partition by a plain value");
            }
            Ok(_) => {}
        }
    }
    if !spec.partition_by.is_empty() && spec.partition_by.len() == stored.fields().len() {
        return refuse(&spec.partition_by[0], "leaves no column for the files; add a column");
    }
    Ok(())
}

/// A batch in the form in which it is stored.  A cast that would lose a value fails instead.
fn stored_batch(uri: &str, batch: &RecordBatch, stored: &SchemaRef, partition_by: &[String]) -> Result<RecordBatch> {
    let mismatch = |detail: String| LakeError::SchemaMismatch { uri: uri.to_owned(), detail };
    if batch.num_columns() != stored.fields().len() {
        return Err(mismatch(format!(
            "rows have {} columns and the schema has {}; project the rows to the schema",
            batch.num_columns(),
            stored.fields().len()
        )));
    }
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let columns = stored
        .fields()
        .iter()
        .zip(batch.columns())
        .map(|(field, column)| {
            if column.data_type() == field.data_type() {
                return Ok(Arc::clone(column));
            }
            cast_with_options(column, field.data_type(), &options).map_err(|error| {
                mismatch(format!(
                    "column '{}' of type {} does not fit {}: {error}; cast it in the query",
                    field.name(),
                    column.data_type(),
                    field.data_type()
                ))
            })
        })
        .collect::<Result<Vec<ArrayRef>>>()?;
    // Built with nullable fields first, so that a NULL is reported by our own check.
    let lenient = arrow::datatypes::Schema::new(
        stored.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect::<Vec<_>>(),
    );
    let batch = RecordBatch::try_new(Arc::new(lenient), columns)?;
    check_nulls(uri, stored, partition_by, &batch)?;
    Ok(RecordBatch::try_new(Arc::clone(stored), batch.columns().to_vec())?)
}

/// Notes columns with a NaN: Parquet leaves it out of minimum and maximum, though queries order it above all numbers.
fn note_nan(batch: &RecordBatch, with_nan: &mut BTreeSet<String>) {
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        if !with_nan.contains(field.name()) && has_nan(column) {
            with_nan.insert(field.name().clone());
        }
    }
}

fn has_nan(column: &ArrayRef) -> bool {
    let any = column.as_any();
    if let Some(values) = any.downcast_ref::<Float64Array>() {
        values.values().iter().any(|value| value.is_nan())
    } else if let Some(values) = any.downcast_ref::<Float32Array>() {
        values.values().iter().any(|value| value.is_nan())
    } else if let Some(values) = any.downcast_ref::<Float16Array>() {
        values.values().iter().any(|value| value.is_nan())
    } else if column.data_type().is_nested() {
        column.to_data().child_data().iter().any(|child| has_nan(&arrow::array::make_array(child.clone())))
    } else {
        false
    }
}

fn without_bounds(stats: String, columns: &BTreeSet<String>) -> String {
    if columns.is_empty() {
        return stats;
    }
    let Ok(mut value) = serde_json::from_str::<serde_json::Value>(&stats) else {
        return stats;
    };
    for side in ["minValues", "maxValues"] {
        if let Some(bounds) = value.get_mut(side).and_then(|side| side.as_object_mut()) {
            bounds.retain(|column, _| !columns.contains(column));
        }
    }
    value.to_string()
}
