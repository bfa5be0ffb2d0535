//! Compaction: small files become large ones, and no row changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::prelude::SessionContext;
use serde_json::{Map, Value};

use crate::cleaning::now_ms;
use crate::commit::{CommitOutcome, CommitRequest, commit};
use crate::error::{LakeError, Result};
use crate::lake::Lake;
use crate::location::TableLocation;
use crate::pinned_scan::PinnedTable;
use crate::properties::DeltaWriteSpec;
use crate::table::{DataFile, TableSnapshot, Version};
use crate::writer::write_files;

/// Times that a compaction is put on top of a winner that left its files alone.
const MAX_ATTEMPTS: usize = 5;
/// Size of compacted files where nothing else is said, in bytes.
const DEFAULT_FILE_SIZE: u64 = 128 * 1024 * 1024;

/// Rewrites the small files of each partition, and those with many hidden rows, into files of about
/// `target_file_size` bytes, in one commit with `dataChange = false`.
///
/// Returns the version that it made, or `None` if nothing was worth it.
///
/// # Errors
/// `commit_conflict` if a winner touched the same files.
pub async fn compact(lake: &Lake, location: &TableLocation, target_file_size: Option<u64>) -> Result<Option<Version>> {
    let size = target_file_size.unwrap_or(DEFAULT_FILE_SIZE).max(1);
    let base = lake.snapshot(location, None).await?;
    let chosen = choose(&base, size);
    rewrite(lake, base, chosen, size, now_ms()).await
}

/// Rewrites the files of `base` that have deletion vectors, in one commit with `dataChange = false`.
///
/// Returns the version that it made, or `None` if there are none.  Other readers of a change feed cannot derive what a
/// commit changes that takes such a file out of the table.
///
/// # Errors
/// `missing_file` if a file or a vector is gone, `commit_conflict` if a winner touched the same files.
pub async fn purge(
    lake: &Lake,
    base: Arc<TableSnapshot>,
    target_file_size: Option<u64>,
    timestamp_ms: i64,
) -> Result<Option<Version>> {
    let chosen = base.files.iter().filter(|file| file.deletion_vector.is_some()).cloned().collect();
    rewrite(lake, base, chosen, target_file_size.unwrap_or(DEFAULT_FILE_SIZE).max(1), timestamp_ms).await
}

async fn rewrite(
    lake: &Lake,
    mut base: Arc<TableSnapshot>,
    chosen: Vec<DataFile>,
    size: u64,
    timestamp_ms: i64,
) -> Result<Option<Version>> {
    if chosen.is_empty() {
        return Ok(None);
    }
    let location = base.location.clone();
    let spec = DeltaWriteSpec {
        location: location.clone(),
        partition_by: base.partition_columns.clone(),
        target_file_size: Some(size),
        properties: BTreeMap::new(),
        description: None,
    };
    let context = SessionContext::new();
    let (url, store) = lake.object_store(&location)?;
    context.register_object_store(url.as_ref(), store);
    let table = PinnedTable::new(lake.clone(), Arc::clone(&base)).with_files(chosen.clone());
    let rows = context.read_table(Arc::new(table))?.execute_stream().await?;
    let written = write_files(lake, &spec, &base.schema, rows).await?;
    for _ in 0..MAX_ATTEMPTS {
        let request = CommitRequest {
            location: location.clone(),
            base: Some(base.version),
            spec: spec.clone(),
            schema: Arc::clone(&base.schema),
            add: written.clone(),
            remove: chosen.clone(),
            change_files: Vec::new(),
            vectors_lost: false,
            data_change: false,
            transactions: Vec::new(),
            metadata_update: false,
            operation: "OPTIMIZE".to_owned(),
            info: newest_info(lake, &base).await?,
            timestamp_ms,
        };
        match commit(lake, request, &|_| {}).await? {
            CommitOutcome::Committed { version, .. } => return Ok(Some(version)),
            CommitOutcome::Conflict { .. } => base = lake.snapshot(&location, None).await?,
        }
    }
    Err(LakeError::CommitConflict {
        uri: location.uri.clone(),
        version: base.version,
        detail: "other writers were faster every time".to_owned(),
    })
}

/// The hidden rows of a file that is worth rewriting for them: one in so many, as Delta's own OPTIMIZE has it.
const HIDDEN_SHARE: u64 = 20;

/// Files of partitions in which at least two are small, or one has many hidden rows.
///
/// Of the small ones only those are merged that are not much larger than all smaller ones together: so a row is
/// written again a few times while its file grows (the logarithm of its growth), and not with each compaction.
fn choose(snapshot: &TableSnapshot, size: u64) -> Vec<DataFile> {
    let mut partitions: BTreeMap<&BTreeMap<String, Option<String>>, Vec<&DataFile>> = BTreeMap::new();
    for file in snapshot.files.iter() {
        // Two files below three quarters of the size are never better apart.
        if many_hidden(file) || file.size < size / 4 * 3 {
            partitions.entry(file.partition_values.as_ref()).or_default().push(file);
        }
    }
    let mut chosen = Vec::new();
    for mut files in partitions.into_values() {
        files.sort_by_key(|file| (file.size, file.path.clone()));
        let mut smaller = 0;
        let mut merged = 0;
        for (index, file) in files.iter().enumerate() {
            if file.size <= 2 * smaller {
                merged = index + 1;
            }
            smaller += file.size;
        }
        let hidden = |file: &&&DataFile| many_hidden(file);
        chosen.extend(files[..merged].iter().chain(files[merged..].iter().filter(hidden)).map(|file| (*file).clone()));
    }
    chosen
}

fn many_hidden(file: &DataFile) -> bool {
    match (&file.deletion_vector, file.rows, file.live_rows()) {
        (None, ..) => false,
        (Some(_), Some(rows), Some(live)) => (rows - live) * HIDDEN_SHARE >= rows,
        (Some(_), ..) => true,
    }
}

/// The base commit's own details, repeated, so that the newest commit of a target always carries them.
async fn newest_info(lake: &Lake, base: &TableSnapshot) -> Result<Map<String, Value>> {
    if base.version == 0 {
        return Ok(Map::new());
    }
    let commits = lake.commits(&base.location, base.version - 1, base.version).await;
    match commits {
        Ok(commits) => Ok(commits
            .into_iter()
            .next_back()
            .and_then(|commit| commit.info.get("deltakeep").and_then(Value::as_object).cloned())
            .unwrap_or_default()),
        // A cleaned entry has nothing to repeat.
        Err(LakeError::HistoryGone { .. }) => Ok(Map::new()),
        Err(error) => Err(error),
    }
}
