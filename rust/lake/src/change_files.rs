//! Changes as their writers recorded them: `_change_data` files, and files that a commit only added.
//!
//! They are used only if every commit of the range that changed data was made by a trusted writer, and only if they hold
//! the whole change of each such commit.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use arrow::datatypes::DataType;

use crate::change_feed::{ChangeFeed, FeedPolicy, is_ours};
use crate::error::Result;
use crate::lake::Lake;
use crate::log::{ChangeFile, Commit};
use crate::pinned_scan::PinnedTable;
use crate::statistics::FileStatistics;
use crate::table::{DataFile, FileEntry, TableSnapshot};

/// Column of change files that says what happened to a row.
pub const CHANGE_TYPE: &str = "_change_type";

/// What the log says about the changes of a range.
pub(crate) struct RecordedChanges {
    /// Whether any commit may have changed rows.
    pub data_changed: bool,
    /// The recorded changes, if all of them are recorded and trusted.
    pub recorded: Option<Recorded>,
    /// Names of the operations.
    pub operations: BTreeSet<String>,
}

/// Recorded changes of a range.
#[derive(Default)]
pub(crate) struct Recorded {
    pub change_files: Vec<ChangeFile>,
    /// Whether some of the change files are another writer's.
    pub by_others: bool,
    pub inserted: Vec<DataFile>,
}

impl RecordedChanges {
    /// Reads the commits after `before` up to `now`.
    ///
    /// # Errors
    /// `history_gone` if a commit is.
    pub async fn read(lake: &Lake, before: &TableSnapshot, now: &TableSnapshot, policy: &FeedPolicy) -> Result<Self> {
        let mut data_changed = false;
        let mut operations = BTreeSet::new();
        let mut recorded = Some(Recorded::default());
        let mut known: HashSet<String> = before.files.iter().map(|file| file.path.clone()).collect();
        lake.for_each_commit(&now.location, before.version, now.version, |commit| {
            data_changed |= commit.data_changed;
            // Under another schema than that of the end, columns may have come and gone in between.
            if commit.metadata.as_ref().is_some_and(|metadata| metadata.schema_string != *now.schema_json) {
                recorded = None;
            }
            if commit.data_changed
                && let Some(found) = recorded.as_mut()
                && !(policy.trusts(commit.engine_info.as_deref()) && found.take(&commit, &known, now))
            {
                recorded = None;
            }
            operations.insert(commit.operation);
            known.extend(commit.adds.into_iter().map(|file| file.path));
            Ok(())
        })
        .await?;
        Ok(Self { data_changed, recorded, operations })
    }

    /// The recorded changes, if there are any and they are not more to read than `bytes`.
    pub fn cheaper_than(&self, bytes: u64) -> Option<&Recorded> {
        self.recorded.as_ref().filter(|recorded| recorded.bytes() <= bytes)
    }
}

impl Recorded {
    /// Takes the changes of one commit; `false` if they are not all recorded.
    fn take(&mut self, commit: &Commit, known: &HashSet<String>, now: &TableSnapshot) -> bool {
        if !commit.change_files.is_empty() {
            self.change_files.extend(commit.change_files.iter().cloned());
            self.by_others |= !is_ours(commit.engine_info.as_deref());
            return true;
        }
        // A file that was there before, in whatever state, does not come as an insert.
        let only_new = commit.adds.iter().all(|file| !known.contains(&file.path));
        if !commit.removes.is_empty() || !only_new {
            return false;
        }
        let typed = commit.adds.iter().map(|file| file.with_schema(&now.schema));
        self.inserted.extend(typed);
        true
    }

    fn bytes(&self) -> u64 {
        let changes: u64 = self.change_files.iter().map(|file| file.size).sum();
        let inserts: u64 = self.inserted.iter().map(|file| file.size).sum();
        changes + inserts
    }

    /// Whether all files are still there; those that are live now are.
    pub async fn exist(&self, lake: &Lake, feed: &ChangeFeed) -> Result<bool> {
        let live: BTreeSet<&str> = feed.now.files.iter().map(|file| file.path.as_str()).collect();
        let paths = self
            .inserted
            .iter()
            .map(|file| file.path.as_str())
            .filter(|path| !live.contains(path))
            .chain(self.change_files.iter().map(|file| file.path.as_str()));
        lake.all_exist(&feed.now.location, paths).await
    }

    /// The change files, of which the log tells no statistics.
    pub fn change_files(&self, now: &TableSnapshot) -> Vec<DataFile> {
        let file = |file: &ChangeFile| DataFile {
            path: file.path.clone(),
            size: file.size,
            modification_time_ms: 0,
            partition_values: Arc::new(file.partition_values.clone()),
            rows: None,
            deletion_vector: None,
            columns: FileStatistics::new(None, Arc::clone(&now.schema)),
            tight_bounds: false,
            entry: Arc::new(FileEntry::default()),
        };
        self.change_files.iter().map(file).collect()
    }

    /// Change files as a table with the columns of `now` and [`CHANGE_TYPE`].
    pub fn change_table(lake: &Lake, now: &Arc<TableSnapshot>, files: Vec<DataFile>) -> PinnedTable {
        PinnedTable::new(lake.clone(), Arc::clone(now))
            .with_files(files)
            .with_stored_column(CHANGE_TYPE, DataType::Utf8View)
    }
}
