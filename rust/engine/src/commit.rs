//! The commit of a refresh: what it says, and what happens when somebody else was first.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::error::Result;
use lake::{CommitOutcome, CommitRequest, DataFile, DeltaWriteSpec, FileKey, TableSnapshot, WrittenFile};
use serde_json::{Map, Value, json};

use crate::error::EngineError;
use crate::progress::Ended;
use crate::refresh::{Observer, lake_error, output_schema};
use crate::request::{Outcome, RefreshRequest, RowCount};
use crate::session::EngineSession;
use crate::target::Target;

/// How often a commit is moved past commits that changed no data.
const MAX_REBASES: usize = 8;

/// The files that a commit adds and removes.
#[derive(Default)]
pub(crate) struct Commitment {
    pub(crate) add: Vec<WrittenFile>,
    pub(crate) remove: Vec<DataFile>,
    pub(crate) change_files: Vec<WrittenFile>,
    /// Whether everything that is in the target goes, whatever its files are called.
    pub(crate) replaces_all: bool,
    /// Whether what the removed files hid can no longer be read.
    pub(crate) vectors_lost: bool,
}

/// What a commit says of the rows of the target.
pub(crate) struct Said {
    pub(crate) rows: RowCount,
    /// The digest of all rows after the commit, where it is known.
    pub(crate) content_digest: Option<String>,
}

/// The id that a view's `txn` of one input, or of the target itself, goes by.
pub(crate) fn application_id(view_id: &str, table_id: &str) -> String {
    format!("deltakeep/{view_id}/{table_id}")
}

/// The id of the `txn` that says which version a commit of ours made.
pub(crate) fn own_application_id(view_id: &str) -> String {
    application_id(view_id, "self")
}

/// How the target of a request is written.
pub(crate) fn write_spec(request: &RefreshRequest) -> DeltaWriteSpec {
    let mut properties = request.write.properties.clone();
    properties.insert("deltakeep.view".to_owned(), request.view.name.clone());
    properties.insert("deltakeep.viewId".to_owned(), request.view.id.clone());
    properties.insert("deltakeep.contentKey".to_owned(), request.content_key.clone());
    if request.write.change_data_feed {
        properties.insert("delta.enableChangeDataFeed".to_owned(), "true".to_owned());
    }
    DeltaWriteSpec {
        location: request.target.table.clone(),
        partition_by: request.write.partition_by.clone(),
        target_file_size: request.write.target_file_size,
        properties,
        description: None,
    }
}

/// Commit, past winners that changed no data and none of our files.
pub(crate) async fn commit(
    session: &EngineSession,
    request: &RefreshRequest,
    target: Option<&Target>,
    work: Commitment,
    said: Said,
    observer: Observer<'_>,
) -> Result<Ended> {
    let lake = session.lake();
    let mut snapshot: Option<Arc<TableSnapshot>> = target.map(|target| Arc::clone(&target.snapshot));
    let mut remove = work.remove;
    let added_rows: u64 = work.add.iter().map(WrittenFile::live_rows).sum();
    let schema = output_schema(request)?;
    let info = metadata(request, &said);
    for _ in 0..=MAX_REBASES {
        let base = snapshot.as_ref().map(|snapshot| snapshot.version);
        let own_version = base.map_or(0, |base| base + 1);
        let target_rows = target_rows(snapshot.as_deref(), &remove, added_rows);
        let commit = CommitRequest {
            location: request.target.table.clone(),
            base,
            spec: write_spec(request),
            schema: Arc::clone(&schema),
            add: work.add.clone(),
            remove: remove.clone(),
            change_files: work.change_files.clone(),
            vectors_lost: work.vectors_lost,
            data_change: true,
            transactions: transactions(request, own_version)?,
            metadata_update: request.replace_definition && base.is_some(),
            operation: "WRITE".to_owned(),
            info: info.clone(),
            timestamp_ms: request.clock_ms,
        };
        match lake::commit(lake, commit, &|step| observer(step.name())).await.map_err(lake_error)? {
            CommitOutcome::Committed { version, timestamp_ms, .. } => {
                return Ok(Ended {
                    outcome: Outcome::Committed,
                    version: Some(version),
                    timestamp_ms: Some(timestamp_ms),
                    target_rows,
                    ..Ended::default()
                });
            }
            CommitOutcome::Conflict { winner } => {
                let lost = Ended { outcome: Outcome::Conflict, winner: Some(winner), ..Ended::default() };
                let Some(old) = &snapshot else { return Ok(lost) };
                let keys: BTreeSet<FileKey> = remove.iter().map(DataFile::key).collect();
                let winners = lake.commits(&request.target.table, old.version, winner).await.map_err(lake_error)?;
                // Another daemon's commit for this view may carry newer pins, which ours must not take back.
                let own = own_application_id(&request.view.id);
                let harmless = winners.iter().all(|commit| {
                    !commit.data_changed
                        && !commit.transactions.contains_key(&own)
                        && commit.metadata.is_none()
                        && !commit.protocol_changed()
                        && (work.replaces_all || commit.removes.iter().all(|gone| !keys.contains(&gone.key)))
                });
                if !harmless {
                    return Ok(lost);
                }
                let newer = lake.snapshot(&request.target.table, Some(winner)).await.map_err(lake_error)?;
                if work.replaces_all {
                    remove = newer.files.to_vec();
                }
                snapshot = Some(newer);
            }
        }
    }
    Ok(Ended { outcome: Outcome::Conflict, winner: snapshot.map(|snapshot| snapshot.version), ..Ended::default() })
}

/// One `txn` for each input, which carries the frontier through checkpoints, and one that marks the commit as ours.
fn transactions(request: &RefreshRequest, own_version: u64) -> Result<Vec<(String, i64)>> {
    let number = |version: u64| {
        i64::try_from(version)
            .map_err(|_| EngineError::InvalidArgument { message: format!("version {version} is too large") })
    };
    let mut transactions = Vec::with_capacity(request.inputs.len() + 1);
    for input in &request.inputs {
        transactions.push((application_id(&request.view.id, &input.table_id), number(input.now)?));
    }
    transactions.push((own_application_id(&request.view.id), number(own_version)?));
    // One table may stand behind two relations; a commit holds an application once.
    transactions.sort();
    transactions.dedup_by(|later, earlier| later.0 == earlier.0);
    Ok(transactions)
}

fn metadata(request: &RefreshRequest, said: &Said) -> Map<String, Value> {
    let pins: Vec<Value> = request
        .inputs
        .iter()
        .map(|input| {
            json!({
                "relation": input.relation,
                "uri": input.table.uri,
                "table_id": input.table_id,
                "version": input.now,
                "timestamp_ms": input.timestamp_ms,
                "commit_hash": input.commit_hash,
            })
        })
        .collect();
    let mut info = request.extra_info.clone();
    let own = json!({
        "view": request.view.name,
        "view_id": request.view.id,
        "content_key": request.content_key,
        "fingerprint": request.bundle.fingerprint,
        "function_snapshot_hash": request.bundle.function_snapshot_hash,
        "clock_ms": request.clock_ms,
        "pins": pins,
        "strategy": request.strategy,
        "reason": request.reason,
        "rows": said.rows,
        "content_digest": said.content_digest,
        "engine_version": request.bundle.engine_version,
    });
    if let Value::Object(own) = own {
        info.extend(own);
    }
    info
}

fn target_rows(snapshot: Option<&TableSnapshot>, remove: &[DataFile], added: u64) -> Option<u64> {
    let sum = |files: &[DataFile]| files.iter().map(DataFile::live_rows).sum::<Option<u64>>();
    let before = snapshot.map_or(Some(0), |snapshot| sum(&snapshot.files))?;
    Some((before + added).saturating_sub(sum(remove)?))
}
