//! The actions of the Delta log as JSON, exactly as the protocol names their fields.
//!
//! Reading keeps what this crate acts on and passes over the rest; writing leaves out what is absent.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::table::{DataFile, DvDescriptor};

pub(crate) type PartitionValues = BTreeMap<String, Option<String>>;

/// One line of a commit: at most one of the fields is set.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Line {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit_info: Option<Map<String, Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta_data: Option<Metadata>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub txn: Option<Transaction>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remove: Option<Remove>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub add: Option<Add>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cdc: Option<Cdc>,
}

/// What a reader or a writer of the table must know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Protocol {
    /// Lowest reader version.
    pub min_reader_version: i32,
    /// Lowest writer version.
    pub min_writer_version: i32,
    /// Features that readers must know, from reader version 3 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reader_features: Option<Vec<String>>,
    /// Features that writers must know, from writer version 7 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writer_features: Option<Vec<String>>,
}

/// The table's metadata as one commit sets it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// Id of the table.
    pub id: String,
    /// Name of the table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Description of the table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Format of the data files.
    #[serde(default)]
    pub format: Format,
    /// The schema in Delta's JSON.
    pub schema_string: String,
    /// Names of the partition columns.
    #[serde(default)]
    pub partition_columns: Vec<String>,
    /// When the table was created, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_time: Option<i64>,
    /// Table properties.
    #[serde(default)]
    pub configuration: BTreeMap<String, Option<String>>,
}

/// Format of the data files of a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Format {
    /// Always `parquet`.
    pub provider: String,
    /// Options of the provider.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
}

impl Default for Format {
    fn default() -> Self {
        Self { provider: "parquet".to_owned(), options: BTreeMap::new() }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Transaction {
    pub app_id: String,
    pub version: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_updated: Option<i64>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Add {
    pub path: String,
    #[serde(default)]
    pub partition_values: PartitionValues,
    pub size: u64,
    #[serde(default)]
    pub modification_time: i64,
    #[serde(default = "yes")]
    pub data_change: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stats: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<BTreeMap<String, Option<String>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_vector: Option<DvDescriptor>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_row_id: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_row_commit_version: Option<i64>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Remove {
    pub path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_timestamp: Option<i64>,
    #[serde(default = "yes")]
    pub data_change: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extended_file_metadata: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition_values: Option<PartitionValues>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stats: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<BTreeMap<String, Option<String>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_vector: Option<DvDescriptor>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_row_id: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_row_commit_version: Option<i64>,
}

impl Remove {
    /// The `remove` that takes `file` out of the table, with all that its `add` said.
    pub fn of(file: &DataFile, timestamp_ms: i64, data_change: bool) -> Self {
        Self {
            path: file.entry.path.clone(),
            deletion_timestamp: Some(timestamp_ms),
            data_change,
            extended_file_metadata: Some(true),
            partition_values: Some(file.partition_values.as_ref().clone()),
            size: Some(file.size),
            stats: file.entry.stats.as_deref().map(str::to_owned),
            tags: file.entry.tags.clone(),
            deletion_vector: file.deletion_vector.clone(),
            base_row_id: file.entry.base_row_id,
            default_row_commit_version: file.entry.default_row_commit_version,
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Cdc {
    pub path: String,
    #[serde(default)]
    pub partition_values: PartitionValues,
    pub size: u64,
    #[serde(default)]
    pub data_change: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<BTreeMap<String, Option<String>>>,
}

/// Delta's default where a writer left the flag out: the action may change data.
fn yes() -> bool {
    true
}

/// A path of the log as a path of the store: percent-decoded unless it is an absolute URL.
pub(crate) fn decode_path(path: &str) -> String {
    if path.contains("://") || !path.contains('%') {
        return path.to_owned();
    }
    let bytes = path.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = |offset: usize| {
            bytes
                .get(at + offset)
                .and_then(|byte| char::from(*byte).to_digit(16))
                .and_then(|digit| u8::try_from(digit).ok())
        };
        match (bytes[at], hex(1), hex(2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push(high * 16 + low);
                at += 3;
            }
            (byte, ..) => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8(decoded).unwrap_or_else(|_| path.to_owned())
}

/// A path of the store as the log writes it: what a URL reserves is percent-encoded.
pub(crate) fn encode_path(path: &str) -> String {
    use std::fmt::Write as _;
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~/=+,@!$&'()*;:".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_survive_the_log() {
        for path in ["a=x y/part-0.parquet", "d=10%25/ü", "plain/p.parquet", "100%"] {
            assert_eq!(decode_path(&encode_path(path)), path);
        }
        assert_eq!(decode_path("a=x%20y"), "a=x y");
        assert_eq!(decode_path("s3://b/a%20b"), "s3://b/a%20b");
        assert_eq!(decode_path("100%zz"), "100%zz");
    }

    #[test]
    fn a_missing_data_change_flag_means_change() {
        let line: Line = serde_json::from_str(r#"{"add":{"path":"a","size":1}}"#).unwrap();
        assert!(line.add.unwrap().data_change);
    }
}
