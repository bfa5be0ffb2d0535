//! What one version of a table is: its schema, properties and files, as values.
//!
//! A [`TableSnapshot`] never changes.  Its files are those that are live at its version, each with the deletion vector
//! that hides some of its rows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use delta_kernel::actions::deletion_vector::{DeletionVectorDescriptor, DeletionVectorStorageType};
use serde::{Deserialize, Serialize};

use crate::error::{LakeError, Result};
use crate::location::TableLocation;
use crate::statistics::FileStatistics;

/// A Delta version.
pub type Version = u64;

/// What tells one live file from another: its path and the vector that hides some of its rows.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FileKey {
    /// Path of the file as in [`DataFile::path`].
    pub path: String,
    /// Unique id of the deletion vector, as [`DvDescriptor::unique_id`].
    pub deletion_vector: Option<String>,
}

/// Where a deletion vector is stored, as the log says it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DvDescriptor {
    /// `u` for a file named by a UUID under the table, `i` for inline, `p` for an absolute path.
    pub storage_type: String,
    /// Encoded UUID, encoded bytes or URL.
    pub path_or_inline_dv: String,
    /// Position in the file, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<i32>,
    /// Length of the vector, in bytes.
    pub size_in_bytes: i32,
    /// Number of rows that are hidden.
    pub cardinality: i64,
}

impl DvDescriptor {
    /// An id that is equal exactly for one vector of a table, as Delta defines it.
    pub fn unique_id(&self) -> String {
        match self.offset {
            Some(offset) => format!("{}{}@{offset}", self.storage_type, self.path_or_inline_dv),
            None => format!("{}{}", self.storage_type, self.path_or_inline_dv),
        }
    }

    /// The same descriptor as a type of the Delta kernel, which reads the vector.
    pub fn to_kernel(&self) -> Result<DeletionVectorDescriptor> {
        let storage_type: DeletionVectorStorageType = self.storage_type.parse().map_err(|_| {
            LakeError::invalid(format!(
                "a deletion vector has the unknown storage type '{}'; the table was written by something newer",
                self.storage_type
            ))
        })?;
        Ok(DeletionVectorDescriptor {
            storage_type,
            path_or_inline_dv: self.path_or_inline_dv.clone(),
            offset: self.offset,
            size_in_bytes: self.size_in_bytes,
            cardinality: self.cardinality,
        })
    }
}

/// One live file of a version.  Cheap to clone.
#[derive(Clone, Debug)]
pub struct DataFile {
    /// Path relative to the table, percent-decoded, or an absolute URL.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
    /// When the file was written, in milliseconds since 1970.
    pub modification_time_ms: i64,
    /// Values of the partition columns as the log has them; `None` is NULL.
    pub partition_values: Arc<BTreeMap<String, Option<String>>>,
    /// Number of physical rows, if the log says so; some of them may be hidden by the deletion vector.
    pub rows: Option<u64>,
    /// Vector of hidden rows.
    pub deletion_vector: Option<DvDescriptor>,
    /// Statistics of top-level columns; derefs to a map by column name, and is parsed at the first look.
    pub columns: FileStatistics,
    /// Whether minimum and maximum are those of the live rows; `false` leaves them valid as bounds.
    pub tight_bounds: bool,
    /// What only a `remove` of this file needs.
    pub entry: Arc<FileEntry>,
}

/// What the log says about a file beyond what readers need, kept so that a `remove` repeats all of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FileEntry {
    /// Path exactly as in the log, still percent-encoded.
    pub path: String,
    /// Tags of the file.
    pub tags: Option<BTreeMap<String, Option<String>>>,
    /// First row id of a table with row tracking.
    pub base_row_id: Option<i64>,
    /// Version at which the rows were first committed, of a table with row tracking.
    pub default_row_commit_version: Option<i64>,
    /// Statistics as JSON text.
    pub stats: Option<Arc<str>>,
}

impl DataFile {
    /// The key of the file.
    pub fn key(&self) -> FileKey {
        FileKey { path: self.path.clone(), deletion_vector: self.deletion_vector.as_ref().map(DvDescriptor::unique_id) }
    }

    /// Number of rows that are not hidden, if the log says how many there are.
    pub fn live_rows(&self) -> Option<u64> {
        let hidden = self.deletion_vector.as_ref().map_or(0, |vector| u64::try_from(vector.cardinality).unwrap_or(0));
        self.rows.map(|rows| rows.saturating_sub(hidden))
    }

    /// The same file with its statistics read as those of another schema.
    #[must_use]
    pub fn with_schema(&self, schema: &SchemaRef) -> Self {
        Self { columns: FileStatistics::new(self.entry.stats.clone(), Arc::clone(schema)), ..self.clone() }
    }
}

/// What tells a table from another one that was made at the same place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableIdentity {
    /// The id in the table's metadata.
    pub table_id: String,
    /// Hash of the commit's bytes (SHA-256, hex); `None` if the log no longer has the commit.
    pub commit_hash: Option<String>,
}

/// A condition that every row of a table must meet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Constraint {
    /// Name of a check constraint, or of the column that carries an invariant.
    pub name: String,
    /// The condition in SQL; a row is refused where it is false or NULL.
    pub expression: String,
}

/// One version of a table.
#[derive(Clone, Debug)]
pub struct TableSnapshot {
    /// Where the table is.
    pub location: TableLocation,
    /// The version.
    pub version: Version,
    /// Id of the table.
    pub table_id: String,
    /// When the version was committed, in milliseconds since 1970.
    pub timestamp_ms: i64,
    /// Arrow schema: strings are `Utf8`, binary is `Binary`, timestamps count microseconds, in zone `UTC` or in none;
    /// partition columns are at their position in the table.
    pub schema: SchemaRef,
    /// The schema as the log has it: Delta's JSON.
    pub schema_json: Arc<str>,
    /// Names of the partition columns.
    pub partition_columns: Vec<String>,
    /// Table properties.
    pub properties: BTreeMap<String, String>,
    /// Name of the table.
    pub name: Option<String>,
    /// Description of the table.
    pub description: Option<String>,
    /// When the table was created, in milliseconds since 1970.
    pub created_ms: Option<i64>,
    /// Features that a reader must know, those of legacy versions included.
    pub reader_features: BTreeSet<String>,
    /// Features that a writer must know, those of legacy versions included.
    pub writer_features: BTreeSet<String>,
    /// Reader version of the protocol.
    pub reader_version: i32,
    /// Writer version of the protocol.
    pub writer_version: i32,
    /// Live files, sorted by path and then by deletion vector.
    pub files: Arc<Vec<DataFile>>,
    /// The newest version of each application that recorded one.
    pub transactions: Arc<BTreeMap<String, i64>>,
    /// Check constraints and invariants.
    pub constraints: Vec<Constraint>,
}

impl TableSnapshot {
    /// Sum of the sizes of the live files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }

    /// Number of live rows, if the log says it for every file.
    pub fn rows(&self) -> Option<u64> {
        self.files.iter().map(DataFile::live_rows).sum()
    }

    /// Whether commits of the table have to carry change files where files are changed.
    pub fn change_data_feed(&self) -> bool {
        self.is_enabled("delta.enableChangeDataFeed")
    }

    /// Whether new deletion vectors may be written.
    pub fn deletion_vectors(&self) -> bool {
        self.is_enabled("delta.enableDeletionVectors")
    }

    /// Whether rows may only be added.
    pub fn append_only(&self) -> bool {
        self.is_enabled("delta.appendOnly") && self.writer_features.contains("appendOnly")
    }

    /// Every how many commits a checkpoint is due.
    pub fn checkpoint_interval(&self) -> u64 {
        self.properties
            .get("delta.checkpointInterval")
            .and_then(|value| value.parse().ok())
            .filter(|interval| *interval > 0)
            .unwrap_or(crate::properties::DEFAULT_CHECKPOINT_INTERVAL)
    }

    fn is_enabled(&self, property: &str) -> bool {
        self.properties.get(property).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }
}
