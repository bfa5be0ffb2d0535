//! Building the snapshot of a version: a checkpoint or an older snapshot, and the entries after it.
//!
//! One rule replays both: of all that the entries say about a file key, an application, the metadata or the protocol,
//! the newest holds.  A cached snapshot is carried on by the tail of the log alone.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use futures::TryStreamExt;
use object_store::ObjectStoreExt;

use crate::actions::{Metadata, Protocol};
use crate::checkpoint::{CheckpointState, read_checkpoint};
use crate::error::{LakeError, Result};
use crate::lake::{CachedSnapshot, Lake, Store};
use crate::listing::{CheckpointFiles, Listing, Stamp};
use crate::location::TableLocation;
use crate::log::{Commit, data_file, entries, entry_path, missing_entry, parse, read_entry, untyped};
use crate::properties::{check_readable, constraints, reader_features, writer_features};
use crate::schema::schema_from_delta_json;
use crate::table::{DataFile, DvDescriptor, FileKey, TableSnapshot, Version};

/// Entries by which a cached snapshot is carried on; further ahead a checkpoint is likely, and then cheaper.
const MAX_TAIL: u64 = 256;

impl Lake {
    /// The table at `version`, or at its newest one.
    ///
    /// # Errors
    /// `not_a_table`, `version_not_found`, `history_gone`, `corrupt_log` with version and line, and
    /// `unsupported_feature` for a table that cannot be read rightly.
    pub async fn snapshot(&self, location: &TableLocation, version: Option<Version>) -> Result<Arc<TableSnapshot>> {
        let store = self.store(location)?;
        let cached = self.cache().newest(location, version);
        if let Some(cached) = cached
            && let Some(snapshot) = self.carry_on(&store, location, cached, version).await?
        {
            return Ok(snapshot);
        }
        let (snapshot, stamp) = build(&store, location, version).await?;
        let snapshot = Arc::new(snapshot);
        if let Some(stamp) = stamp {
            self.cache().insert(Arc::clone(&snapshot), stamp);
        }
        Ok(snapshot)
    }

    /// Reads the entries after a cached snapshot; `None` if that does not lead to `version`, or if the snapshot is not
    /// of the table that is there now.
    async fn carry_on(
        &self,
        store: &Store,
        location: &TableLocation,
        cached: CachedSnapshot,
        version: Option<Version>,
    ) -> Result<Option<Arc<TableSnapshot>>> {
        let base = cached.snapshot.version;
        let mut replay = Replay::default();
        let mut stamp = cached.stamp.clone();
        let last = version.unwrap_or(base + MAX_TAIL).min(base + MAX_TAIL);
        if version.is_some_and(|version| version > last) {
            return Ok(None);
        }
        let mut reached = base;
        // An idle table must cost one request, so that reading ahead begins with the second entry.
        if base < last
            && let Some(entry) = read_entry(&store.table, location, base + 1).await?
        {
            replay.apply(parse(location, base + 1, &entry, &untyped())?);
            (reached, stamp) = (base + 1, entry.stamp);
            let mut tail = std::pin::pin!(entries(&store.table, location, base + 2..=last));
            while let Some((version, Some(entry))) = tail.try_next().await? {
                replay.apply(parse(location, version, &entry, &untyped())?);
                (reached, stamp) = (version, entry.stamp);
            }
        }
        if version.is_some_and(|version| version != reached) || reached == base + MAX_TAIL {
            return Ok(None);
        }
        // Checked after the tail was read: a table made anew in between has another entry at the base.
        match store.table.head(&entry_path(base)).await {
            Ok(meta) if Stamp::of(&meta).same(&cached.stamp) => {}
            Ok(_) => {
                self.cache().forget(location);
                return Ok(None);
            }
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => {
                return Err(LakeError::store(
                    &location.uri,
                    format!("looking at the log entry of version {base}"),
                    &error,
                ));
            }
        }
        if reached == base {
            return Ok(Some(cached.snapshot));
        }
        let snapshot = Arc::new(replay.onto(&cached.snapshot, reached)?);
        self.cache().insert(Arc::clone(&snapshot), stamp);
        Ok(Some(snapshot))
    }
}

/// Builds a snapshot from the log alone.
async fn build(
    store: &Store,
    location: &TableLocation,
    version: Option<Version>,
) -> Result<(TableSnapshot, Option<Stamp>)> {
    let listing = Listing::for_version(store, location, version).await?;
    let target = match version {
        Some(version) => version,
        None => listing.latest(location)?,
    };
    let base = listing.checkpoints.range(..=target).next_back();
    let first = base.map_or(0, |(version, _)| version + 1);
    if let Some(missing) = (first..=target).find(|needed| !listing.entries.contains_key(needed)) {
        let all = Listing::read(store, location, None).await?;
        let latest = all.latest(location)?;
        return Err(missing_entry(location, target.max(missing), latest));
    }
    let mut replay = Replay::default();
    let mut stamp = None;
    {
        let mut tail = std::pin::pin!(entries(&store.table, location, first..=target));
        while let Some((version, entry)) = tail.try_next().await? {
            let entry = entry.ok_or_else(|| LakeError::HistoryGone { uri: location.uri.clone(), version })?;
            replay.apply(parse(location, version, &entry, &untyped())?);
            stamp = Some(entry.stamp);
        }
    }
    let state = match base {
        Some((_, files)) => {
            if files.version == target {
                stamp = replay.take_time(store, location, files).await?;
            }
            read_checkpoint(&store.table, location, files).await?
        }
        None => CheckpointState::default(),
    };
    Ok((replay.onto_checkpoint(location, state, target)?, stamp))
}

/// What a run of entries says in the end.
#[derive(Default)]
struct Replay {
    files: BTreeMap<FileKey, Option<DataFile>>,
    transactions: BTreeMap<String, i64>,
    metadata: Option<Metadata>,
    protocol: Option<Protocol>,
    timestamp_ms: i64,
}

impl Replay {
    /// Takes the next entry.  Within one entry a key that is removed and added again is live.
    fn apply(&mut self, commit: Commit) {
        for removed in commit.removes {
            self.files.insert(removed.key, None);
        }
        for added in commit.adds {
            self.files.insert(added.key(), Some(added));
        }
        self.transactions.extend(commit.transactions);
        self.metadata = commit.metadata.or(self.metadata.take());
        self.protocol = commit.protocol.or(self.protocol.take());
        self.timestamp_ms = commit.timestamp_ms;
    }

    /// The time of a version that is a checkpoint: from its entry if that is still there.
    async fn take_time(
        &mut self,
        store: &Store,
        location: &TableLocation,
        files: &CheckpointFiles,
    ) -> Result<Option<Stamp>> {
        let Some(entry) = read_entry(&store.table, location, files.version).await? else {
            self.timestamp_ms = files.modified_ms;
            return Ok(None);
        };
        self.timestamp_ms = parse(location, files.version, &entry, &untyped())?.timestamp_ms;
        Ok(Some(entry.stamp))
    }

    fn onto(mut self, base: &TableSnapshot, version: Version) -> Result<TableSnapshot> {
        let metadata = self.metadata.take();
        let protocol = self.protocol.take();
        let mut snapshot = match (metadata, protocol) {
            (None, None) => base.clone(),
            (metadata, protocol) => head(
                &base.location,
                &protocol.unwrap_or_else(|| base.protocol()),
                &metadata.unwrap_or_else(|| base.metadata()),
            )?,
        };
        snapshot.version = version;
        snapshot.timestamp_ms = self.timestamp_ms;
        snapshot.transactions = if self.transactions.is_empty() {
            Arc::clone(&base.transactions)
        } else {
            let mut transactions = base.transactions.as_ref().clone();
            transactions.extend(self.transactions);
            Arc::new(transactions)
        };
        let retyped = snapshot.schema != base.schema;
        snapshot.files = if self.files.is_empty() && !retyped {
            Arc::clone(&base.files)
        } else {
            let kept =
                base.files.iter().map(|file| if retyped { file.with_schema(&snapshot.schema) } else { file.clone() });
            Arc::new(merge(kept, self.files, &snapshot.schema))
        };
        Ok(snapshot)
    }

    fn onto_checkpoint(
        mut self,
        location: &TableLocation,
        state: CheckpointState,
        version: Version,
    ) -> Result<TableSnapshot> {
        let missing = |what: &str| LakeError::CorruptLog {
            uri: location.uri.clone(),
            version,
            line: None,
            detail: format!("no entry sets the table's {what}"),
        };
        let protocol = self.protocol.take().or(state.protocol).ok_or_else(|| missing("protocol"))?;
        let metadata = self.metadata.take().or(state.metadata).ok_or_else(|| missing("metadata"))?;
        let mut snapshot = head(location, &protocol, &metadata)?;
        let mut files: Vec<DataFile> = state.adds.into_iter().map(|add| data_file(add, &snapshot.schema)).collect();
        files.sort_by(|left, right| left.path.cmp(&right.path).then_with(|| vectors(left, right)));
        let mut transactions: BTreeMap<String, i64> =
            state.transactions.into_iter().map(|txn| (txn.app_id, txn.version)).collect();
        transactions.extend(self.transactions);
        snapshot.version = version;
        snapshot.timestamp_ms = self.timestamp_ms;
        snapshot.transactions = Arc::new(transactions);
        snapshot.files = Arc::new(merge(files.into_iter(), self.files, &snapshot.schema));
        Ok(snapshot)
    }
}

/// Merges what entries say into files that are sorted by their keys.
fn merge(
    base: impl Iterator<Item = DataFile>,
    changes: BTreeMap<FileKey, Option<DataFile>>,
    schema: &SchemaRef,
) -> Vec<DataFile> {
    let mut merged = Vec::with_capacity(base.size_hint().0 + changes.len());
    let mut changes = changes.into_iter().peekable();
    let keep = |merged: &mut Vec<DataFile>, change: Option<DataFile>| {
        merged.extend(change.map(|file| file.with_schema(schema)));
    };
    for file in base {
        let mut replaced = false;
        while let Some((key, _)) = changes.peek() {
            match compare(key, &file) {
                Ordering::Greater => break,
                Ordering::Equal => replaced = true,
                Ordering::Less => {}
            }
            keep(&mut merged, changes.next().and_then(|(_, change)| change));
        }
        if !replaced {
            merged.push(file);
        }
    }
    for (_, change) in changes {
        keep(&mut merged, change);
    }
    merged
}

/// The order of keys, without making the key of a file whose path already decides.
fn compare(key: &FileKey, file: &DataFile) -> Ordering {
    key.path
        .cmp(&file.path)
        .then_with(|| key.deletion_vector.cmp(&file.deletion_vector.as_ref().map(DvDescriptor::unique_id)))
}

fn vectors(left: &DataFile, right: &DataFile) -> Ordering {
    let id = |file: &DataFile| file.deletion_vector.as_ref().map(DvDescriptor::unique_id);
    id(left).cmp(&id(right))
}

/// A snapshot without files: what protocol and metadata say.
fn head(location: &TableLocation, protocol: &Protocol, metadata: &Metadata) -> Result<TableSnapshot> {
    check_readable(location, protocol, metadata)?;
    let properties: BTreeMap<String, String> =
        metadata.configuration.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?))).collect();
    Ok(TableSnapshot {
        location: location.clone(),
        version: 0,
        table_id: metadata.id.clone(),
        timestamp_ms: 0,
        schema: schema_from_delta_json(&location.uri, &metadata.schema_string)?,
        constraints: constraints(&properties, &metadata.schema_string),
        schema_json: Arc::from(metadata.schema_string.as_str()),
        partition_columns: metadata.partition_columns.clone(),
        properties,
        name: metadata.name.clone(),
        description: metadata.description.clone(),
        created_ms: metadata.created_time,
        reader_features: reader_features(protocol),
        writer_features: writer_features(protocol),
        reader_version: protocol.min_reader_version,
        writer_version: protocol.min_writer_version,
        files: Arc::default(),
        transactions: Arc::default(),
    })
}

impl TableSnapshot {
    /// The protocol action that this snapshot stands for.
    pub(crate) fn protocol(&self) -> Protocol {
        let named = |features: &std::collections::BTreeSet<String>| features.iter().cloned().collect();
        Protocol {
            min_reader_version: self.reader_version,
            min_writer_version: self.writer_version,
            reader_features: (self.reader_version >= 3).then(|| named(&self.reader_features)),
            writer_features: (self.writer_version >= 7).then(|| named(&self.writer_features)),
        }
    }

    /// The metadata action that this snapshot stands for.
    pub(crate) fn metadata(&self) -> Metadata {
        Metadata {
            id: self.table_id.clone(),
            name: self.name.clone(),
            description: self.description.clone(),
            format: crate::actions::Format::default(),
            schema_string: self.schema_json.to_string(),
            partition_columns: self.partition_columns.clone(),
            created_time: self.created_ms,
            configuration: self.properties.iter().map(|(name, value)| (name.clone(), Some(value.clone()))).collect(),
        }
    }
}
