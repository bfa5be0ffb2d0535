//! What files a log has: entries, complete checkpoints, and what identifies an entry's object.

use std::collections::{BTreeMap, BTreeSet};

use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt};

use crate::error::{LakeError, Result};
use crate::lake::Store;
use crate::location::TableLocation;
use crate::table::Version;

/// What changes when an object is written again: enough to notice a table that was made anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    tag: Option<String>,
    size: u64,
    pub modified_ms: i64,
}

impl Stamp {
    pub fn of(meta: &ObjectMeta) -> Self {
        Self { tag: meta.e_tag.clone(), size: meta.size, modified_ms: meta.last_modified.timestamp_millis() }
    }

    /// Whether both are one object.  Stores round times differently in listings and reads, so that a tag decides.
    pub fn same(&self, other: &Self) -> bool {
        match (&self.tag, &other.tag) {
            (Some(mine), Some(theirs)) => mine == theirs,
            _ => self.size == other.size && self.modified_ms / 1000 == other.modified_ms / 1000,
        }
    }
}

/// The files of a complete checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CheckpointFiles {
    pub version: Version,
    pub paths: Vec<Path>,
    pub modified_ms: i64,
}

/// The log's files from some version on.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Versions that have an entry.
    pub entries: BTreeMap<Version, Stamp>,
    /// Complete checkpoints, one for a version.
    pub checkpoints: BTreeMap<Version, CheckpointFiles>,
}

enum LogFile {
    Entry(Version),
    Checkpoint { version: Version, part: Option<(u32, u32)> },
}

impl Listing {
    /// Lists the log, from `from` on if given.
    pub async fn read(store: &Store, location: &TableLocation, from: Option<Version>) -> Result<Self> {
        let folder = Path::from("_delta_log");
        let stream = match from {
            // The offset is exclusive and sorts before every file of its version.
            Some(version) => {
                store.table.list_with_offset(Some(&folder), &Path::from(format!("_delta_log/{version:020}")))
            }
            None => store.table.list(Some(&folder)),
        };
        let files: Vec<ObjectMeta> = match stream.try_collect().await {
            Ok(files) => files,
            Err(object_store::Error::NotFound { .. }) => Vec::new(),
            Err(error) => return Err(LakeError::store(&location.uri, "listing the log", &error)),
        };
        let mut listing = Self::default();
        let mut parts: BTreeMap<(Version, u32), BTreeMap<u32, ObjectMeta>> = BTreeMap::new();
        for meta in files {
            match parse_name(&meta.location) {
                Some(LogFile::Entry(version)) => {
                    listing.entries.insert(version, Stamp::of(&meta));
                }
                Some(LogFile::Checkpoint { version, part: None }) => {
                    listing.checkpoints.insert(
                        version,
                        CheckpointFiles {
                            version,
                            modified_ms: meta.last_modified.timestamp_millis(),
                            paths: vec![meta.location],
                        },
                    );
                }
                Some(LogFile::Checkpoint { version, part: Some((part, of)) }) => {
                    parts.entry((version, of)).or_default().insert(part, meta);
                }
                None => {}
            }
        }
        for ((version, of), found) in parts {
            if found.keys().copied().eq(1..=of) {
                listing.checkpoints.entry(version).or_insert(CheckpointFiles {
                    version,
                    modified_ms: found
                        .values()
                        .map(|meta| meta.last_modified.timestamp_millis())
                        .max()
                        .unwrap_or_default(),
                    paths: found.into_values().map(|meta| meta.location).collect(),
                });
            }
        }
        Ok(listing)
    }

    /// Lists what is needed to rebuild a version, from where `_last_checkpoint` points if that is not beyond it.
    pub async fn for_version(store: &Store, location: &TableLocation, version: Option<Version>) -> Result<Self> {
        let hint = last_checkpoint(store).await;
        if let Some(hint) = hint.filter(|hint| version.is_none_or(|version| *hint <= version)) {
            let listing = Self::read(store, location, Some(hint)).await?;
            // The hint is only a hint: it may outlive its checkpoint.
            if listing.checkpoints.contains_key(&hint) {
                return Ok(listing);
            }
        }
        Self::read(store, location, None).await
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.checkpoints.is_empty()
    }

    /// The newest version, whether the table can be read there or not.
    pub fn newest(&self, location: &TableLocation) -> Result<Version> {
        self.entries.keys().next_back().max(self.checkpoints.keys().next_back()).copied().ok_or_else(|| {
            LakeError::NotATable { uri: location.uri.clone(), detail: "it has no '_delta_log' with entries".to_owned() }
        })
    }

    /// The newest version.
    ///
    /// # Errors
    /// `not_a_table` without any, `corrupt_log` where an entry that it needs is missing.
    pub fn latest(&self, location: &TableLocation) -> Result<Version> {
        let newest = self.newest(location)?;
        // Cleaning may leave holes below a checkpoint; above the newest one every entry is needed.
        let base = self.checkpoints.keys().next_back().copied();
        let first = match base {
            Some(base) => base + 1,
            None => self.entries.keys().next().copied().unwrap_or(newest),
        };
        let found: BTreeSet<Version> = self.entries.range(first..).map(|(v, _)| *v).collect();
        match (first..=newest).find(|version| !found.contains(version)) {
            Some(gap) => Err(LakeError::CorruptLog {
                uri: location.uri.clone(),
                version: gap,
                line: None,
                detail: "the entry is missing between others".to_owned(),
            }),
            None => Ok(newest),
        }
    }
}

/// The version that `_last_checkpoint` names, if it can be read.
async fn last_checkpoint(store: &Store) -> Option<Version> {
    let path = Path::from("_delta_log/_last_checkpoint");
    let bytes = store.table.get(&path).await.ok()?.bytes().await.ok()?;
    serde_json::from_slice::<serde_json::Value>(&bytes).ok()?.get("version")?.as_u64()
}

fn parse_name(path: &Path) -> Option<LogFile> {
    let name = path.as_ref().strip_prefix("_delta_log/")?;
    let (number, rest) = (name.get(..20)?, name.get(20..)?);
    let version: Version = number.parse().ok()?;
    match rest.split('.').collect::<Vec<_>>().as_slice() {
        ["", "json"] => Some(LogFile::Entry(version)),
        // The classic name, and the one with a UUID of the second kind of checkpoint.
        ["", "checkpoint", "parquet"] | ["", "checkpoint", _, "parquet" | "json"] => {
            Some(LogFile::Checkpoint { version, part: None })
        }
        ["", "checkpoint", part, of, "parquet"] => {
            Some(LogFile::Checkpoint { version, part: Some((part.parse().ok()?, of.parse().ok()?)) })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Option<String> {
        parse_name(&Path::from(format!("_delta_log/{text}"))).map(|file| match file {
            LogFile::Entry(version) => format!("entry {version}"),
            LogFile::Checkpoint { version, part } => format!("checkpoint {version} {part:?}"),
        })
    }

    #[test]
    fn names_of_the_log_are_told_apart() {
        let expected = [
            ("00000000000000000007.json", Some("entry 7")),
            ("00000000000000000007.checkpoint.parquet", Some("checkpoint 7 None")),
            ("00000000000000000007.checkpoint.0000000001.0000000002.parquet", Some("checkpoint 7 Some((1, 2))")),
            ("00000000000000000007.checkpoint.80a083e8-7026-4e79-81be-64bd76c43a11.json", Some("checkpoint 7 None")),
            ("00000000000000000001.00000000000000000007.compacted.json", None),
            ("00000000000000000007.crc", None),
            ("_last_checkpoint", None),
            ("_sidecars/00000000000000000007.json", None),
        ];
        for (file, meaning) in expected {
            assert_eq!(name(file).as_deref(), meaning, "{file}");
        }
    }
}
