//! Reading a checkpoint: the state of a table at one version, from Parquet (or JSON) instead of many entries.
//!
//! Both kinds are read: one or several Parquet files with all actions, and those whose file actions are in sidecars.
//! Batches are taken one at a time; what remains in memory is the list of live files.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int32Array, Int64Array, ListArray, MapArray, RecordBatch, StringArray, StructArray,
};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryFutureExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::{AsyncFileReader, ParquetRecordBatchStreamBuilder};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use serde::Deserialize;

use crate::actions::{Add, Format, Line, Metadata, Protocol, Transaction, decode_path};
use crate::error::{LakeError, Result};
use crate::listing::CheckpointFiles;
use crate::location::TableLocation;
use crate::table::{DvDescriptor, Version};

/// Columns of a checkpoint that are read, as prefixes of paths; parsed copies of statistics are left alone.
const COLUMNS: [&str; 13] = [
    "add.path",
    "add.partitionValues.",
    "add.size",
    "add.modificationTime",
    "add.stats",
    "add.tags.",
    "add.deletionVector.",
    "add.baseRowId",
    "add.defaultRowCommitVersion",
    "metaData.",
    "protocol.",
    "txn.",
    "sidecar.path",
];

/// The state of a table that a checkpoint holds.
#[derive(Debug, Default)]
pub(crate) struct CheckpointState {
    pub protocol: Option<Protocol>,
    pub metadata: Option<Metadata>,
    pub transactions: Vec<Transaction>,
    pub adds: Vec<Add>,
    sidecars: Vec<String>,
}

/// Reads a complete checkpoint.
pub(crate) async fn read_checkpoint(
    store: &Arc<dyn ObjectStore>,
    location: &TableLocation,
    files: &CheckpointFiles,
) -> Result<CheckpointState> {
    let reader = Reader { store, location, version: files.version };
    let mut state = CheckpointState::default();
    for path in &files.paths {
        reader.read_into(path, &mut state).await?;
    }
    for sidecar in std::mem::take(&mut state.sidecars) {
        let path = Path::from("_delta_log/_sidecars");
        let path = Path::parse(format!("{path}/{}", decode_path(&sidecar)))
            .map_err(|error| reader.corrupt(error.to_string()))?;
        reader.read_into(&path, &mut state).await?;
    }
    Ok(state)
}

struct Reader<'a> {
    store: &'a Arc<dyn ObjectStore>,
    location: &'a TableLocation,
    version: Version,
}

#[derive(Deserialize)]
struct SidecarLine {
    sidecar: Option<Sidecar>,
}

#[derive(Deserialize)]
struct Sidecar {
    path: String,
}

impl Reader<'_> {
    async fn read_into(&self, path: &Path, state: &mut CheckpointState) -> Result<()> {
        if path.extension() == Some("json") {
            self.read_json(path, state).await
        } else {
            self.read_parquet(path, state).await
        }
    }

    async fn read_json(&self, path: &Path, state: &mut CheckpointState) -> Result<()> {
        let bytes =
            async { self.store.get(path).await?.bytes().await }.await.map_err(|error| self.unreadable(path, &error))?;
        for text in bytes.split(|byte| *byte == b'\n') {
            if text.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let bad = |error: serde_json::Error| self.corrupt(format!("file '{path}': {error}"));
            let line: Line = serde_json::from_slice(text).map_err(bad)?;
            let sidecar: SidecarLine = serde_json::from_slice(text).map_err(bad)?;
            state.protocol = line.protocol.or(state.protocol.take());
            state.metadata = line.meta_data.or(state.metadata.take());
            state.transactions.extend(line.txn);
            state.adds.extend(line.add);
            state.sidecars.extend(sidecar.sidecar.map(|sidecar| sidecar.path));
        }
        Ok(())
    }

    async fn read_parquet(&self, path: &Path, state: &mut CheckpointState) -> Result<()> {
        let meta = self.store.head(path).await;
        let size = meta.map_err(|error| self.unreadable(path, &error))?.size;
        let reader = StoredFile { store: Arc::clone(self.store), path: path.clone(), size };
        let builder =
            ParquetRecordBatchStreamBuilder::new(reader).await.map_err(|error| self.unreadable(path, &error))?;
        let leaves: Vec<usize> = builder
            .parquet_schema()
            .columns()
            .iter()
            .enumerate()
            .filter(|(_, column)| {
                let leaf = column.path().string();
                COLUMNS.iter().any(|wanted| leaf == *wanted || (wanted.ends_with('.') && leaf.starts_with(wanted)))
            })
            .map(|(index, _)| index)
            .collect();
        let mask = ProjectionMask::leaves(builder.parquet_schema(), leaves);
        let mut batches = builder.with_projection(mask).build().map_err(|error| self.unreadable(path, &error))?.boxed();
        while let Some(batch) = batches.try_next().await.map_err(|error| self.unreadable(path, &error))? {
            take_batch(&batch, state).ok_or_else(|| self.corrupt(format!("file '{path}' lacks a column of Delta")))?;
        }
        Ok(())
    }

    fn unreadable(&self, path: &Path, error: &dyn std::fmt::Display) -> LakeError {
        LakeError::store(&self.location.uri, format!("reading the checkpoint file '{path}'"), &error)
    }

    fn corrupt(&self, detail: String) -> LakeError {
        LakeError::CorruptLog { uri: self.location.uri.clone(), version: self.version, line: None, detail }
    }
}

/// A Parquet file in a store, read by ranges.
struct StoredFile {
    store: Arc<dyn ObjectStore>,
    path: Path,
    size: u64,
}

impl AsyncFileReader for StoredFile {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ParquetError>> {
        self.store.get_range(&self.path, range).map_err(|error| ParquetError::External(Box::new(error))).boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, Result<Vec<Bytes>, ParquetError>> {
        async move { self.store.get_ranges(&self.path, &ranges).await }
            .map_err(|error| ParquetError::External(Box::new(error)))
            .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>, ParquetError>> {
        async move {
            let size = self.size;
            let footer = ParquetMetaDataReader::new().load_and_finish(self, size);
            footer.await.map(Arc::new)
        }
        .boxed()
    }
}

/// Adds what one batch of a checkpoint says; `None` if a required column is missing or has another type.
fn take_batch(batch: &RecordBatch, state: &mut CheckpointState) -> Option<()> {
    if let Some(protocols) = Rows::of_batch(batch, "protocol") {
        for row in protocols.present("minReaderVersion")? {
            state.protocol = Some(Protocol {
                min_reader_version: protocols.int32("minReaderVersion", row)?,
                min_writer_version: protocols.int32("minWriterVersion", row)?,
                reader_features: protocols.strings("readerFeatures", row),
                writer_features: protocols.strings("writerFeatures", row),
            });
        }
    }
    if let Some(metadata) = Rows::of_batch(batch, "metaData") {
        for row in metadata.present("id")? {
            let provider = metadata
                .inside("format")
                .and_then(|format| format.text("provider", row))
                .unwrap_or_else(|| Format::default().provider);
            state.metadata = Some(Metadata {
                id: metadata.text("id", row)?,
                name: metadata.text("name", row),
                description: metadata.text("description", row),
                format: Format { provider, ..Format::default() },
                schema_string: metadata.text("schemaString", row)?,
                partition_columns: metadata.strings("partitionColumns", row).unwrap_or_default(),
                created_time: metadata.int64("createdTime", row),
                configuration: metadata.map("configuration", row).unwrap_or_default(),
            });
        }
    }
    if let Some(transactions) = Rows::of_batch(batch, "txn") {
        for row in transactions.present("appId")? {
            state.transactions.push(Transaction {
                app_id: transactions.text("appId", row)?,
                version: transactions.int64("version", row)?,
                last_updated: transactions.int64("lastUpdated", row),
            });
        }
    }
    if let Some(sidecars) = Rows::of_batch(batch, "sidecar") {
        for row in sidecars.present("path")? {
            state.sidecars.push(sidecars.text("path", row)?);
        }
    }
    if let Some(adds) = Rows::of_batch(batch, "add") {
        let vectors = adds.inside("deletionVector");
        for row in adds.present("path")? {
            state.adds.push(Add {
                path: adds.text("path", row)?,
                partition_values: adds.map("partitionValues", row).unwrap_or_default(),
                size: u64::try_from(adds.int64("size", row)?).ok()?,
                modification_time: adds.int64("modificationTime", row).unwrap_or_default(),
                data_change: false,
                stats: adds.text("stats", row),
                tags: adds.map("tags", row),
                deletion_vector: vectors.as_ref().and_then(|vectors| vectors.vector(row)),
                base_row_id: adds.int64("baseRowId", row),
                default_row_commit_version: adds.int64("defaultRowCommitVersion", row),
            });
        }
    }
    Some(())
}

/// Columns of one kind of action, in the plain encodings.
struct Rows {
    columns: Vec<(String, ArrayRef)>,
    valid: StructArray,
}

impl Rows {
    fn of_batch(batch: &RecordBatch, action: &str) -> Option<Self> {
        Self::of(batch.column_by_name(action)?.as_struct_opt()?)
    }

    fn of(rows: &StructArray) -> Option<Self> {
        let columns = rows
            .fields()
            .iter()
            .zip(rows.columns())
            .map(|(field, column)| Some((field.name().clone(), plain(column)?)))
            .collect::<Option<Vec<_>>>()?;
        Some(Self { columns, valid: rows.clone() })
    }

    /// Rows that have this kind of action: where its key is not null.
    fn present(&self, key: &str) -> Option<Vec<usize>> {
        let key = self.column(key)?;
        Some((0..self.valid.len()).filter(|row| self.valid.is_valid(*row) && key.is_valid(*row)).collect())
    }

    fn column(&self, name: &str) -> Option<&ArrayRef> {
        self.columns.iter().find(|(found, _)| found == name).map(|(_, column)| column)
    }

    fn inside(&self, name: &str) -> Option<Self> {
        Self::of(self.column(name)?.as_struct_opt()?)
    }

    fn text(&self, name: &str, row: usize) -> Option<String> {
        let column: &StringArray = self.column(name)?.as_any().downcast_ref()?;
        column.is_valid(row).then(|| column.value(row).to_owned())
    }

    fn int32(&self, name: &str, row: usize) -> Option<i32> {
        let column: &Int32Array = self.column(name)?.as_any().downcast_ref()?;
        column.is_valid(row).then(|| column.value(row))
    }

    fn int64(&self, name: &str, row: usize) -> Option<i64> {
        let column: &Int64Array = self.column(name)?.as_any().downcast_ref()?;
        column.is_valid(row).then(|| column.value(row))
    }

    fn strings(&self, name: &str, row: usize) -> Option<Vec<String>> {
        let column: &ListArray = self.column(name)?.as_list_opt()?;
        if column.is_null(row) {
            return None;
        }
        let items = plain(&column.value(row))?;
        let items: &StringArray = items.as_any().downcast_ref()?;
        Some(items.iter().flatten().map(str::to_owned).collect())
    }

    fn map<M: FromIterator<(String, Option<String>)>>(&self, name: &str, row: usize) -> Option<M> {
        let column: &MapArray = self.column(name)?.as_map_opt()?;
        if column.is_null(row) {
            return None;
        }
        let entries = column.value(row);
        let (keys, values) = (plain(entries.column(0))?, plain(entries.column(1))?);
        let keys: &StringArray = keys.as_any().downcast_ref()?;
        let values: &StringArray = values.as_any().downcast_ref()?;
        Some(
            keys.iter()
                .zip(values.iter())
                .filter_map(|(key, value)| Some((key?.to_owned(), value.map(str::to_owned))))
                .collect(),
        )
    }

    fn vector(&self, row: usize) -> Option<DvDescriptor> {
        if self.valid.is_null(row) {
            return None;
        }
        Some(DvDescriptor {
            storage_type: self.text("storageType", row)?,
            path_or_inline_dv: self.text("pathOrInlineDv", row)?,
            offset: self.int32("offset", row),
            size_in_bytes: self.int32("sizeInBytes", row)?,
            cardinality: self.int64("cardinality", row)?,
        })
    }
}

/// Writers store strings in any of Arrow's encodings.
fn plain(column: &ArrayRef) -> Option<ArrayRef> {
    match column.data_type() {
        DataType::Utf8View | DataType::LargeUtf8 | DataType::Dictionary(..) => cast(column, &DataType::Utf8).ok(),
        _ => Some(Arc::clone(column)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Builder, StringViewArray};
    use arrow::datatypes::{Field, Schema};

    #[test]
    fn rows_of_other_actions_are_passed_over() {
        let paths: ArrayRef = Arc::new(StringViewArray::from(vec![Some("a"), None, Some("b")]));
        let mut sizes = Int64Builder::new();
        sizes.append_value(1);
        sizes.append_null();
        sizes.append_value(2);
        let adds = StructArray::from(vec![
            (Arc::new(Field::new("path", DataType::Utf8View, true)), paths),
            (Arc::new(Field::new("size", DataType::Int64, true)), Arc::new(sizes.finish()) as ArrayRef),
        ]);
        let schema = Arc::new(Schema::new(vec![Field::new("add", adds.data_type().clone(), true)]));
        let batch = RecordBatch::try_new(schema, vec![Arc::new(adds)]).unwrap();
        let mut state = CheckpointState::default();
        take_batch(&batch, &mut state).unwrap();
        let found: Vec<(&str, u64)> = state.adds.iter().map(|add| (add.path.as_str(), add.size)).collect();
        assert_eq!(found, [("a", 1), ("b", 2)]);
    }
}
