//! Rows that changed between two versions of a table.
//!
//! The equation, for every history: `parts` added up with their weights = rows of `live(upto)` minus rows of
//! `live(after)`, as counted bags.  The reference is the difference of the live files, keyed by path and deletion vector
//! ([`reference_difference`]); reading only added files, only the rows in which two vectors differ, or the change files
//! of trusted writers gives the same sum for less.  What can no longer be known is an error before anything is planned.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::catalog::TableProvider;
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStoreExt;
use roaring::RoaringTreemap;

use crate::change_files::{Recorded, RecordedChanges};
use crate::deletion_vectors::deleted_rows;
use crate::error::{LakeError, Result};
use crate::lake::Lake;
use crate::location::TableLocation;
use crate::pinned_scan::PinnedTable;
use crate::pinned_schema::view_typed;
use crate::table::{DataFile, FileKey, TableIdentity, TableSnapshot, Version};

/// Requests for the existence of files that are under way at once.
const PROBES_AT_ONCE: usize = 16;

/// How a change feed is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FeedKind {
    /// No row changed.
    Empty,
    /// Files were only added, so their rows are the inserted rows.
    InsertOnly,
    /// The files in which trusted writers recorded their changes, and the files that they only added.
    ChangeFiles,
    /// Rows that are live now less rows that were live before.
    Difference,
}

/// What a row of a part counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PartWeight {
    /// One row more.
    Plus,
    /// One row less.
    Minus,
    /// The column `_change_type` (`Utf8View`) says it: `insert` and `update_postimage` are one more, `delete` and
    /// `update_preimage` are one less.
    ChangeType,
}

/// Rows of a change feed that count the same way.
#[derive(Clone, Debug)]
pub struct FeedPart {
    /// The rows, under the schema of the newer version.
    pub provider: Arc<dyn TableProvider>,
    /// What they count.
    pub weight: PartWeight,
}

/// The changes of a range of versions.  Rows may cancel each other across and inside parts.
#[derive(Clone, Debug)]
pub struct ChangeFeed {
    /// How the changes are read.
    pub kind: FeedKind,
    /// The table before the range.
    pub before: Arc<TableSnapshot>,
    /// The table at its end.
    pub now: Arc<TableSnapshot>,
    /// Files, with their vectors, that are live now and were not before; none if the feed is empty.
    pub added: Vec<DataFile>,
    /// Files, with their vectors, that were live before and are not now; none if the feed is empty.
    pub removed: Vec<DataFile>,
    /// The files that are read where changes are read as they were recorded.
    pub recorded: Vec<DataFile>,
    /// Whether some of those are change files that another writer than us has made.
    pub by_others: bool,
    /// Why change files that could have been read are not: what is wrong with them.
    pub distrusted: Option<String>,
    /// The rows.
    pub parts: Vec<FeedPart>,
    /// Names of the operations in the range.
    pub operations: BTreeSet<String>,
}

/// How changes may be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeedPolicy {
    /// Prefixes of the `engineInfo` of writers whose change files are taken for true, beside our own.
    pub trusted_writers: Vec<String>,
    /// Reads the changes this way, or fails where it is not possible.
    pub force: Option<FeedKind>,
}

impl FeedPart {
    /// The files and rows that it reads; none where it is no scan of a table.
    pub fn pinned(&self) -> Option<&PinnedTable> {
        self.provider.downcast_ref()
    }
}

impl FeedPolicy {
    /// Whether the change files of a writer are taken for true.
    pub fn trusts(&self, engine_info: Option<&str>) -> bool {
        engine_info.is_some_and(|writer| {
            is_ours(engine_info)
                || self.trusted_writers.iter().any(|trusted| !trusted.is_empty() && writer.starts_with(trusted))
        })
    }
}

/// Whether a commit is one of ours.
pub(crate) fn is_ours(engine_info: Option<&str>) -> bool {
    engine_info.is_some_and(|writer| writer.starts_with("deltakeep/"))
}

impl Lake {
    /// The changes of the versions `(after, upto]`.
    ///
    /// `expected` is the identity of the table at `after` as it was when that version was pinned.
    ///
    /// # Errors
    /// `table_replaced` if version `after` is not the expected one, `history_gone` if the log or files that the feed
    /// needs are gone, `schema_changed` if columns were more than added, `invalid_argument` if the policy forces a kind
    /// that the range does not allow.
    pub async fn change_feed(
        &self,
        location: &TableLocation,
        after: Version,
        upto: Version,
        expected: Option<&TableIdentity>,
        policy: &FeedPolicy,
    ) -> Result<ChangeFeed> {
        if let Some(expected) = expected {
            self.check_identity(location, after, expected).await?;
        }
        let before = self.snapshot(location, Some(after)).await?;
        let now = self.snapshot(location, Some(upto)).await?;
        check_schema(&before, &now)?;
        let range = RecordedChanges::read(self, &before, &now, policy).await?;
        let (added, removed) = net_files(&before, &now);
        let mut feed = ChangeFeed {
            kind: FeedKind::Empty,
            recorded: Vec::new(),
            by_others: false,
            distrusted: None,
            parts: Vec::new(),
            operations: range.operations.clone(),
            before,
            now,
            added,
            removed,
        };
        let unchanged = (feed.added.is_empty() && feed.removed.is_empty())
            || (!range.data_changed && same_columns(&feed.before, &feed.now));
        match policy.force {
            None | Some(FeedKind::Empty) if unchanged => feed.take_empty(),
            None | Some(FeedKind::InsertOnly) if feed.removed.is_empty() => feed.take_added(self),
            None => match range.cheaper_than(feed.bytes()) {
                Some(recorded) if recorded.exist(self, &feed).await? => {
                    feed.take_recorded(self, recorded);
                }
                _ => self.take_difference(&mut feed).await?,
            },
            Some(FeedKind::Difference) => self.take_difference(&mut feed).await?,
            Some(kind) => match &range.recorded {
                Some(recorded) if kind == FeedKind::ChangeFiles => {
                    feed.take_recorded(self, recorded);
                }
                _ => {
                    return Err(LakeError::invalid(format!(
                        "the changes of table '{}' in ({after}, {upto}] cannot be read as {kind:?}; do not force the \
                         kind",
                        location.uri
                    )));
                }
            },
        }
        Ok(feed)
    }

    async fn check_identity(&self, location: &TableLocation, after: Version, expected: &TableIdentity) -> Result<()> {
        let replaced = |detail: String| LakeError::TableReplaced { uri: location.uri.clone(), version: after, detail };
        let found = match self.identity(location, after).await {
            Ok(found) => found,
            Err(LakeError::VersionNotFound { latest, .. }) => {
                return Err(replaced(format!("its newest version is {latest}")));
            }
            Err(error) => return Err(error),
        };
        if found.table_id != expected.table_id {
            return Err(replaced(format!("its id is '{}' and was '{}'", found.table_id, expected.table_id)));
        }
        match (&expected.commit_hash, &found.commit_hash) {
            (Some(expected), Some(found)) if expected != found => {
                Err(replaced("the entry of that version is another one".into()))
            }
            (Some(_), None) => Err(LakeError::HistoryGone { uri: location.uri.clone(), version: after }),
            _ => Ok(()),
        }
    }

    /// Reads the net difference; of a file of which only the vector changed, only the rows in which the two differ.
    async fn take_difference(&self, feed: &mut ChangeFeed) -> Result<()> {
        self.probe_removed(feed).await?;
        let twins: HashMap<&str, &DataFile> = feed.added.iter().map(|file| (file.path.as_str(), file)).collect();
        let mut minus = Side::default();
        let mut plus = Side::default();
        let mut paired = HashSet::new();
        for old in &feed.removed {
            let twin = twins
                .get(old.path.as_str())
                .filter(|new| new.size == old.size && new.partition_values == old.partition_values);
            let Some(new) = twin else {
                minus.whole(old);
                continue;
            };
            paired.insert(new.key());
            let hidden_before =
                deleted_rows(self, &feed.before, old).await.map_err(|error| gone(error, &feed.before))?;
            let hidden_now = deleted_rows(self, &feed.now, new).await?;
            minus.rows(old, &*hidden_now - &*hidden_before);
            plus.rows(new, &*hidden_before - &*hidden_now);
        }
        for new in &feed.added {
            if !paired.contains(&new.key()) {
                plus.whole(new);
            }
        }
        feed.kind = FeedKind::Difference;
        feed.parts.clear();
        feed.push_side(self, plus, PartWeight::Plus);
        feed.push_side(self, minus, PartWeight::Minus);
        Ok(())
    }

    /// Fails if a file that is only part of the past was vacuumed.
    async fn probe_removed(&self, feed: &ChangeFeed) -> Result<()> {
        let live: HashSet<&str> = feed.now.files.iter().map(|file| file.path.as_str()).collect();
        let paths = feed.removed.iter().map(|file| file.path.as_str()).filter(|path| !live.contains(path));
        if self.all_exist(&feed.now.location, paths).await? { Ok(()) } else { Err(history_gone(&feed.before)) }
    }

    /// Whether all files are there.
    pub(crate) async fn all_exist<'a>(
        &self,
        location: &TableLocation,
        paths: impl Iterator<Item = &'a str>,
    ) -> Result<bool> {
        let (_, store) = self.object_store(location)?;
        let paths = paths.map(|path| Lake::object_path(location, path)).collect::<Result<Vec<_>>>()?;
        futures::stream::iter(paths)
            .map(|path| {
                let store = Arc::clone(&store);
                async move {
                    match store.head(&path).await {
                        Ok(_) => Ok(true),
                        Err(object_store::Error::NotFound { .. }) => Ok(false),
                        Err(error) => {
                            Err(LakeError::store(&location.uri, format!("looking for file '{path}'"), &error))
                        }
                    }
                }
            })
            .buffer_unordered(PROBES_AT_ONCE)
            .try_fold(true, |all, found| async move { Ok(all && found) })
            .await
    }
}

/// The changes by the difference of whole files, with no optimisation and no look at the log: what every other way of
/// reading them must agree with.
///
/// # Errors
/// `schema_changed` as [`Lake::change_feed`].
pub fn reference_difference(lake: &Lake, before: &Arc<TableSnapshot>, now: &Arc<TableSnapshot>) -> Result<ChangeFeed> {
    check_schema(before, now)?;
    let (added, removed) = net_files(before, now);
    let mut feed = ChangeFeed {
        kind: FeedKind::Difference,
        before: Arc::clone(before),
        now: Arc::clone(now),
        recorded: Vec::new(),
        by_others: false,
        distrusted: None,
        parts: Vec::new(),
        operations: BTreeSet::new(),
        added,
        removed,
    };
    let (mut plus, mut minus) = (Side::default(), Side::default());
    feed.added.iter().for_each(|file| plus.whole(file));
    feed.removed.iter().for_each(|file| minus.whole(file));
    feed.push_side(lake, plus, PartWeight::Plus);
    feed.push_side(lake, minus, PartWeight::Minus);
    Ok(feed)
}

/// Files on one side of a difference, some of them with only a few of their rows.
#[derive(Default)]
struct Side {
    files: Vec<DataFile>,
    rows: HashMap<FileKey, Arc<RoaringTreemap>>,
}

impl Side {
    fn whole(&mut self, file: &DataFile) {
        self.files.push(file.clone());
    }

    fn rows(&mut self, file: &DataFile, rows: RoaringTreemap) {
        if !rows.is_empty() {
            self.rows.insert(file.key(), Arc::new(rows));
            self.files.push(file.clone());
        }
    }
}

impl ChangeFeed {
    /// The files that the changes are read from.
    pub fn files(&self) -> impl Iterator<Item = &DataFile> {
        let recorded = self.kind == FeedKind::ChangeFiles;
        let (added, removed) =
            if recorded { (&self.recorded[..], &[][..]) } else { (&self.added[..], &self.removed[..]) };
        added.iter().chain(removed)
    }

    /// Bytes of the files in which the two versions differ.
    pub fn bytes(&self) -> u64 {
        self.added.iter().chain(&self.removed).map(|file| file.size).sum()
    }

    fn take_empty(&mut self) {
        self.kind = FeedKind::Empty;
        self.added.clear();
        self.removed.clear();
        self.parts.clear();
    }

    fn take_added(&mut self, lake: &Lake) {
        self.kind = FeedKind::InsertOnly;
        let mut plus = Side::default();
        self.added.iter().for_each(|file| plus.whole(file));
        self.push_side(lake, plus, PartWeight::Plus);
    }

    fn take_recorded(&mut self, lake: &Lake, recorded: &Recorded) {
        self.kind = FeedKind::ChangeFiles;
        let change_files = recorded.change_files(&self.now);
        self.recorded = [&recorded.inserted[..], &change_files].concat();
        self.by_others = recorded.by_others;
        let mut plus = Side::default();
        recorded.inserted.iter().for_each(|file| plus.whole(file));
        self.push_side(lake, plus, PartWeight::Plus);
        if !change_files.is_empty() {
            let provider = Recorded::change_table(lake, &self.now, change_files);
            self.parts.push(FeedPart { provider: Arc::new(provider), weight: PartWeight::ChangeType });
        }
    }

    fn push_side(&mut self, lake: &Lake, side: Side, weight: PartWeight) {
        if side.files.is_empty() {
            return;
        }
        let snapshot = match weight {
            PartWeight::Minus => self.past(),
            _ => Arc::clone(&self.now),
        };
        let provider = PinnedTable::new(lake.clone(), snapshot).with_files(side.files).with_chosen_rows(side.rows);
        self.parts.push(FeedPart { provider: Arc::new(provider), weight });
    }

    /// The version before the range under the schema of its end, so that both sides can be added up.
    fn past(&self) -> Arc<TableSnapshot> {
        Arc::new(TableSnapshot {
            version: self.before.version,
            files: Arc::clone(&self.before.files),
            ..(*self.now).clone()
        })
    }
}

/// Files that are live only now, and files that were live only before.
fn net_files(before: &TableSnapshot, now: &TableSnapshot) -> (Vec<DataFile>, Vec<DataFile>) {
    let old: HashSet<FileKey> = before.files.iter().map(DataFile::key).collect();
    let new: HashSet<FileKey> = now.files.iter().map(DataFile::key).collect();
    let only = |files: &[DataFile], others: &HashSet<FileKey>| {
        files.iter().filter(|file| !others.contains(&file.key())).cloned().collect()
    };
    (only(&now.files, &old), only(&before.files, &new))
}

/// Fails unless the newer schema is the older one with nullable columns added.
fn check_schema(before: &TableSnapshot, now: &TableSnapshot) -> Result<()> {
    let changed = |detail: String| {
        Err(LakeError::SchemaChanged {
            uri: now.location.uri.clone(),
            before: before.version,
            now: now.version,
            detail,
        })
    };
    if before.partition_columns != now.partition_columns {
        return changed("it is partitioned by other columns".into());
    }
    let (old, new) = (view_typed(&before.schema), view_typed(&now.schema));
    let new_by_name: BTreeMap<&str, _> = new.fields().iter().map(|field| (field.name().as_str(), field)).collect();
    for field in old.fields() {
        match new_by_name.get(field.name().as_str()) {
            None => return changed(format!("column '{}' is gone", field.name())),
            Some(kept) if kept.data_type() != field.data_type() => {
                return changed(format!(
                    "column '{}' was {} and is {}",
                    field.name(),
                    field.data_type(),
                    kept.data_type()
                ));
            }
            Some(kept) if field.is_nullable() && !kept.is_nullable() => {
                return changed(format!("column '{}' must not be NULL any more", field.name()));
            }
            Some(_) => {}
        }
    }
    let added = new.fields().iter().find(|field| !field.is_nullable() && old.field_with_name(field.name()).is_err());
    match added {
        Some(field) => changed(format!("column '{}' was added and must not be NULL", field.name())),
        None => Ok(()),
    }
}

fn same_columns(before: &TableSnapshot, now: &TableSnapshot) -> bool {
    let columns = |schema: &Schema| view_typed(schema);
    columns(&before.schema) == columns(&now.schema)
}

fn history_gone(before: &TableSnapshot) -> LakeError {
    LakeError::HistoryGone { uri: before.location.uri.clone(), version: before.version }
}

/// A file that is missing in the past means that history is gone.
fn gone(error: LakeError, before: &TableSnapshot) -> LakeError {
    match error {
        LakeError::MissingFile { .. } => history_gone(before),
        other => other,
    }
}
