//! Giving up: the reasons for which an incremental refresh ends as a recomputation instead of as a failure.

use maintenance::Reason;

use crate::error::EngineError;

/// Why the incremental path was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GivenUp {
    /// A code of the closed list.
    pub reason: String,
    /// In words.
    pub message: String,
}

impl GivenUp {
    /// The reason behind an error of the incremental path; the error itself where a recomputation would not help.
    pub fn from_error(error: EngineError) -> Result<Self, EngineError> {
        let reason = match error.code() {
            // What a step multiplies by a weight is larger than what the view itself adds up.
            _ if matches!(error, EngineError::Overflow { .. }) => "unsupported_expression",
            code
            @ ("budget_exceeded" | "cheaper_recompute" | "target_mismatch" | "history_gone" | "schema_changed") => code,
            "missing_file" => "history_gone",
            "out_of_memory" => "budget_exceeded",
            // The view's own query was planned before; what DataFusion cannot do is a step of the change plan.
            "invalid_query" => "unsupported_expression",
            _ => return Err(error),
        };
        Ok(Self { reason: reason.to_owned(), message: error.message() })
    }
}

impl From<Reason> for GivenUp {
    fn from(reason: Reason) -> Self {
        Self { reason: reason.code().to_owned(), message: reason.message() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_for_giving_up_is_on_the_closed_list() {
        let known: Vec<&str> = Reason::all().iter().map(Reason::code).collect();
        let errors = [
            EngineError::BudgetExceeded { bytes: 1 },
            EngineError::TargetMismatch { rows: 1 },
            EngineError::SchemaChanged { relation: "r".to_owned(), detail: "d".to_owned() },
            EngineError::OutOfMemory { subject: "s".to_owned(), message: "m".to_owned() },
            EngineError::invalid_query("s", "m"),
            lake::LakeError::HistoryGone { uri: "u".to_owned(), version: 1 }.into(),
        ];
        for error in errors {
            let given_up = GivenUp::from_error(error).unwrap();
            assert!(known.contains(&given_up.reason.as_str()), "{given_up:?}");
        }
        // No judgement of the algebra: the reason of whoever compares costs.
        let given_up = GivenUp::from_error(EngineError::CheaperRecompute { rows: 1 }).unwrap();
        assert_eq!(given_up.reason, "cheaper_recompute");
    }

    #[test]
    fn an_error_that_a_recomputation_would_meet_again_stays_an_error() {
        let error = GivenUp::from_error(EngineError::Cancelled).unwrap_err();
        assert_eq!(error.code(), "cancelled");
    }
}
