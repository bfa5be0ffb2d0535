//! What can go wrong with a Delta table, as one closed list of codes.
//!
//! Every message names the table and, where one is meant, the version, and ends with what to do about it.

use datafusion::error::DataFusionError;
use parquet::errors::ParquetError;

/// Result of everything in this crate.
pub type Result<T, E = LakeError> = std::result::Result<T, E>;

/// An error about one table.
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    /// There is no Delta log at the location.
    #[error("'{uri}' is not a Delta table: {detail}; check the location or create the table first")]
    NotATable {
        /// Location of the table.
        uri: String,
        /// What was found instead.
        detail: String,
    },
    /// The version is newer than the table.
    #[error("table '{uri}' has no version {version} (its newest is {latest}); ask for a version that exists")]
    VersionNotFound {
        /// Location of the table.
        uri: String,
        /// The version that was asked for.
        version: u64,
        /// The newest version.
        latest: u64,
    },
    /// The log no longer reaches back to the version.
    #[error(
        "the history of table '{uri}' no longer holds version {version}; recompute from a newer version, \
         or keep more history with 'delta.logRetentionDuration'"
    )]
    HistoryGone {
        /// Location of the table.
        uri: String,
        /// The first version that is missing.
        version: u64,
    },
    /// Another table lives at the location now.
    #[error("table '{uri}' was replaced at or before version {version}: {detail}; recompute from the new table")]
    TableReplaced {
        /// Location of the table.
        uri: String,
        /// The version at which the difference was seen.
        version: u64,
        /// How the replacement was noticed.
        detail: String,
    },
    /// The table needs something that is not supported.
    #[error("table '{uri}' uses the feature '{feature}', which cannot be {action} here; {hint}")]
    UnsupportedFeature {
        /// Location of the table.
        uri: String,
        /// Name of the Delta table feature, or of the column type.
        feature: String,
        /// What was attempted, as a participle: `read` or `written`.
        action: &'static str,
        /// What to do.
        hint: String,
    },
    /// The log cannot be understood.
    #[error("the log of table '{uri}' is damaged at version {version}{}: {detail}; restore the entry or the table",
            .line.map(|line| format!(", line {line}")).unwrap_or_default())]
    CorruptLog {
        /// Location of the table.
        uri: String,
        /// Version of the entry.
        version: u64,
        /// Line in the entry, from 1.
        line: Option<usize>,
        /// What is wrong.
        detail: String,
    },
    /// A file that the log names does not exist.
    #[error("file '{path}' of table '{uri}' is missing; it was vacuumed or deleted: recompute from a newer version")]
    MissingFile {
        /// Location of the table.
        uri: String,
        /// Path of the file, as in the log.
        path: String,
    },
    /// Somebody else wrote the version.
    #[error("version {version} of table '{uri}' was written by somebody else: {detail}; plan again")]
    CommitConflict {
        /// Location of the table.
        uri: String,
        /// The version that was taken.
        version: u64,
        /// What the winner did.
        detail: String,
    },
    /// Columns were changed in a way that old rows cannot be read under.
    #[error("the schema of table '{uri}' changed between versions {before} and {now}: {detail}; recompute")]
    SchemaChanged {
        /// Location of the table.
        uri: String,
        /// The version before the change.
        before: u64,
        /// The version after it.
        now: u64,
        /// Which column, and how.
        detail: String,
    },
    /// Rows or a schema do not fit the table.
    #[error("the data does not fit table '{uri}': {detail}")]
    SchemaMismatch {
        /// Location of the table.
        uri: String,
        /// Names the column and what to do.
        detail: String,
    },
    /// A row breaks a constraint of the table.
    #[error(
        "a row breaks the constraint '{constraint}' of table '{uri}': {detail}; correct the data or drop the constraint"
    )]
    ConstraintViolated {
        /// Location of the table.
        uri: String,
        /// Name of the constraint, `NOT NULL` or `appendOnly`.
        constraint: String,
        /// The expression, and an example.
        detail: String,
    },
    /// The table belongs to somebody else.
    #[error(
        "table '{uri}' does not belong to this view: {detail}; choose another target or adopt the table explicitly"
    )]
    NotOurs {
        /// Location of the table.
        uri: String,
        /// Whose it is.
        detail: String,
    },
    /// The store did not do what was asked.
    #[error("the store failed while {attempt} of '{uri}': {detail}; try again, and check permissions and space")]
    Store {
        /// Location of the table.
        uri: String,
        /// What was attempted.
        attempt: String,
        /// The store's own words.
        detail: String,
    },
    /// DataFusion failed while it worked on rows.
    #[error("the engine failed: {0}")]
    Engine(Box<DataFusionError>),
    /// The caller asked for something that makes no sense.
    #[error("{detail}")]
    InvalidArgument {
        /// What, and what to do instead.
        detail: String,
    },
}

impl LakeError {
    /// The code of the error, from a closed list in `snake_case`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotATable { .. } => "not_a_table",
            Self::VersionNotFound { .. } => "version_not_found",
            Self::HistoryGone { .. } => "history_gone",
            Self::TableReplaced { .. } => "table_replaced",
            Self::UnsupportedFeature { .. } => "unsupported_feature",
            Self::CorruptLog { .. } => "corrupt_log",
            Self::MissingFile { .. } => "missing_file",
            Self::CommitConflict { .. } => "commit_conflict",
            Self::SchemaChanged { .. } => "schema_changed",
            Self::SchemaMismatch { .. } => "schema_mismatch",
            Self::ConstraintViolated { .. } => "constraint_violated",
            Self::NotOurs { .. } => "not_ours",
            Self::Store { .. } => "store_error",
            Self::Engine(_) => "engine_error",
            Self::InvalidArgument { .. } => "invalid_argument",
        }
    }

    /// An error of the store of `uri` during `attempt` (a present participle with its object).
    pub fn store(uri: &str, attempt: impl Into<String>, cause: &impl std::fmt::Display) -> Self {
        Self::Store { uri: uri.to_owned(), attempt: attempt.into(), detail: cause.to_string() }
    }

    /// An error that only says what to do instead.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::InvalidArgument { detail: detail.into() }
    }
}

impl From<DataFusionError> for LakeError {
    /// Takes an error of this crate back out of the engine's wrapping, so that its code survives a plan.
    fn from(error: DataFusionError) -> Self {
        match error {
            DataFusionError::External(inner) => match inner.downcast::<Self>() {
                Ok(ours) => *ours,
                Err(inner) => match inner.downcast::<DataFusionError>() {
                    Ok(nested) => Self::from(*nested),
                    Err(other) => Self::Engine(Box::new(DataFusionError::External(other))),
                },
            },
            DataFusionError::ArrowError(inner, backtrace) => match *inner {
                arrow::error::ArrowError::ExternalError(external) => Self::from(DataFusionError::External(external)),
                other => Self::Engine(Box::new(DataFusionError::ArrowError(Box::new(other), backtrace))),
            },
            DataFusionError::ParquetError(inner) => match *inner {
                ParquetError::External(external) => Self::from(DataFusionError::External(external)),
                other => Self::Engine(Box::new(DataFusionError::ParquetError(Box::new(other)))),
            },
            DataFusionError::Context(context, inner) => match Self::from(*inner) {
                Self::Engine(error) => Self::Engine(Box::new(DataFusionError::Context(context, error))),
                ours => ours,
            },
            other => Self::Engine(Box::new(other)),
        }
    }
}

impl From<LakeError> for DataFusionError {
    fn from(error: LakeError) -> Self {
        match error {
            LakeError::Engine(inner) => *inner,
            other => Self::External(Box::new(other)),
        }
    }
}

impl From<arrow::error::ArrowError> for LakeError {
    fn from(error: arrow::error::ArrowError) -> Self {
        Self::from(DataFusionError::from(error))
    }
}
