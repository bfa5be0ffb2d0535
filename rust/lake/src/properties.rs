//! Protocol features and table properties: what may be read, what may be written, and what a new table gets.
//!
//! A feature is honoured or refused by its name; there is nothing between.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::actions::{Metadata, Protocol};
use crate::error::{LakeError, Result};
use crate::location::TableLocation;
use crate::table::{Constraint, TableSnapshot};

/// Delta's default for `delta.checkpointInterval` as delta-rs has it.
pub(crate) const DEFAULT_CHECKPOINT_INTERVAL: u64 = 100;

/// Reader features that are honoured.
const READABLE: [&str; 4] = ["deletionVectors", "timestampNtz", "v2Checkpoint", "vacuumProtocolCheck"];

/// Writer features that are honoured; those with a condition are checked against the schema besides.
const WRITABLE: [&str; 11] = [
    "appendOnly",
    "invariants",
    "checkConstraints",
    "changeDataFeed",
    "generatedColumns",
    "identityColumns",
    "columnMapping",
    "deletionVectors",
    "timestampNtz",
    "v2Checkpoint",
    "vacuumProtocolCheck",
];

/// How a view's target is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeltaWriteSpec {
    /// Where the table is.
    pub location: TableLocation,
    /// Partition columns, in order.
    pub partition_by: Vec<String>,
    /// Size above which a new file is begun, in bytes.
    pub target_file_size: Option<u64>,
    /// Table properties, Delta's and ours.
    pub properties: BTreeMap<String, String>,
    /// Description of the table.
    pub description: Option<String>,
}

impl DeltaWriteSpec {
    /// A table without partitions and properties.
    pub fn new(location: TableLocation) -> Self {
        Self {
            location,
            partition_by: Vec::new(),
            target_file_size: None,
            properties: BTreeMap::new(),
            description: None,
        }
    }

    /// Checks that every property can be honoured.
    ///
    /// # Errors
    /// `unsupported_feature` with the property; `invalid_argument` where a value is not what Delta prescribes.
    pub fn validate(&self) -> Result<()> {
        for (name, value) in &self.properties {
            self.validate_property(name, value)?;
        }
        if self.target_file_size == Some(0) {
            return Err(LakeError::invalid(format!(
                "the target file size of table '{}' is 0; give a size in bytes or none",
                self.location.uri
            )));
        }
        let distinct: BTreeSet<&String> = self.partition_by.iter().collect();
        if distinct.len() != self.partition_by.len() {
            return Err(LakeError::invalid(format!(
                "table '{}' is partitioned twice by one column; name every partition column once",
                self.location.uri
            )));
        }
        Ok(())
    }

    fn validate_property(&self, name: &str, value: &str) -> Result<()> {
        let refuse = |feature: &str, why: &str| {
            Err(LakeError::UnsupportedFeature {
                uri: self.location.uri.clone(),
                feature: feature.to_owned(),
                action: "written",
                hint: format!("{why}; remove the property '{name}'"),
            })
        };
        let enabled = value.eq_ignore_ascii_case("true");
        match name {
            "delta.enableRowTracking" if enabled => {
                refuse("rowTracking", "row ids have to be assigned in every commit and no library writes them yet")
            }
            "delta.enableInCommitTimestamps" if enabled => {
                refuse("inCommitTimestamp", "commit times come from the refresh's clock, which may stand still")
            }
            "delta.enableTypeWidening" if enabled => {
                refuse("typeWidening", "old files would need casts that readers lack")
            }
            "delta.columnMapping.mode" if value != "none" => {
                refuse("columnMapping", "columns are written under their own names")
            }
            "delta.enableIcebergCompatV1" | "delta.enableIcebergCompatV2" if enabled => {
                refuse("icebergCompat", "it needs column mapping")
            }
            _ if name.starts_with("delta.constraints.") => Ok(()),
            "delta.appendOnly"
            | "delta.enableChangeDataFeed"
            | "delta.enableDeletionVectors"
            | "delta.enableExpiredLogCleanup"
                if !enabled && !value.eq_ignore_ascii_case("false") =>
            {
                Err(LakeError::invalid(format!(
                    "property '{name}' of table '{}' is '{value}'; write true or false",
                    self.location.uri
                )))
            }
            "delta.checkpointInterval" if !value.parse::<u64>().is_ok_and(|n| n > 0) => {
                Err(LakeError::invalid(format!(
                    "property '{name}' of table '{}' is '{value}'; write a number of commits above 0",
                    self.location.uri
                )))
            }
            _ => Ok(()),
        }
    }

    /// The protocol of a new table; `ntz` if a column is a timestamp without a zone.
    pub(crate) fn protocol(&self, ntz: bool) -> Protocol {
        let wanted = self.wanted(ntz);
        if wanted.reader.is_empty() {
            return legacy(wanted.legacy_writer);
        }
        explicit(wanted.reader, wanted.writer)
    }

    /// The protocol that `base` needs before it can have these properties; `None` if it has what they need.
    pub(crate) fn upgraded_protocol(&self, base: &TableSnapshot, ntz: bool) -> Option<Protocol> {
        let wanted = self.wanted(ntz);
        if wanted.reader.is_subset(&base.reader_features) && wanted.writer.is_subset(&base.writer_features) {
            return None;
        }
        if wanted.reader.is_empty() && base.writer_version < 7 {
            return Some(Protocol {
                min_writer_version: wanted.legacy_writer.max(base.writer_version),
                ..base.protocol()
            });
        }
        Some(explicit(
            wanted.reader.union(&base.reader_features).cloned().collect(),
            wanted.writer.union(&base.writer_features).cloned().collect(),
        ))
    }

    fn wanted(&self, ntz: bool) -> Wanted {
        let enabled = |name: &str| self.properties.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let constrained = self.properties.keys().any(|name| name.starts_with("delta.constraints."));
        let feed = enabled("delta.enableChangeDataFeed");
        let named = |features: &[(bool, &str)]| {
            features
                .iter()
                .filter(|(wanted, _)| *wanted)
                .map(|(_, name)| (*name).to_owned())
                .collect::<BTreeSet<String>>()
        };
        let reader = named(&[(enabled("delta.enableDeletionVectors"), "deletionVectors"), (ntz, "timestampNtz")]);
        let mut writer = named(&[
            // A column that is declared not null is an invariant of Delta.
            (true, "invariants"),
            (true, "appendOnly"),
            (constrained, "checkConstraints"),
            (feed, "changeDataFeed"),
        ]);
        writer.extend(reader.iter().cloned());
        Wanted {
            reader,
            writer,
            legacy_writer: match (feed, constrained) {
                (true, _) => 4,
                (false, true) => 3,
                (false, false) => 2,
            },
        }
    }
}

/// Features that properties and columns need.
struct Wanted {
    reader: BTreeSet<String>,
    writer: BTreeSet<String>,
    legacy_writer: i32,
}

fn legacy(writer: i32) -> Protocol {
    Protocol { min_reader_version: 1, min_writer_version: writer, reader_features: None, writer_features: None }
}

fn explicit(reader: BTreeSet<String>, writer: BTreeSet<String>) -> Protocol {
    let lists = !reader.is_empty();
    Protocol {
        min_reader_version: if lists { 3 } else { 1 },
        min_writer_version: 7,
        reader_features: lists.then(|| reader.into_iter().collect()),
        writer_features: Some(writer.into_iter().collect()),
    }
}

/// Features that readers of the table must know, by name, those of a legacy version included.
pub(crate) fn reader_features(protocol: &Protocol) -> BTreeSet<String> {
    match protocol.min_reader_version {
        ..=1 => BTreeSet::new(),
        2 => BTreeSet::from(["columnMapping".to_owned()]),
        _ => protocol.reader_features.iter().flatten().cloned().collect(),
    }
}

/// Features that writers of the table must know, by name, those of a legacy version included.
pub(crate) fn writer_features(protocol: &Protocol) -> BTreeSet<String> {
    const SINCE: [(i32, &str); 7] = [
        (2, "appendOnly"),
        (2, "invariants"),
        (3, "checkConstraints"),
        (4, "changeDataFeed"),
        (4, "generatedColumns"),
        (5, "columnMapping"),
        (6, "identityColumns"),
    ];
    if protocol.min_writer_version >= 7 {
        return protocol.writer_features.iter().flatten().cloned().collect();
    }
    SINCE
        .iter()
        .filter(|(version, _)| *version <= protocol.min_writer_version)
        .map(|(_, name)| (*name).to_owned())
        .collect()
}

/// Refuses a table that cannot be read rightly.
pub(crate) fn check_readable(location: &TableLocation, protocol: &Protocol, metadata: &Metadata) -> Result<()> {
    let refuse = |feature: &str| {
        Err(LakeError::UnsupportedFeature {
            uri: location.uri.clone(),
            feature: feature.to_owned(),
            action: "read",
            hint: reading_hint(feature),
        })
    };
    let mapping = metadata.configuration.get("delta.columnMapping.mode").and_then(Option::as_deref);
    if mapping.is_some_and(|mode| !mode.eq_ignore_ascii_case("none")) {
        return refuse("columnMapping");
    }
    if protocol.min_reader_version > 3 {
        return refuse(&format!("reader version {}", protocol.min_reader_version));
    }
    if metadata.format.provider != "parquet" {
        return refuse(&format!("format {}", metadata.format.provider));
    }
    if let Some(column) = floating_partition(metadata) {
        return refuse(&format!("floating-point partition column '{column}'"));
    }
    for feature in reader_features(protocol) {
        // Named, but with its mode off or without a column that needs it, a feature changes nothing.
        let idle = feature == "columnMapping" || (is_variant(&feature) && !has_variant(&metadata.schema_string));
        if !idle && !READABLE.contains(&feature.as_str()) {
            return refuse(&feature);
        }
    }
    Ok(())
}

/// A partition column of a floating-point type, if there is one.
///
/// `-0.0` and `0.0` are equal for joins and groups and lie in different partitions, so that pruning by the value of a
/// partition would lose rows.
fn floating_partition(metadata: &Metadata) -> Option<String> {
    let schema: Value = serde_json::from_str(&metadata.schema_string).ok()?;
    let floating = |field: &&Value| matches!(field["type"].as_str(), Some("float" | "double"));
    let mut names = schema["fields"].as_array()?.iter().filter(floating).filter_map(|field| field["name"].as_str());
    names.find(|name| metadata.partition_columns.iter().any(|column| column == name)).map(str::to_owned)
}

fn is_variant(feature: &str) -> bool {
    matches!(feature, "variantType" | "variantType-preview")
}

/// Whether a column, or a part of one, is a variant.
fn has_variant(schema_json: &str) -> bool {
    fn search(value: &Value) -> bool {
        match value {
            Value::Object(parts) => {
                ["type", "elementType", "keyType", "valueType"]
                    .iter()
                    .any(|key| parts.get(*key).is_some_and(|part| part == "variant"))
                    || parts.values().any(search)
            }
            Value::Array(parts) => parts.iter().any(search),
            _ => false,
        }
    }
    serde_json::from_str::<Value>(schema_json).is_ok_and(|schema| search(&schema))
}

fn reading_hint(feature: &str) -> String {
    match feature {
        "columnMapping" => "copy the table without column mapping ('delta.columnMapping.mode' = 'none')".to_owned(),
        "typeWidening" | "typeWidening-preview" => {
            "rewrite the table and drop the feature (ALTER TABLE … DROP FEATURE typeWidening)".to_owned()
        }
        "catalogManaged" | "catalogOwned-preview" => {
            "its commits are kept by a catalog; read a copy that is not managed".to_owned()
        }
        "variantType" | "variantType-preview" | "variantShredding-preview" => {
            "copy the table with its variant columns as strings".to_owned()
        }
        _ => "read a copy of the table without it, or a newer version of this program".to_owned(),
    }
}

/// Refuses to write a table that has a feature which cannot be honoured.
pub(crate) fn check_writable(snapshot: &TableSnapshot) -> Result<()> {
    let refuse = |feature: &str, hint: &str| {
        Err(LakeError::UnsupportedFeature {
            uri: snapshot.location.uri.clone(),
            feature: feature.to_owned(),
            action: "written",
            hint: hint.to_owned(),
        })
    };
    if snapshot.writer_version > 7 {
        return refuse(
            &format!("writer version {}", snapshot.writer_version),
            "write to a table of this program's own",
        );
    }
    for feature in &snapshot.writer_features {
        let idle = is_variant(feature) && !has_variant(&snapshot.schema_json);
        if !idle && !WRITABLE.contains(&feature.as_str()) {
            return refuse(feature, "drop the feature from the table, or write to a table of this program's own");
        }
    }
    let schema: Value = serde_json::from_str(&snapshot.schema_json).unwrap_or_default();
    for field in schema["fields"].as_array().into_iter().flatten() {
        for key in field["metadata"].as_object().into_iter().flatten() {
            let name = field["name"].as_str().unwrap_or_default();
            if key.0 == "delta.generationExpression" {
                return refuse(
                    "generatedColumns",
                    &format!("column '{name}' is computed by its writer; drop its expression"),
                );
            }
            if key.0.starts_with("delta.identity.") {
                return refuse(
                    "identityColumns",
                    &format!("column '{name}' is numbered by its writer; drop the identity"),
                );
            }
        }
    }
    Ok(())
}

/// Check constraints of the properties and invariants of the schema (Delta's JSON).
pub(crate) fn constraints(properties: &BTreeMap<String, String>, schema_json: &str) -> Vec<Constraint> {
    let mut constraints: Vec<Constraint> = properties
        .iter()
        .filter_map(|(name, expression)| {
            Some(Constraint {
                name: name.strip_prefix("delta.constraints.")?.to_owned(),
                expression: expression.clone(),
            })
        })
        .collect();
    let schema: Value = serde_json::from_str(schema_json).unwrap_or_default();
    for field in schema["fields"].as_array().into_iter().flatten() {
        let invariant =
            field["metadata"]["delta.invariants"].as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
        if let Some(expression) =
            invariant.as_ref().and_then(|invariant| invariant["expression"]["expression"].as_str())
        {
            constraints.push(Constraint {
                name: field["name"].as_str().unwrap_or_default().to_owned(),
                expression: expression.to_owned(),
            });
        }
    }
    constraints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variant_is_found_wherever_it_is_in_a_schema() {
        let plain = r#"{"type":"struct","fields":[{"name":"variant","type":"string","nullable":true,"metadata":{}}]}"#;
        assert!(!has_variant(plain));
        let nested = r#"{"type":"struct","fields":[{"name":"a","nullable":true,"metadata":{},
            "type":{"type":"array","elementType":"variant","containsNull":true}}]}"#;
        assert!(has_variant(nested));
    }

    fn spec(properties: &[(&str, &str)]) -> DeltaWriteSpec {
        let location = TableLocation::parse("/lake/target", BTreeMap::new()).unwrap();
        DeltaWriteSpec {
            properties: properties.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            ..DeltaWriteSpec::new(location)
        }
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_by_name() {
        for (property, feature) in [
            ("delta.enableRowTracking", "rowTracking"),
            ("delta.enableInCommitTimestamps", "inCommitTimestamp"),
            ("delta.enableTypeWidening", "typeWidening"),
        ] {
            let error = spec(&[(property, "true")]).validate().unwrap_err();
            assert_eq!(error.code(), "unsupported_feature");
            assert!(error.to_string().contains(feature), "{error}");
            spec(&[(property, "false")]).validate().unwrap();
        }
        let error = spec(&[("delta.checkpointInterval", "0")]).validate();
        assert_eq!(error.unwrap_err().code(), "invalid_argument");
    }

    #[test]
    fn the_protocol_is_the_lowest_that_has_the_features() {
        let versions = |properties: &[(&str, &str)]| {
            let protocol = spec(properties).protocol(false);
            (protocol.min_reader_version, protocol.min_writer_version)
        };
        assert_eq!(versions(&[]), (1, 2));
        assert_eq!(versions(&[("delta.constraints.a", "x > 0")]), (1, 3));
        assert_eq!(versions(&[("delta.enableChangeDataFeed", "true")]), (1, 4));
        let both =
            spec(&[("delta.enableChangeDataFeed", "true"), ("delta.enableDeletionVectors", "true")]).protocol(true);
        assert_eq!((both.min_reader_version, both.min_writer_version), (3, 7));
        assert_eq!(both.reader_features.unwrap(), ["deletionVectors", "timestampNtz"]);
        assert_eq!(
            both.writer_features.unwrap(),
            ["appendOnly", "changeDataFeed", "deletionVectors", "invariants", "timestampNtz"]
        );
    }

    #[test]
    fn legacy_versions_imply_their_features() {
        let protocol =
            Protocol { min_reader_version: 2, min_writer_version: 4, reader_features: None, writer_features: None };
        assert!(reader_features(&protocol).contains("columnMapping"));
        assert!(writer_features(&protocol).contains("changeDataFeed"));
        assert!(!writer_features(&protocol).contains("identityColumns"));
    }
}
