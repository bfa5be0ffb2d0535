//! The entry of a commit: its lines, after everything was checked that the base version demands.
//!
//! Whatever is wrong with a request is found here, before anything becomes visible.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::actions::{Format, Line, Metadata, Remove, Transaction};
use crate::commit::CommitRequest;
use crate::error::{LakeError, Result};
use crate::properties::{DeltaWriteSpec, check_writable};
use crate::schema::{delta_schema_json, has_timestamp_ntz, schema_from_delta_json};
use crate::table::{DataFile, FileKey, TableSnapshot};
use crate::writer::WrittenFile;

/// The bytes of the entry, after everything that can be known before was checked.
pub(crate) fn entry_text(request: &CommitRequest, base: Option<&TableSnapshot>, commit_id: &str) -> Result<Vec<u8>> {
    let uri = &request.location.uri;
    request.spec.validate()?;
    let mut lines = Vec::new();
    lines.push(Line { commit_info: Some(commit_info(request, commit_id)), ..Line::default() });
    let schema_json = delta_schema_json(uri, &request.schema)?;
    match base {
        None => lines.extend(creation(request, schema_json)?),
        Some(base) => {
            check_against(request, base)?;
            if request.metadata_update {
                lines.extend(metadata_update(request, base, schema_json));
            } else {
                check_schema(request, base, &schema_json)?;
            }
        }
    }
    let timestamp = request.timestamp_ms;
    lines.extend(request.transactions.iter().map(|(app_id, version)| Line {
        txn: Some(Transaction { app_id: app_id.clone(), version: *version, last_updated: Some(timestamp) }),
        ..Line::default()
    }));
    lines.extend(
        request
            .remove
            .iter()
            .map(|file| Line { remove: Some(Remove::of(file, timestamp, request.data_change)), ..Line::default() }),
    );
    lines
        .extend(request.add.iter().map(|file| Line { add: Some(file.to_add(request.data_change)), ..Line::default() }));
    lines.extend(request.change_files.iter().map(|file| Line { cdc: Some(file.to_cdc()), ..Line::default() }));
    let mut bytes = Vec::new();
    for line in &lines {
        serde_json::to_writer(&mut bytes, line)
            .map_err(|error| LakeError::invalid(format!("the commit cannot be written: {error}")))?;
        bytes.push(b'\n');
    }
    Ok(bytes)
}

fn commit_info(request: &CommitRequest, commit_id: &str) -> Map<String, Value> {
    let mut ours = request.info.clone();
    ours.insert("commit_id".to_owned(), commit_id.into());
    // A file that only hides more of its rows is not written again.
    let written: Vec<&WrittenFile> = request.add.iter().filter(|file| file.deletion_vector.is_none()).collect();
    let bytes: u64 = written.iter().map(|file| file.size).sum();
    let rows: u64 = written.iter().map(|file| file.rows).sum();
    let mut info = Map::new();
    info.insert("timestamp".to_owned(), request.timestamp_ms.into());
    info.insert("operation".to_owned(), request.operation.as_str().into());
    info.insert("operationParameters".to_owned(), json!({}));
    if let Some(base) = request.base {
        info.insert("readVersion".to_owned(), base.into());
    }
    let appends = request.remove.is_empty() && request.change_files.is_empty();
    info.insert("isBlindAppend".to_owned(), (appends && request.data_change && !request.metadata_update).into());
    info.insert(
        "operationMetrics".to_owned(),
        // As Spark has them: text.
        json!({
            "numFiles": written.len().to_string(),
            "numRemovedFiles": request.remove.len().to_string(),
            "numOutputRows": rows.to_string(),
            "numOutputBytes": bytes.to_string(),
        }),
    );
    info.insert("engineInfo".to_owned(), format!("deltakeep/{}", env!("CARGO_PKG_VERSION")).into());
    info.insert("deltakeep".to_owned(), ours.into());
    info
}

fn creation(request: &CommitRequest, schema_string: String) -> Result<[Line; 2]> {
    if !request.remove.is_empty() {
        return Err(LakeError::invalid(format!(
            "table '{}' does not exist yet and has no files to remove; name the base version",
            request.location.uri
        )));
    }
    let stored = schema_from_delta_json(&request.location.uri, &schema_string)?;
    let protocol = request.spec.protocol(has_timestamp_ntz(&stored));
    let metadata = Metadata {
        id: Uuid::new_v4().to_string(),
        name: None,
        description: request.spec.description.clone(),
        format: Format::default(),
        schema_string,
        partition_columns: request.spec.partition_by.clone(),
        created_time: Some(request.timestamp_ms),
        configuration: configuration(&request.spec),
    };
    Ok([Line { protocol: Some(protocol), ..Line::default() }, Line { meta_data: Some(metadata), ..Line::default() }])
}

fn configuration(spec: &DeltaWriteSpec) -> BTreeMap<String, Option<String>> {
    spec.properties.iter().map(|(name, value)| (name.clone(), Some(value.clone()))).collect()
}

fn metadata_update(request: &CommitRequest, base: &TableSnapshot, schema_string: String) -> Vec<Line> {
    let protocol = request.spec.upgraded_protocol(base, has_timestamp_ntz(&request.schema));
    let metadata = Metadata {
        description: request.spec.description.clone().or_else(|| base.description.clone()),
        schema_string,
        partition_columns: request.spec.partition_by.clone(),
        configuration: configuration(&request.spec),
        ..base.metadata()
    };
    let mut lines = Vec::new();
    if protocol.is_some() {
        lines.push(Line { protocol, ..Line::default() });
    }
    lines.push(Line { meta_data: Some(metadata), ..Line::default() });
    lines
}

/// Checks everything that the base version demands of a commit.
fn check_against(request: &CommitRequest, base: &TableSnapshot) -> Result<()> {
    let uri = &request.location.uri;
    check_writable(base)?;
    if base.append_only() && request.data_change && !request.remove.is_empty() {
        return Err(LakeError::ConstraintViolated {
            uri: uri.clone(),
            constraint: "appendOnly".to_owned(),
            detail: "the commit removes files, and 'delta.appendOnly' is true".to_owned(),
        });
    }
    let live: BTreeSet<FileKey> =
        if request.remove.is_empty() { BTreeSet::new() } else { base.files.iter().map(DataFile::key).collect() };
    if let Some(gone) = request.remove.iter().find(|file| !live.contains(&file.key())) {
        return Err(LakeError::CommitConflict {
            uri: uri.clone(),
            version: base.version,
            detail: format!("file '{}', which is to be removed, is not in the table", gone.path),
        });
    }
    let vectors = request.remove.iter().any(|file| file.deletion_vector.is_some())
        || request.add.iter().any(|file| file.deletion_vector.is_some());
    let derived = request.data_change && base.change_data_feed() && request.change_files.is_empty();
    if vectors && derived && !request.vectors_lost {
        return Err(LakeError::invalid(format!(
            "the commit changes files of table '{uri}' that have deletion vectors; write change files, because other \
             readers of its change data feed cannot derive the change"
        )));
    }
    if request.add.iter().any(|file| file.deletion_vector.is_some())
        && !base.writer_features.contains("deletionVectors")
    {
        return Err(LakeError::UnsupportedFeature {
            uri: uri.clone(),
            feature: "deletionVectors".to_owned(),
            action: "written",
            hint: "set 'delta.enableDeletionVectors' to true first".to_owned(),
        });
    }
    Ok(())
}

/// Rows must fit the table as it is: same names, types and order; only nullability may be narrower.
fn check_schema(request: &CommitRequest, base: &TableSnapshot, schema_json: &str) -> Result<()> {
    let mismatch = |detail: String| Err(LakeError::SchemaMismatch { uri: request.location.uri.clone(), detail });
    if request.add.is_empty() {
        return Ok(());
    }
    let rows = schema_from_delta_json(&request.location.uri, schema_json)?;
    if rows.fields().len() != base.schema.fields().len() {
        return mismatch(format!(
            "rows have {} columns and the table has {}; update the table's metadata with the commit",
            rows.fields().len(),
            base.schema.fields().len()
        ));
    }
    for (row, column) in rows.fields().iter().zip(base.schema.fields()) {
        if row.name() != column.name() || row.data_type() != column.data_type() {
            return mismatch(format!(
                "column '{}' of type {} stands where the table has '{}' of type {}; cast or rename it, or update the \
                 table's metadata with the commit",
                row.name(),
                row.data_type(),
                column.name(),
                column.data_type()
            ));
        }
        if row.is_nullable() && !column.is_nullable() {
            return mismatch(format!(
                "column '{}' may be NULL, and the table refuses NULL there; filter the rows with IS NOT NULL",
                column.name()
            ));
        }
    }
    if request.spec.partition_by != base.partition_columns {
        return mismatch(format!(
            "files are partitioned by {:?} and the table by {:?}; write them alike",
            request.spec.partition_by, base.partition_columns
        ));
    }
    Ok(())
}
