//! Errors of the engine: a code from a closed list, a message that names the thing, and what to do.
//!
//! Errors of DataFusion are sorted here, once: a fault of the query is told in the words of its author, a fault of
//! the world (memory, store) keeps its cause, and what is left is our own mistake and says so.

use datafusion::arrow::error::ArrowError;
use datafusion::common::{DataFusionError, SchemaError};
use lake::LakeError;

/// The result of engine calls.
pub type Result<T, E = EngineError> = std::result::Result<T, E>;

/// What can go wrong above the lake.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A Delta table could not be read or written.
    #[error(transparent)]
    Lake(LakeError),
    /// The definition of a view is not a query that can be planned.
    #[error("{subject}: {message}")]
    InvalidQuery {
        /// What was planned: `view "late"`, or `query`.
        subject: String,
        /// What is wrong with it, and what to write instead.
        message: String,
    },
    /// A column of the result has a type that a Delta table cannot hold.
    #[error("{subject}: column \"{column}\" {message}")]
    UnsupportedType {
        /// What was planned.
        subject: String,
        /// The output column.
        column: String,
        /// Its type, and the cast to write.
        message: String,
    },
    /// A relation that a plan reads is not among the inputs that were given.
    #[error("{subject}: relation \"{relation}\" is not known; known are {known}")]
    UnknownRelation {
        /// What was planned.
        subject: String,
        /// The name that was not found.
        relation: String,
        /// The names that are there, quoted and separated by commas.
        known: String,
    },
    /// An input has another schema than the plan was made for.
    #[error("{subject}: {message}")]
    SchemaMismatch {
        /// What was planned.
        subject: String,
        /// Which column, what was expected, what was found.
        message: String,
    },
    /// A function that a plan uses is missing or is another one than at planning.
    #[error("{subject}: {message}; compile the view again with this engine")]
    FunctionChanged {
        /// What was planned.
        subject: String,
        /// The function and the difference.
        message: String,
    },
    /// Planning was asked of a session without the function platform.
    #[error("the function platform is not installed in this session: {message}")]
    PlatformMissing {
        /// Which function is missing or replaced.
        message: String,
    },
    /// Stored plan bytes cannot be read back.
    #[error("{subject}: the stored plan cannot be read ({message}); compile the view again")]
    CorruptBundle {
        /// What was decoded.
        subject: String,
        /// The decoder's complaint.
        message: String,
    },
    /// An option or an argument has a value that is not possible.
    #[error("{message}")]
    InvalidArgument {
        /// Which one, and what is possible.
        message: String,
    },
    /// The memory pool or the spill directory is full.
    #[error("{subject}: out of memory: {message}; raise the memory limit or lower the target partitions")]
    OutOfMemory {
        /// What ran.
        subject: String,
        /// The reservation that failed, with the largest consumers.
        message: String,
    },
    /// A value made an expression fail while rows were computed (a cast, a division, an overflow).
    #[error("{subject}: {message}")]
    ExecutionFailed {
        /// What ran.
        subject: String,
        /// DataFusion's message.
        message: String,
    },
    /// A number became too large while rows were computed.
    #[error("{subject}: {message}")]
    Overflow {
        /// What was run.
        subject: String,
        /// DataFusion's message.
        message: String,
    },
    /// An input does not have a column any more that the plan reads.
    #[error("relation \"{relation}\": {detail}")]
    SchemaChanged {
        /// The relation.
        relation: String,
        /// The column and what happened to it.
        detail: String,
    },
    /// The incremental path would hold more than it may; a recomputation is the way out.
    #[error("the change set needs more than the {bytes} bytes that it may hold")]
    BudgetExceeded {
        /// What it may hold.
        bytes: u64,
    },
    /// The incremental path goes on, but a recomputation costs less.
    #[error("the change has more than {rows} rows, and a recomputation takes less time than applying so many")]
    CheaperRecompute {
        /// How many rows may change.
        rows: u64,
    },
    /// A row that has to be taken from the target is not in it.
    #[error("the target lacks {rows} rows that its frontier says it has")]
    TargetMismatch {
        /// How many.
        rows: u64,
    },
    /// The work was cancelled by its caller.
    #[error("cancelled")]
    Cancelled,
    /// A mistake of ours or of a library.
    #[error("{subject}: internal error: {message}; please report it with the definition of the view")]
    Defect {
        /// What was done.
        subject: String,
        /// What was found.
        message: String,
    },
}

impl EngineError {
    /// Every code that [`EngineError::code`] adds to those of the lake.
    pub const CODES: &'static [&'static str] = &[
        "invalid_query",
        "unsupported_type",
        "unknown_relation",
        "schema_mismatch",
        "function_changed",
        "platform_missing",
        "corrupt_bundle",
        "invalid_argument",
        "out_of_memory",
        "execution_failed",
        "schema_changed",
        "budget_exceeded",
        "target_mismatch",
        "cancelled",
        "engine_defect",
    ];

    /// The stable code of the error, `snake_case`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Lake(error) => error.code(),
            Self::InvalidQuery { .. } => "invalid_query",
            Self::UnsupportedType { .. } => "unsupported_type",
            Self::UnknownRelation { .. } => "unknown_relation",
            Self::SchemaMismatch { .. } => "schema_mismatch",
            Self::FunctionChanged { .. } => "function_changed",
            Self::PlatformMissing { .. } => "platform_missing",
            Self::CorruptBundle { .. } => "corrupt_bundle",
            Self::InvalidArgument { .. } => "invalid_argument",
            Self::OutOfMemory { .. } => "out_of_memory",
            Self::ExecutionFailed { .. } | Self::Overflow { .. } => "execution_failed",
            Self::SchemaChanged { .. } => "schema_changed",
            Self::BudgetExceeded { .. } => "budget_exceeded",
            Self::CheaperRecompute { .. } => "cheaper_recompute",
            Self::TargetMismatch { .. } => "target_mismatch",
            Self::Cancelled => "cancelled",
            Self::Defect { .. } => "engine_defect",
        }
    }

    /// The message for a person.
    pub fn message(&self) -> String {
        self.to_string()
    }

    /// A fault of the definition, in the words of its author.
    pub fn invalid_query(subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self::InvalidQuery { subject: subject.into(), message: message.into() }
    }

    /// A mistake of ours.
    pub fn defect(subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Defect { subject: subject.into(), message: message.into() }
    }

    /// No thread could be started for planning.
    pub(crate) fn no_thread(error: &std::io::Error) -> Self {
        Self::OutOfMemory { subject: "planning".to_owned(), message: format!("no thread can be started: {error}") }
    }

    /// Sorts an error that DataFusion returned while `subject` was parsed, planned or optimized.
    pub fn planning(subject: &str, error: DataFusionError) -> Self {
        Self::sort(subject, error, true)
    }

    /// Sorts an error that DataFusion returned while the rows of `subject` were computed.
    pub fn execution(subject: &str, error: DataFusionError) -> Self {
        Self::sort(subject, error, false)
    }

    fn sort(subject: &str, error: DataFusionError, planning: bool) -> Self {
        let error = match unwrap_external(error) {
            Ok(own) => return own,
            Err(error) => error,
        };
        if let Some(missing) = missing_file(&error) {
            return missing;
        }
        // Only a definition has places; while rows are computed there is none to point at.
        let place = if planning { place_of(&error) } else { String::new() };
        let subject = format!("{subject}{place}");
        let text = error.strip_backtrace();
        match error.find_root() {
            DataFusionError::SQL(parser, _) => {
                Self::invalid_query(subject, format!("it is not valid SQL: {}", parser_text(&parser.to_string())))
            }
            DataFusionError::SchemaError(schema_error, _) => Self::invalid_query(subject, schema_text(schema_error)),
            DataFusionError::Plan(message) => Self::invalid_query(subject, tidy(message)),
            DataFusionError::NotImplemented(message) => {
                Self::invalid_query(subject, format!("DataFusion cannot do this: {}", tidy(message)))
            }
            DataFusionError::Configuration(message) => {
                Self::InvalidArgument { message: format!("{subject}: {}", tidy(message)) }
            }
            DataFusionError::ResourcesExhausted(message) => Self::OutOfMemory { subject, message: tidy(message) },
            DataFusionError::Internal(_) | DataFusionError::Ffi(_) => Self::defect(subject, tidy(&text)),
            _ if planning => Self::invalid_query(subject, tidy(&text)),
            DataFusionError::ArrowError(arrow, _) if matches!(arrow.as_ref(), ArrowError::ArithmeticOverflow(_)) => {
                Self::Overflow { subject, message: tidy(&text) }
            }
            _ => Self::ExecutionFailed { subject, message: tidy(&text) },
        }
    }
}

impl From<LakeError> for EngineError {
    fn from(error: LakeError) -> Self {
        match error {
            LakeError::Engine(inner) => Self::execution("rows of a table", *inner),
            other => Self::Lake(other),
        }
    }
}

impl From<EngineError> for DataFusionError {
    fn from(error: EngineError) -> Self {
        Self::External(Box::new(error))
    }
}

/// A missing file, however deep the readers wrapped it: the caller plans again instead of giving up.
fn missing_file(error: &DataFusionError) -> Option<EngineError> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(LakeError::MissingFile { uri, path }) = error.downcast_ref::<LakeError>() {
            return Some(EngineError::Lake(LakeError::MissingFile { uri: uri.clone(), path: path.clone() }));
        }
        next = error.source();
    }
    None
}

/// Takes an error of ours out of the wrappers of DataFusion.
///
/// Providers and streams can only return DataFusion's error type, so ours travel inside it and come out here.
fn unwrap_external(error: DataFusionError) -> Result<EngineError, DataFusionError> {
    match error {
        DataFusionError::External(inner) => match inner.downcast::<EngineError>() {
            Ok(own) => Ok(*own),
            Err(inner) => match inner.downcast::<LakeError>() {
                Ok(own) => Ok(EngineError::Lake(*own)),
                Err(inner) => match inner.downcast::<DataFusionError>() {
                    Ok(nested) => unwrap_external(*nested),
                    Err(inner) => Err(DataFusionError::External(inner)),
                },
            },
        },
        DataFusionError::Context(context, inner) => {
            unwrap_external(*inner).map_err(|inner| DataFusionError::Context(context, Box::new(inner)))
        }
        DataFusionError::Diagnostic(diagnostic, inner) => {
            unwrap_external(*inner).map_err(|inner| DataFusionError::Diagnostic(diagnostic, Box::new(inner)))
        }
        DataFusionError::ArrowError(inner, trace) => match *inner {
            arrow::error::ArrowError::ExternalError(external) => unwrap_external(DataFusionError::External(external)),
            other => Err(DataFusionError::ArrowError(Box::new(other), trace)),
        },
        other => Err(other),
    }
}

/// The place in the definition that an error is about, as a suffix of its subject.
fn place_of(error: &DataFusionError) -> String {
    error
        .diagnostic()
        .and_then(|diagnostic| diagnostic.span)
        .map(|span| span.start)
        .filter(|start| start.line > 0)
        .map(|start| format!(", line {}, column {}", start.line, start.column))
        .unwrap_or_default()
}

fn parser_text(text: &str) -> String {
    tidy(text.trim_start_matches("sql parser error: ").trim_start_matches("ParserError"))
}

fn schema_text(error: &SchemaError) -> String {
    match error {
        SchemaError::AmbiguousReference { field } => format!(
            "column \"{}\" is ambiguous; write the relation before it, as in relation.{}",
            field.flat_name(),
            field.name
        ),
        SchemaError::DuplicateQualifiedField { qualifier, name } => {
            format!("column \"{qualifier}.{name}\" occurs twice; give the relations different aliases")
        }
        SchemaError::DuplicateUnqualifiedField { name } => {
            format!("column \"{name}\" occurs twice; name one of them with AS")
        }
        SchemaError::FieldNotFound { field, valid_fields } => {
            let known: Vec<String> = valid_fields.iter().map(|column| format!("\"{}\"", column.flat_name())).collect();
            if known.is_empty() {
                format!("there is no column \"{}\" here", field.flat_name())
            } else {
                format!("there is no column \"{}\"; there are {}", field.flat_name(), known.join(", "))
            }
        }
    }
}

fn tidy(text: &str) -> String {
    text.trim()
        .trim_start_matches("Error during planning: ")
        .trim_start_matches("Execution error: ")
        .trim_start_matches("Arrow error: ")
        .trim_end_matches('.')
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_ours_comes_back_out_of_datafusion() {
        let inner: DataFusionError = EngineError::Cancelled.into();
        let wrapped = DataFusionError::Context("scan".to_owned(), Box::new(inner));
        let error = EngineError::execution("view \"v\"", wrapped);
        assert_eq!(error.code(), "cancelled");
    }

    #[test]
    fn exhausted_memory_has_its_own_code() {
        let error = EngineError::execution("view \"v\"", DataFusionError::ResourcesExhausted("no room".to_owned()));
        assert_eq!(error.code(), "out_of_memory");
        assert!(error.message().contains("view \"v\""), "{error}");
        let full = || LakeError::Engine(Box::new(DataFusionError::ResourcesExhausted("no room".to_owned())));
        assert_eq!(EngineError::from(full()).code(), "out_of_memory");
        assert_eq!(EngineError::execution("v", crate::refresh::lake_error(full())).code(), "out_of_memory");
    }

    #[test]
    fn every_code_is_listed() {
        let errors = [EngineError::Cancelled, EngineError::defect("a", "b"), EngineError::invalid_query("a", "b")];
        for error in errors {
            assert!(EngineError::CODES.contains(&error.code()));
        }
    }
}
