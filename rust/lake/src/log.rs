//! The log's entries: is there a new one, which are there, and what does each say.
//!
//! An entry is read whole and at most a few are in memory at once.  A missing entry is named, never passed over.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::actions::{Add, Line, Metadata, PartitionValues, Protocol, decode_path};
use crate::error::{LakeError, Result};
use crate::lake::Lake;
use crate::listing::{Listing, Stamp};
use crate::location::TableLocation;
use crate::statistics::{FileCounts, FileStatistics};
use crate::table::{DataFile, DvDescriptor, FileEntry, FileKey, TableIdentity, Version};

/// Entries that are read ahead of the one that is being worked on.
const READ_AHEAD: usize = 8;

/// One entry of the log.
#[derive(Clone, Debug)]
pub struct Commit {
    /// Its version.
    pub version: Version,
    /// When it was made, in milliseconds since 1970.
    pub timestamp_ms: i64,
    /// Name of the operation, empty if the writer gave none.
    pub operation: String,
    /// The writer.
    pub engine_info: Option<String>,
    /// Whether any file was added or removed without the promise that rows stayed the same.
    pub data_changed: bool,
    /// Files that were added.  Their statistics are not typed; see [`DataFile::with_schema`].
    pub adds: Vec<DataFile>,
    /// Files that were removed.
    pub removes: Vec<RemovedFile>,
    /// Files with the rows that changed.
    pub change_files: Vec<ChangeFile>,
    /// New metadata of the table.
    pub metadata: Option<Metadata>,
    /// New protocol of the table.
    pub protocol: Option<Protocol>,
    /// Versions that applications recorded.
    pub transactions: BTreeMap<String, i64>,
    /// The whole `commitInfo`.
    pub info: Map<String, Value>,
    /// Hash of the entry's bytes (SHA-256, hex).
    pub hash: String,
}

impl Commit {
    /// Whether the commit sets a protocol.
    pub fn protocol_changed(&self) -> bool {
        self.protocol.is_some()
    }
}

/// A file that a commit removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemovedFile {
    /// Which file.
    pub key: FileKey,
    /// Whether rows went with it; `false` where the same rows were added again.
    pub data_change: bool,
}

/// A file with rows that a commit changed, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeFile {
    /// Path relative to the table, percent-decoded.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
    /// Values of the partition columns.
    pub partition_values: BTreeMap<String, Option<String>>,
}

impl Lake {
    /// Whether the version after `after` is there: one request, nothing is opened.
    ///
    /// A log that was cleaned or made anew beyond `after` also answers `false`; [`Lake::identity`] tells that.
    pub async fn next_version_exists(&self, location: &TableLocation, after: Version) -> Result<bool> {
        let store = self.store(location)?;
        match store.table.head(&entry_path(after + 1)).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(LakeError::store(&location.uri, "looking for the next version", &error)),
        }
    }

    /// The newest version, from a listing that starts at `at_least`.
    ///
    /// # Errors
    /// `not_a_table` without a log; `corrupt_log` where an entry after the newest checkpoint is missing.
    pub async fn latest_version(&self, location: &TableLocation, at_least: Option<Version>) -> Result<Version> {
        let store = self.store(location)?;
        let mut listing = Listing::read(&store, location, at_least).await?;
        if listing.is_empty() && at_least.is_some() {
            listing = Listing::read(&store, location, None).await?;
        }
        listing.latest(location)
    }

    /// The oldest version whose entry is still there.
    ///
    /// One request tells it of a log that was never cleaned, however long that is; a cleaned one is listed.
    pub async fn oldest_version(&self, location: &TableLocation) -> Result<Version> {
        let store = self.store(location)?;
        if store.table.head(&entry_path(0)).await.is_ok() {
            return Ok(0);
        }
        let listing = Listing::read(&store, location, None).await?;
        let latest = listing.latest(location)?;
        Ok(listing.entries.keys().next().copied().unwrap_or(latest))
    }

    /// What tells this table at `version` from another one at the same place.
    pub async fn identity(&self, location: &TableLocation, version: Version) -> Result<TableIdentity> {
        let store = self.store(location)?;
        let entry = read_entry(&store.table, location, version).await?;
        let snapshot = self.snapshot(location, Some(version)).await?;
        Ok(TableIdentity { table_id: snapshot.table_id.clone(), commit_hash: entry.map(|entry| hash(&entry.bytes)) })
    }

    /// The commit that made `version`; `None` if its entry is not there.
    pub async fn commit_at(&self, location: &TableLocation, version: Version) -> Result<Option<Commit>> {
        let store = self.store(location)?;
        match read_entry(&store.table, location, version).await? {
            Some(entry) => parse(location, version, &entry, &untyped()).map(Some),
            None => Ok(None),
        }
    }

    /// The commits `(after, upto]`, oldest first.
    ///
    /// # Errors
    /// `history_gone` with the first version whose entry is missing; `version_not_found` if the table is not at `upto`
    /// yet; `corrupt_log` with version and line.
    pub async fn commits(&self, location: &TableLocation, after: Version, upto: Version) -> Result<Vec<Commit>> {
        let mut commits = Vec::new();
        self.for_each_commit(location, after, upto, |commit| {
            commits.push(commit);
            Ok(())
        })
        .await?;
        Ok(commits)
    }

    /// Hands the commits `(after, upto]` to `visit`, oldest first, with only a few of them in memory.
    ///
    /// # Errors
    /// As [`Lake::commits`], and whatever `visit` returns, which ends the walk.
    pub async fn for_each_commit(
        &self,
        location: &TableLocation,
        after: Version,
        upto: Version,
        mut visit: impl FnMut(Commit) -> Result<()>,
    ) -> Result<()> {
        if after > upto {
            return Err(LakeError::invalid(format!(
                "the range of versions ({after}, {upto}] of table '{}' ends before it begins",
                location.uri
            )));
        }
        if after == upto {
            return Ok(());
        }
        let store = self.store(location)?;
        let mut entries = std::pin::pin!(entries(&store.table, location, after + 1..=upto));
        while let Some((version, entry)) = entries.try_next().await? {
            let Some(entry) = entry else {
                let newest = Listing::read(&store, location, None).await?.newest(location)?;
                return Err(missing_entry(location, version, newest));
            };
            visit(parse(location, version, &entry, &untyped())?)?;
        }
        Ok(())
    }
}

/// What a missing entry means, given the newest version that exists.
pub(crate) fn missing_entry(location: &TableLocation, version: Version, latest: Version) -> LakeError {
    if version > latest {
        LakeError::VersionNotFound { uri: location.uri.clone(), version, latest }
    } else {
        LakeError::HistoryGone { uri: location.uri.clone(), version }
    }
}

/// Bytes of an entry and what identifies the object.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub bytes: Bytes,
    pub stamp: Stamp,
}

/// Path of an entry below the table.
pub(crate) fn entry_path(version: Version) -> Path {
    Path::from(format!("_delta_log/{}", entry_name(version)))
}

/// Name of an entry in the folder of the log.
pub(crate) fn entry_name(version: Version) -> String {
    format!("{version:020}.json")
}

/// Hash of an entry (SHA-256, hex).
pub(crate) fn hash(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A schema without columns: statistics stay untyped.
pub(crate) fn untyped() -> SchemaRef {
    Arc::new(Schema::empty())
}

/// Reads one entry; `None` if it is not there.
pub(crate) async fn read_entry(
    store: &Arc<dyn ObjectStore>,
    location: &TableLocation,
    version: Version,
) -> Result<Option<Entry>> {
    let failed = |error: object_store::Error| {
        LakeError::store(&location.uri, format!("reading the log entry of version {version}"), &error)
    };
    match store.get(&entry_path(version)).await {
        Ok(found) => {
            let stamp = Stamp::of(&found.meta);
            let bytes = found.bytes().await.map_err(failed)?;
            Ok(Some(Entry { bytes, stamp }))
        }
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

/// Reads entries in order, a few ahead.
pub(crate) fn entries<'a>(
    store: &'a Arc<dyn ObjectStore>,
    location: &'a TableLocation,
    versions: RangeInclusive<Version>,
) -> impl Stream<Item = Result<(Version, Option<Entry>)>> + 'a {
    futures::stream::iter(versions)
        .map(move |version| async move { Ok((version, read_entry(store, location, version).await?)) })
        .buffered(READ_AHEAD)
}

/// Parses an entry; statistics of its files are read as those of `schema`.
pub(crate) fn parse(location: &TableLocation, version: Version, entry: &Entry, schema: &SchemaRef) -> Result<Commit> {
    let mut commit = Commit {
        version,
        timestamp_ms: entry.stamp.modified_ms,
        operation: String::new(),
        engine_info: None,
        data_changed: false,
        adds: Vec::new(),
        removes: Vec::new(),
        change_files: Vec::new(),
        metadata: None,
        protocol: None,
        transactions: BTreeMap::new(),
        info: Map::new(),
        hash: hash(&entry.bytes),
    };
    let mut lines = 0;
    for (number, text) in entry.bytes.split(|byte| *byte == b'\n').enumerate() {
        if text.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let line = serde_json::from_slice(text).map_err(|error| LakeError::CorruptLog {
            uri: location.uri.clone(),
            version,
            line: Some(number + 1),
            detail: error.to_string(),
        })?;
        lines += 1;
        commit.take(line, schema);
    }
    if lines == 0 {
        return Err(LakeError::CorruptLog {
            uri: location.uri.clone(),
            version,
            line: None,
            detail: "the entry is empty".to_owned(),
        });
    }
    Ok(commit)
}

impl Commit {
    fn take(&mut self, line: Line, schema: &SchemaRef) {
        if let Some(info) = line.commit_info {
            let time = info.get("inCommitTimestamp").or_else(|| info.get("timestamp")).and_then(Value::as_i64);
            self.timestamp_ms = time.unwrap_or(self.timestamp_ms);
            let text = |key: &str| info.get(key).and_then(Value::as_str).map(str::to_owned);
            self.operation = text("operation").unwrap_or_default();
            self.engine_info = text("engineInfo");
            self.info = info;
        }
        if let Some(add) = line.add {
            self.data_changed |= add.data_change;
            self.adds.push(data_file(add, schema));
        }
        if let Some(remove) = line.remove {
            self.data_changed |= remove.data_change;
            self.removes.push(RemovedFile {
                key: FileKey {
                    path: decode_path(&remove.path),
                    deletion_vector: remove.deletion_vector.as_ref().map(DvDescriptor::unique_id),
                },
                data_change: remove.data_change,
            });
        }
        if let Some(change) = line.cdc {
            self.change_files.push(ChangeFile {
                path: decode_path(&change.path),
                size: change.size,
                partition_values: change.partition_values,
            });
        }
        if let Some(txn) = line.txn {
            self.transactions.insert(txn.app_id, txn.version);
        }
        self.metadata = line.meta_data.or(self.metadata.take());
        self.protocol = line.protocol.or(self.protocol.take());
    }
}

/// A file of an `add`, with statistics of `schema`'s types.
pub(crate) fn data_file(add: Add, schema: &SchemaRef) -> DataFile {
    let counts = FileCounts::parse(add.stats.as_deref());
    let stats: Option<Arc<str>> = add.stats.map(Arc::from);
    DataFile {
        path: decode_path(&add.path),
        size: add.size,
        modification_time_ms: add.modification_time,
        partition_values: Arc::new(partition_values(add.partition_values)),
        rows: counts.num_records,
        columns: FileStatistics::new(stats.clone(), Arc::clone(schema)),
        // Without a vector nothing is hidden, whatever the writer left behind.
        tight_bounds: counts.tight_bounds.unwrap_or(true) || add.deletion_vector.is_none(),
        deletion_vector: add.deletion_vector,
        entry: Arc::new(FileEntry {
            path: add.path,
            tags: add.tags,
            base_row_id: add.base_row_id,
            default_row_commit_version: add.default_row_commit_version,
            stats,
        }),
    }
}

/// Delta writes NULL of a partition column as an absent or as an empty value.
fn partition_values(values: PartitionValues) -> PartitionValues {
    values.into_iter().map(|(column, value)| (column, value.filter(|text| !text.is_empty()))).collect()
}
