//! The values that cross into and out of a refresh; all of them are plain data.

use std::collections::BTreeMap;

use functions::MacroSource;
use lake::{TableLocation, Version};
use maintenance::OperatorMaintenance;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::bundle::{InputSchema, PlanBundle};
use crate::compile::{CompileOptions, StateOption};
use crate::error::Result;

/// What a view is compiled from.
#[derive(Clone, Debug, Deserialize)]
pub struct CompileRequest {
    /// Its name.
    pub name: String,
    /// Its text; none where the plan comes as bytes.
    #[serde(default)]
    pub sql: Option<String>,
    /// The schemas of what it may read.
    pub inputs: Vec<RelationSchema>,
    /// The macros of its project.
    #[serde(default)]
    pub functions: Vec<MacroSource>,
    /// Whether its sums of floats are exact.
    #[serde(default = "exact_by_default")]
    pub exact_sums: bool,
    /// The state that it may have; none keeps it in one stage.
    #[serde(default)]
    pub state: Option<StateOption>,
}

fn exact_by_default() -> bool {
    CompileOptions::default().exact_sums
}

/// The schema of a relation.
#[derive(Clone, Debug, Deserialize)]
pub struct RelationSchema {
    /// Its name.
    pub relation: String,
    /// Its schema in Delta's JSON.
    pub schema: String,
}

impl CompileRequest {
    /// What decides the plan beside the definition.
    pub fn options(&self) -> CompileOptions {
        CompileOptions { exact_sums: self.exact_sums, state: self.state.clone() }
    }

    /// The schemas in Arrow's types.
    ///
    /// # Errors
    /// `invalid_argument` or `unsupported_feature` for a text that is no schema of Delta's.
    pub fn input_schemas(&self) -> Result<Vec<InputSchema>> {
        self.inputs
            .iter()
            .map(|input| {
                let schema = lake::schema_from_delta_json(&input.relation, &input.schema)?;
                Ok(InputSchema { relation: input.relation.clone(), schema })
            })
            .collect()
    }
}

/// How a refresh computes the new content of its view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// From the changes of the inputs.
    Incremental,
    /// From the inputs themselves.
    Recompute,
}

/// An input at the version that a refresh reads, and at the one that the view's content reflects.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RefreshInput {
    /// Name of the dataset or view.
    pub relation: String,
    /// Where it lies.
    pub table: TableLocation,
    /// The version that the view's content reflects; none before the first build.
    #[serde(default)]
    pub before: Option<Version>,
    /// The version to read.
    pub now: Version,
    /// The identity of the table, checked again before the commit.
    pub table_id: String,
    /// When `now` was committed, milliseconds since the epoch.
    #[serde(default)]
    pub timestamp_ms: i64,
    /// SHA-256 of the log entry of `now`; none where the entry was cleaned.
    #[serde(default)]
    pub commit_hash: Option<String>,
    /// SHA-256 of the log entry of `before`, where it is known.
    #[serde(default)]
    pub before_commit_hash: Option<String>,
    /// Engines whose change files are trusted, by prefix of `engineInfo`.
    #[serde(default)]
    pub trusted_writers: Vec<String>,
}

/// The table that a refresh writes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RefreshTarget {
    /// Where it lies.
    pub table: TableLocation,
    /// The version to build on; none where the table does not exist.
    #[serde(default)]
    pub base: Option<Version>,
    /// The digest of its content, as the last commit of ours wrote it.
    #[serde(default)]
    pub content_digest: Option<String>,
    /// What `now()` meant in its content, milliseconds since the epoch.
    #[serde(default)]
    pub clock_ms: Option<i64>,
}

/// How the target is written.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RefreshWrite {
    /// Partition columns of the target.
    #[serde(default)]
    pub partition_by: Vec<String>,
    /// Size at which a new data file is begun, in bytes.
    #[serde(default)]
    pub target_file_size: Option<u64>,
    /// Table properties to set.
    #[serde(default)]
    pub properties: BTreeMap<String, String>,
    /// Whether the table records its change feed.
    #[serde(default)]
    pub change_data_feed: bool,
    /// Whether a recomputation writes only the difference to the old content.
    #[serde(default)]
    pub recompute_difference: bool,
}

impl RefreshRequest {
    /// Whether there may be something to do, although no input brings any change.
    pub(crate) fn goes_with_time(&self) -> bool {
        self.bundle.maintenance.is_temporal() && self.target.clock_ms != Some(self.clock_ms)
    }
}

/// The view that is refreshed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RefreshView {
    /// Its name.
    pub name: String,
    /// Its stable id, which marks its target.
    pub id: String,
}

/// Everything that one refresh needs; running it twice gives the same rows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RefreshRequest {
    /// The compiled view.
    pub bundle: PlanBundle,
    /// How to compute.
    pub strategy: Strategy,
    /// Why so: a code of the closed list.
    pub reason: String,
    /// What `now()` means in this refresh, milliseconds since the epoch.
    pub clock_ms: i64,
    /// The pinned inputs.
    pub inputs: Vec<RefreshInput>,
    /// The table to write.
    pub target: RefreshTarget,
    /// How to write it.
    #[serde(default)]
    pub write: RefreshWrite,
    /// The view.
    pub view: RefreshView,
    /// Identity of the content, written in the commit.
    pub content_key: String,
    /// Whether the target's schema and properties are written anew.
    #[serde(default)]
    pub replace_definition: bool,
    /// Whether a refresh that finds nothing to change commits all the same, without files, to record its pins.
    #[serde(default)]
    pub commit_empty: bool,
    /// Most bytes that the incremental path may hold in memory before it gives up; none for a quarter of the pool.
    #[serde(default)]
    pub change_budget_bytes: Option<u64>,
    /// Rows of the view that may change, or be compared, before the incremental path gives up because a recomputation
    /// costs less; none where it does not.
    #[serde(default)]
    pub change_limit_rows: Option<u64>,
    /// Put as they are into the commit's metadata.
    #[serde(default)]
    pub extra_info: Map<String, Value>,
    /// Ask a plan to count the changed rows, which reads data.
    #[serde(default)]
    pub exact: bool,
    /// A predicate that stands for the changed rows of a relation, in place of its real change set.
    #[serde(default)]
    pub hypothetical: BTreeMap<String, String>,
}

/// What became of a refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A commit was made.
    Committed,
    /// The change set was empty: nothing was written.
    Unchanged,
    /// The target's log moved by data; nothing was committed.
    Conflict,
    /// The incremental path gave up; nothing was committed; `reason` says why.
    FellBack,
}

/// Rows of a change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowCount {
    /// Rows added to the target.
    pub inserted: u64,
    /// Rows taken from it.
    pub deleted: u64,
}

/// Work on files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileWork {
    /// Files opened or written.
    pub files: u64,
    /// Bytes read from or written to the store.
    pub bytes: u64,
    /// Rows that came out or went in.
    pub rows: u64,
}

impl FileWork {
    /// The sum of two pieces of work.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { files: self.files + other.files, bytes: self.bytes + other.bytes, rows: self.rows + other.rows }
    }
}

/// One input of one task: a relation at a version, restricted to files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanUnit {
    /// Name of the dataset or view.
    pub relation: String,
    /// The version read.
    pub version: Version,
    /// `before`, `now` or `changes`.
    pub side: String,
    /// Candidate files, relative to the table.
    pub files: Vec<String>,
    /// Files that partition values or statistics ruled out.
    pub skipped_files: u64,
    /// Bytes of the candidate files.
    pub bytes: u64,
    /// Rows of the candidate files, where the log tells.
    pub rows: u64,
    /// Predicates that reach the scan.
    pub filters: Vec<String>,
    /// Columns read.
    pub columns: Vec<String>,
}

/// The result of a refresh.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RefreshResult {
    /// What became of it.
    pub outcome: Outcome,
    /// The version made.
    pub version: Option<Version>,
    /// When it was committed, milliseconds since the epoch.
    pub timestamp_ms: Option<i64>,
    /// The version that was there first, after a conflict.
    pub winner: Option<Version>,
    /// Why it fell back: a code of the closed list.
    pub reason: Option<String>,
    /// In words.
    pub message: Option<String>,
    /// Rows changed.
    pub rows: RowCount,
    /// Rows of the target afterwards, where the log tells.
    pub target_rows: Option<u64>,
    /// Rows of input changes after projection, filters and consolidation, by relation.
    pub change_rows: BTreeMap<String, u64>,
    /// What was read.
    pub read: FileWork,
    /// What was written.
    pub written: FileWork,
    /// Files of the target that were replaced.
    pub removed_files: u64,
    /// The inputs, file by file.
    pub scan_units: Vec<ScanUnit>,
    /// Milliseconds by phase.
    pub elapsed_ms: BTreeMap<String, f64>,
}

/// What a refresh would do; nothing is written to find out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RefreshPlan {
    /// The strategy that is possible: the one asked for, or `recompute` with a reason.
    pub strategy: Strategy,
    /// Why it is not incremental, where it is not.
    pub reason: Option<String>,
    /// In words.
    pub message: Option<String>,
    /// The inputs, file by file, as the run will plan them.
    pub scan_units: Vec<ScanUnit>,
    /// Upper bound of the bytes to read, from the inputs and from the target.
    pub bytes_to_read: u64,
    /// Those of them whose rows have to be compared: the changes of inputs that did not only get rows.
    pub bytes_to_compare: u64,
    /// Files of the target that may be rewritten.
    pub candidate_target_files: u64,
    /// Their bytes: what may be rewritten, without the new rows, which nobody knows before they are computed.
    pub bytes_to_write_bound: u64,
    /// Changed rows of the inputs as the log counts them, before projection and filters.
    pub change_rows_bound: u64,
    /// Rows that would change in the target, if they were asked for.
    pub change_rows: Option<RowCount>,
    /// Bytes that a recomputation reads.
    pub recompute_bytes: u64,
    /// How each operator is maintained.
    pub operators: Vec<OperatorMaintenance>,
}
