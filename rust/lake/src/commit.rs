//! Committing: one compare-and-set of the next entry of the log.
//!
//! A commit is made on a named version and on no other: if the next entry is taken, nothing happens and the winner is
//! named.  Files are durable before the entry, the entry before the answer.  After an unclear answer of the store the
//! entry is read back, and our own id in it decides.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use delta_kernel::table_properties::TableProperties;
use object_store::{ObjectStore, PutMode, PutOptions};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::cleaning::expire_log;
use crate::commit_entry::entry_text;
use crate::durability::{put_entry, sync_files, sync_folder};
use crate::error::{LakeError, Result};
use crate::lake::{Lake, Store};
use crate::location::TableLocation;
use crate::log::{entry_path, parse, read_entry, untyped};
use crate::properties::{DEFAULT_CHECKPOINT_INTERVAL, DeltaWriteSpec};
use crate::table::{DataFile, TableSnapshot, Version};
use crate::writer::WrittenFile;

/// Steps of the commit protocol, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CommitStep {
    /// What will be written is known; told by the caller, before it writes files.
    Planned,
    /// All files are written.
    FilesWritten,
    /// All files survive a loss of power, where the lake is durable.
    FilesSynced,
    /// The entry is visible: the commit has happened.
    EntryWritten,
    /// The entry survives a loss of power, where the lake is durable.
    EntrySynced,
    /// A checkpoint was written, in a commit where one is due.
    Checkpointed,
}

impl CommitStep {
    /// All steps in order.
    pub const ALL: &[Self] = &[
        Self::Planned,
        Self::FilesWritten,
        Self::FilesSynced,
        Self::EntryWritten,
        Self::EntrySynced,
        Self::Checkpointed,
    ];

    /// Name of the step in `snake_case`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::FilesWritten => "files_written",
            Self::FilesSynced => "files_synced",
            Self::EntryWritten => "entry_written",
            Self::EntrySynced => "entry_synced",
            Self::Checkpointed => "checkpointed",
        }
    }
}

/// What to commit, and on what.
#[derive(Clone, Debug)]
pub struct CommitRequest {
    /// Where the table is.
    pub location: TableLocation,
    /// The version that this commit follows; `None` creates the table as version 0.
    pub base: Option<Version>,
    /// How the table is written; its properties are those of a new table, or of a metadata update.
    pub spec: DeltaWriteSpec,
    /// Schema of the rows.
    pub schema: SchemaRef,
    /// New files.
    pub add: Vec<WrittenFile>,
    /// Files of the base that leave the table.
    pub remove: Vec<DataFile>,
    /// Files with the rows that changed.
    pub change_files: Vec<WrittenFile>,
    /// Whether what the deletion vectors of removed files hid can no longer be read, so that no change files can tell.
    pub vectors_lost: bool,
    /// Whether rows change; `false` promises that the added files hold what the removed ones did.
    pub data_change: bool,
    /// Application ids and the versions that they record.
    pub transactions: Vec<(String, i64)>,
    /// Whether the table gets the spec's properties, description and schema, under the same table id.
    pub metadata_update: bool,
    /// Name of the operation, such as `WRITE`.
    pub operation: String,
    /// What goes under the key `deltakeep` of the commit's info.
    pub info: Map<String, Value>,
    /// Time of the commit, in milliseconds since 1970.
    pub timestamp_ms: i64,
}

/// How a commit ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitOutcome {
    /// The version was written.
    Committed {
        /// The new version.
        version: Version,
        /// Its time, in milliseconds since 1970.
        timestamp_ms: i64,
        /// Why a checkpoint that was due could not be written, or what it made superfluous not be deleted; the commit
        /// stands, and a later one tries again.
        checkpoint_error: Option<String>,
    },
    /// Somebody else wrote the version; nothing was committed.
    Conflict {
        /// The version that was taken.
        winner: Version,
    },
}

/// Commits `request`, and tells each step to `step` when it is done.
///
/// Written files stay with the caller on [`CommitOutcome::Conflict`]: a clone of them can be committed again.
///
/// # Errors
/// `unsupported_feature`, `schema_mismatch`, `constraint_violated`, `commit_conflict` if a removed file is not live in
/// the base, `invalid_argument` where change files are due and missing, `store_error`.  After a `store_error` whose
/// message says that the outcome is unknown, the files stay, and the next look at the log tells.
pub async fn commit(lake: &Lake, request: CommitRequest, step: &(dyn Fn(CommitStep) + Sync)) -> Result<CommitOutcome> {
    let base = match request.base {
        Some(version) => Some(lake.snapshot(&request.location, Some(version)).await?),
        None => None,
    };
    let commit_id = Uuid::new_v4().to_string();
    let entry = entry_text(&request, base.as_deref(), &commit_id)?;
    let version = request.base.map_or(0, |base| base + 1);
    step(CommitStep::FilesWritten);
    let files: Vec<&WrittenFile> = request.add.iter().chain(&request.change_files).collect();
    let local = request.location.local_path();
    if let (Some(table), true) = (&local, lake.durable()) {
        let table = table.clone();
        let paths: Vec<String> = files.iter().filter_map(|file| file.unsynced.clone()).collect();
        blocking(&request.location, "syncing the data files", move || sync_files(&table, &paths)).await?;
    }
    step(CommitStep::FilesSynced);
    // From here on an entry may name the files, also if this future is dropped: they stay until it is known otherwise.
    keep(&files, true);
    let putter = Putter { lake, location: &request.location, version, commit_id: &commit_id };
    match putter.put(entry).await {
        Ok(true) => {}
        Ok(false) => {
            keep(&files, false);
            return Ok(CommitOutcome::Conflict { winner: version });
        }
        Err(Failed { error, unknown }) => {
            keep(&files, unknown);
            return Err(error);
        }
    }
    step(CommitStep::EntryWritten);
    if let (Some(table), true) = (local, lake.durable()) {
        blocking(&request.location, "syncing the log", move || sync_folder(&table.join("_delta_log"))).await?;
    }
    step(CommitStep::EntrySynced);
    let mut checkpoint_error = None;
    if version > 0 && version.is_multiple_of(interval(&request, base.as_deref())) {
        match checkpoint(lake, &request.location, version).await {
            Ok(properties) => {
                step(CommitStep::Checkpointed);
                let expired = expire_log(lake, &request.location, &properties, version).await;
                checkpoint_error = expired.err().map(|error| error.to_string());
            }
            Err(error) => checkpoint_error = Some(error.to_string()),
        }
    }
    Ok(CommitOutcome::Committed { version, timestamp_ms: request.timestamp_ms, checkpoint_error })
}

fn keep(files: &[&WrittenFile], kept: bool) {
    for file in files {
        file.keep(kept);
    }
}

/// Every how many commits a checkpoint is due after this commit.
fn interval(request: &CommitRequest, base: Option<&TableSnapshot>) -> u64 {
    match base {
        Some(base) if !request.metadata_update => base.checkpoint_interval(),
        _ => request
            .spec
            .properties
            .get("delta.checkpointInterval")
            .and_then(|value| value.parse().ok())
            .filter(|interval| *interval > 0)
            .unwrap_or(DEFAULT_CHECKPOINT_INTERVAL),
    }
}

/// Writes a checkpoint of `version`; returns the properties of the table.
async fn checkpoint(lake: &Lake, location: &TableLocation, version: Version) -> Result<TableProperties> {
    let store = lake.store(location)?;
    let failed = |error: &dyn std::fmt::Display| LakeError::store(&location.uri, "writing a checkpoint", &error);
    let engine = store.delta.engine(None);
    let url = location.url()?;
    let written = tokio::task::spawn_blocking(move || {
        let snapshot = delta_kernel::Snapshot::builder_for(url).at_version(version).build(engine.as_ref())?;
        let properties = snapshot.table_properties().clone();
        snapshot.checkpoint(engine.as_ref(), None).map(|_| properties)
    })
    .await
    .map_err(|error| failed(&error))?;
    written.map_err(|error| failed(&error))
}

async fn blocking(
    location: &TableLocation,
    attempt: &str,
    work: impl FnOnce() -> std::io::Result<()> + Send + 'static,
) -> Result<()> {
    let failed = |error: &dyn std::fmt::Display| LakeError::store(&location.uri, attempt, &error);
    tokio::task::spawn_blocking(work).await.map_err(|error| failed(&error))?.map_err(|error| failed(&error))
}

/// A put that did not succeed; `unknown` if the entry may still appear.
struct Failed {
    error: LakeError,
    unknown: bool,
}

struct Putter<'a> {
    lake: &'a Lake,
    location: &'a TableLocation,
    version: Version,
    commit_id: &'a str,
}

impl Putter<'_> {
    /// Puts the entry; `false` if somebody else's is there.
    async fn put(&self, entry: Vec<u8>) -> Result<bool, Failed> {
        let store = self.lake.store(self.location).map_err(|error| Failed { error, unknown: false })?;
        let local = self.location.local_path();
        let put = match &local {
            Some(table) => {
                let (table, version, durable) = (table.clone(), self.version, self.lake.durable());
                let done = tokio::task::spawn_blocking(move || put_entry(&table, version, &entry, durable));
                match done.await {
                    Ok(Ok(put)) => Ok(put),
                    Ok(Err(error)) => Err(error.to_string()),
                    Err(error) => Err(error.to_string()),
                }
            }
            None => put_remote(&store, self.version, entry).await,
        };
        match put {
            Ok(true) => Ok(true),
            // A store that retries by itself can meet its own first try.
            Ok(false) => self.is_ours(&store).await.map(|ours| ours == Some(true)),
            Err(detail) => match self.is_ours(&store).await? {
                Some(ours) => Ok(ours),
                None => Err(Failed {
                    unknown: local.is_none(),
                    error: LakeError::store(
                        &self.location.uri,
                        format!("writing the log entry of version {}", self.version),
                        &if local.is_none() {
                            format!("{detail} (the outcome is unknown: the entry may still appear)")
                        } else {
                            detail
                        },
                    ),
                }),
            },
        }
    }

    /// Whether the entry that is there is ours; `None` if there is none.
    async fn is_ours(&self, store: &Store) -> Result<Option<bool>, Failed> {
        let found = async {
            let Some(entry) = read_entry(&store.table, self.location, self.version).await? else {
                return Ok(None);
            };
            // A damaged entry is not ours: ours are put whole.
            let commit = parse(self.location, self.version, &entry, &untyped());
            Ok(Some(commit.is_ok_and(|commit| {
                commit.info.get("deltakeep").and_then(|info| info.get("commit_id"))
                    == Some(&Value::from(self.commit_id))
            })))
        };
        found.await.map_err(|error| Failed { error, unknown: true })
    }
}

async fn put_remote(store: &Arc<Store>, version: Version, entry: Vec<u8>) -> Result<bool, String> {
    let options = PutOptions::from(PutMode::Create);
    match store.table.put_opts(&entry_path(version), entry.into(), options).await {
        Ok(_) => Ok(true),
        Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => Ok(false),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_have_names_and_an_order() {
        let names: Vec<&str> = CommitStep::ALL.iter().map(|step| step.name()).collect();
        assert_eq!(
            names,
            ["planned", "files_written", "files_synced", "entry_written", "entry_synced", "checkpointed"]
        );
        assert!(CommitStep::ALL.is_sorted());
    }

    #[test]
    fn a_new_table_may_use_what_its_protocol_names() {
        let location = TableLocation::parse("/lake/t", std::collections::BTreeMap::new()).unwrap();
        let mut spec = DeltaWriteSpec::new(location);
        spec.properties.insert("delta.enableChangeDataFeed".into(), "true".into());
        assert!(crate::properties::writer_features(&spec.protocol(false)).contains("changeDataFeed"));
    }
}
