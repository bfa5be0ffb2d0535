//! Looking at tables: their state, what happened in a range of versions, and what a target says of itself.
//!
//! Nothing here reads a data file.

use std::collections::{BTreeMap, BTreeSet};

use lake::{Commit, DataFile, FeedKind, LakeError, TableIdentity, TableLocation, TableSnapshot, Version};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::bundle::PlanBundle;
use crate::commit::{application_id, own_application_id};
use crate::error::{EngineError, Result};
use crate::feeds::change_feed;
use crate::lineage::predicate_expressions;
use crate::request::FileWork;
use crate::session::EngineSession;

/// A column as the log describes it.
#[derive(Clone, Debug, Serialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its Arrow type, for people.
    pub r#type: String,
    /// Whether it may be NULL.
    pub nullable: bool,
}

/// One version of a table.
#[derive(Clone, Debug, Serialize)]
pub struct TableState {
    /// Where it lies.
    pub uri: String,
    /// The version.
    pub version: Version,
    /// Its id.
    pub table_id: String,
    /// When the version was committed, milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// The schema in Delta's JSON.
    pub schema: String,
    /// Its columns.
    pub columns: Vec<Column>,
    /// Partition columns.
    pub partition_columns: Vec<String>,
    /// Table properties.
    pub properties: BTreeMap<String, String>,
    /// Features that a reader must know.
    pub reader_features: BTreeSet<String>,
    /// Features that a writer must know.
    pub writer_features: BTreeSet<String>,
    /// Number of live files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Live rows, where the log tells.
    pub rows: Option<u64>,
    /// SHA-256 of the version's log entry; none where it was cleaned.
    pub commit_hash: Option<String>,
    /// The oldest version whose log entry is still there.
    pub oldest_version: Version,
}

/// The state of a table at a version, or at the newest one.
pub async fn table_state(
    session: &EngineSession,
    table: &TableLocation,
    version: Option<Version>,
) -> Result<TableState> {
    let lake = session.lake();
    let snapshot = lake.snapshot(table, version).await?;
    let identity = lake.identity(table, snapshot.version).await?;
    Ok(TableState {
        uri: table.uri.clone(),
        version: snapshot.version,
        table_id: snapshot.table_id.clone(),
        timestamp_ms: snapshot.timestamp_ms,
        schema: snapshot.schema_json.to_string(),
        columns: columns(&snapshot),
        partition_columns: snapshot.partition_columns.clone(),
        properties: snapshot.properties.clone(),
        reader_features: snapshot.reader_features.clone(),
        writer_features: snapshot.writer_features.clone(),
        files: snapshot.files.len() as u64,
        bytes: snapshot.bytes(),
        rows: snapshot.rows(),
        commit_hash: identity.commit_hash,
        oldest_version: lake.oldest_version(table).await?,
    })
}

fn columns(snapshot: &TableSnapshot) -> Vec<Column> {
    let fields = snapshot.schema.fields().iter();
    fields
        .map(|field| Column {
            name: field.name().clone(),
            r#type: field.data_type().to_string(),
            nullable: field.is_nullable(),
        })
        .collect()
}

/// A look at a table: is the version after this one there?
#[derive(Clone, Debug, Deserialize)]
pub struct Look {
    /// The table.
    pub table: TableLocation,
    /// The version that was seen last.
    pub after: Version,
}

/// What a look saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Seen {
    /// Whether there is a newer version.
    News(bool),
    /// Why that cannot be told.
    Failed {
        /// A code of the closed list.
        code: &'static str,
        /// In words.
        message: String,
    },
}

/// Look at many tables at once; the answers are in the order of the looks.
pub async fn look(session: &EngineSession, looks: Vec<Look>) -> Vec<Seen> {
    let looks = looks.into_iter().map(|look| (look.table, look.after)).collect();
    let found = session.lake().next_versions_exist(looks).await;
    let seen = |answer: Result<bool, LakeError>| match answer {
        Ok(news) => Seen::News(news),
        Err(error) => Seen::Failed { code: error.code(), message: error.to_string() },
    };
    found.into_iter().map(seen).collect()
}

/// A question about a range of versions.
#[derive(Clone, Debug, Deserialize)]
pub struct ExamineRequest {
    /// The table.
    pub table: TableLocation,
    /// The version that the range starts after.
    pub after: Version,
    /// The last version of the range.
    pub upto: Version,
    /// What the table was at `after`.
    #[serde(default)]
    pub identity: Option<TableIdentity>,
    /// The view that asks: its predicates decide which changes matter.
    #[serde(default)]
    pub filters_of: Option<PlanBundle>,
    /// The name under which that view reads the table.
    #[serde(default)]
    pub relation: Option<String>,
    /// Engines whose change files are trusted.
    #[serde(default)]
    pub trusted_writers: Vec<String>,
}

/// Why a range cannot be read as changes.
#[derive(Clone, Debug, Serialize)]
pub struct Problem {
    /// A code of the closed list.
    pub reason: String,
    /// In words.
    pub message: String,
}

/// What happened in a range of versions.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ChangeSummary {
    /// Why the range cannot be read as changes, if so.
    pub problem: Option<Problem>,
    /// Number of commits.
    pub commits: u64,
    /// Whether any commit may have changed rows.
    pub data_changed: bool,
    /// Whether the schema changed.
    pub schema_changed: bool,
    /// Whether rows were only added.
    pub insert_only: bool,
    /// How the changes are read: `empty`, `insert_only`, `change_files` or `difference`.
    pub feed: Option<String>,
    /// What is wrong with change files of a trusted writer, which are therefore not read.
    pub distrusted: Option<String>,
    /// Files that are new.
    pub added: FileWork,
    /// Files that are gone.
    pub removed: FileWork,
    /// Those of them that can hold rows which the view sees.
    pub matching: FileWork,
    /// Names of the operations, sorted.
    pub operations: BTreeSet<String>,
}

/// What happened to a table in a range, and how much of it a view can see.
pub async fn examine(session: &EngineSession, request: &ExamineRequest) -> Result<ChangeSummary> {
    let range = (request.after, request.upto);
    let feed = change_feed(session, &request.table, range, request.identity.as_ref(), &request.trusted_writers).await;
    let feed = match feed {
        Ok(feed) => feed,
        Err(error) => {
            let reason = match error.code() {
                code @ ("history_gone" | "table_replaced" | "schema_changed") => code,
                "missing_file" | "version_not_found" => "history_gone",
                _ => return Err(error),
            };
            let problem = Problem { reason: reason.to_owned(), message: error.to_string() };
            let commits = request.upto.saturating_sub(request.after);
            return Ok(ChangeSummary { problem: Some(problem), commits, data_changed: true, ..Default::default() });
        }
    };
    let changed: Vec<DataFile> = feed.added.iter().chain(&feed.removed).cloned().collect();
    let matching = match (&request.filters_of, &request.relation) {
        (Some(bundle), Some(relation)) => matching(session, bundle, relation, &feed.now, &changed)?,
        _ => sizes(&changed),
    };
    Ok(ChangeSummary {
        problem: None,
        commits: request.upto.saturating_sub(request.after),
        data_changed: feed.kind != FeedKind::Empty,
        schema_changed: feed.before.schema != feed.now.schema,
        insert_only: matches!(feed.kind, FeedKind::Empty | FeedKind::InsertOnly),
        feed: Some(feed_name(feed.kind).to_owned()),
        distrusted: feed.distrusted,
        added: sizes(&feed.added),
        removed: sizes(&feed.removed),
        matching,
        operations: feed.operations,
    })
}

fn feed_name(kind: FeedKind) -> &'static str {
    match kind {
        FeedKind::Empty => "empty",
        FeedKind::InsertOnly => "insert_only",
        FeedKind::ChangeFiles => "change_files",
        FeedKind::Difference => "difference",
    }
}

fn sizes(files: &[DataFile]) -> FileWork {
    FileWork {
        files: files.len() as u64,
        bytes: files.iter().map(|file| file.size).sum(),
        rows: files.iter().filter_map(DataFile::live_rows).sum(),
    }
}

/// The files that at least one scan of the relation cannot rule out.
fn matching(
    session: &EngineSession,
    bundle: &PlanBundle,
    relation: &str,
    snapshot: &TableSnapshot,
    files: &[DataFile],
) -> Result<FileWork> {
    let Some(lineage) = bundle.lineage.relations.iter().find(|lineage| lineage.relation == relation) else {
        return Ok(FileWork::default());
    };
    let schema = lake::view_typed(&snapshot.schema);
    let context = session.task_context();
    let mut kept = BTreeSet::new();
    for scan in &lineage.scans {
        let filters = predicate_expressions(&context, scan)
            .map_err(|error| EngineError::defect(format!("view \"{}\"", bundle.name), error.to_string()))?;
        kept.extend(lake::prune(files, &schema, &snapshot.partition_columns, &filters).kept);
    }
    Ok(sizes(&kept.into_iter().map(|index| files[index].clone()).collect::<Vec<_>>()))
}

/// Whether somebody else committed to a target after us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Foreign {
    /// Nobody did.
    None,
    /// Somebody did, but no row changed.
    NoData,
    /// Rows changed.
    Data,
    /// The entries that would tell are gone.
    Unknown,
}

/// What a target says of itself.
#[derive(Clone, Debug, Serialize)]
pub struct TargetState {
    /// Whether there is a table.
    pub exists: bool,
    /// Its newest version.
    pub version: Option<Version>,
    /// Its id.
    pub table_id: Option<String>,
    /// The view that it belongs to, by the mark in its properties.
    pub owner_view_id: Option<String>,
    /// That view's name.
    pub owner_view: Option<String>,
    /// Identity of its content.
    pub content_key: Option<String>,
    /// The version that our newest commit made.
    pub own_version: Option<Version>,
    /// The pins of the frontier, by table id.
    pub frontier: BTreeMap<String, Version>,
    /// What our newest commit said, where its entry is still there.
    pub details: Option<Value>,
    /// Whether somebody else committed since.
    pub foreign: Foreign,
    /// Live bytes.
    pub bytes: u64,
    /// Live rows, where the log tells.
    pub rows: Option<u64>,
    /// Live files.
    pub files: u64,
    /// The schema in Delta's JSON.
    pub schema: Option<String>,
    /// SHA-256 of the newest log entry.
    pub commit_hash: Option<String>,
    /// The oldest version whose entry is still there.
    pub oldest_version: Option<Version>,
    /// When the newest version was committed, milliseconds since the epoch.
    pub timestamp_ms: Option<i64>,
}

/// Read the frontier of a view from its target, as it is or as it was at a version.
pub async fn target_state(
    session: &EngineSession,
    table: &TableLocation,
    view_id: &str,
    version: Option<Version>,
) -> Result<TargetState> {
    let lake = session.lake();
    let snapshot = match lake.snapshot(table, version).await {
        Ok(snapshot) => snapshot,
        Err(LakeError::NotATable { .. }) => return Ok(missing()),
        Err(error) => return Err(error.into()),
    };
    let prefix = application_id(view_id, "");
    let own = own_application_id(view_id);
    let number = |version: i64| Version::try_from(version).ok();
    let own_version = snapshot.transactions.get(&own).copied().and_then(number);
    let frontier = snapshot
        .transactions
        .iter()
        .filter(|(application, _)| **application != own)
        .filter_map(|(application, version)| Some((application.strip_prefix(&prefix)?.to_owned(), number(*version)?)))
        .collect();
    let (details, foreign) = match own_version {
        Some(version) => since(session, table, version, snapshot.version).await?,
        None => (None, Foreign::Unknown),
    };
    let identity = lake.identity(table, snapshot.version).await?;
    let property = |name: &str| snapshot.properties.get(name).cloned();
    Ok(TargetState {
        exists: true,
        version: Some(snapshot.version),
        table_id: Some(snapshot.table_id.clone()),
        owner_view_id: property("deltakeep.viewId"),
        owner_view: property("deltakeep.view"),
        content_key: property("deltakeep.contentKey"),
        own_version,
        frontier,
        details,
        foreign,
        bytes: snapshot.bytes(),
        rows: snapshot.rows(),
        files: snapshot.files.len() as u64,
        schema: Some(snapshot.schema_json.to_string()),
        commit_hash: identity.commit_hash,
        oldest_version: Some(lake.oldest_version(table).await?),
        timestamp_ms: Some(snapshot.timestamp_ms),
    })
}

/// What our commit said, and what happened after it.
async fn since(
    session: &EngineSession,
    table: &TableLocation,
    own: Version,
    newest: Version,
) -> Result<(Option<Value>, Foreign)> {
    if own > newest {
        // RESTORE keeps application transactions only of what it restored; a later number belongs to another history.
        return Ok((None, Foreign::Data));
    }
    let lake = session.lake();
    let details = lake.commit_at(table, own).await?.as_ref().and_then(details);
    if own == newest {
        return Ok((details, Foreign::None));
    }
    let commits = match lake.commits(table, own, newest).await {
        Ok(commits) => commits,
        Err(LakeError::HistoryGone { .. }) => return Ok((details, Foreign::Unknown)),
        Err(error) => return Err(error.into()),
    };
    if commits.iter().any(|commit| commit.data_changed) {
        return Ok((details, Foreign::Data));
    }
    if commits.iter().all(|commit| commit.metadata.is_none()) {
        return Ok((details, Foreign::NoData));
    }
    // New metadata may set nothing but properties, which leave every row as it was.
    let before = match lake.snapshot(table, Some(own)).await {
        Ok(snapshot) => snapshot,
        Err(LakeError::HistoryGone { .. } | LakeError::VersionNotFound { .. }) => {
            return Ok((details, Foreign::Unknown));
        }
        Err(error) => return Err(error.into()),
    };
    let now = lake.snapshot(table, Some(newest)).await?;
    let same = before.table_id == now.table_id
        && before.schema_json == now.schema_json
        && before.partition_columns == now.partition_columns;
    Ok((details, if same { Foreign::NoData } else { Foreign::Data }))
}

fn details(commit: &Commit) -> Option<Value> {
    commit.info.get("deltakeep").cloned()
}

fn missing() -> TargetState {
    TargetState {
        exists: false,
        version: None,
        table_id: None,
        owner_view_id: None,
        owner_view: None,
        content_key: None,
        own_version: None,
        frontier: BTreeMap::new(),
        details: None,
        foreign: Foreign::None,
        bytes: 0,
        rows: None,
        files: 0,
        schema: None,
        commit_hash: None,
        oldest_version: None,
        timestamp_ms: None,
    }
}
