//! What a refresh has done so far, and how it ended.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::given_up::GivenUp;
use crate::request::{FileWork, Outcome, RefreshResult, RowCount, ScanUnit};

/// How a refresh ended.
pub(crate) struct Ended {
    pub(crate) outcome: Outcome,
    pub(crate) version: Option<u64>,
    pub(crate) timestamp_ms: Option<i64>,
    pub(crate) winner: Option<u64>,
    pub(crate) reason: Option<String>,
    pub(crate) message: Option<String>,
    pub(crate) target_rows: Option<u64>,
}

impl From<GivenUp> for Ended {
    fn from(given_up: GivenUp) -> Self {
        Self {
            outcome: Outcome::FellBack,
            reason: Some(given_up.reason),
            message: Some(given_up.message),
            ..Self::default()
        }
    }
}

impl Default for Ended {
    fn default() -> Self {
        Self {
            outcome: Outcome::Unchanged,
            version: None,
            timestamp_ms: None,
            winner: None,
            reason: None,
            message: None,
            target_rows: None,
        }
    }
}

/// What a refresh has done so far.
#[derive(Default)]
pub(crate) struct Progress {
    pub(crate) rows: RowCount,
    pub(crate) change_rows: BTreeMap<String, u64>,
    pub(crate) read: FileWork,
    pub(crate) written: FileWork,
    pub(crate) removed_files: u64,
    pub(crate) scan_units: Vec<ScanUnit>,
    pub(crate) elapsed_ms: BTreeMap<String, f64>,
}

impl Progress {
    /// The result of a refresh that ended so.
    pub(crate) fn result(self, ended: Ended) -> RefreshResult {
        RefreshResult {
            outcome: ended.outcome,
            version: ended.version,
            timestamp_ms: ended.timestamp_ms,
            winner: ended.winner,
            reason: ended.reason,
            message: ended.message,
            rows: self.rows,
            target_rows: ended.target_rows,
            change_rows: self.change_rows,
            read: self.read,
            written: self.written,
            removed_files: self.removed_files,
            scan_units: self.scan_units,
            elapsed_ms: self.elapsed_ms,
        }
    }

    /// Call what has no phase of the time since the start by the name of its end: it was given up.
    pub(crate) fn rest(&mut self, started: Instant) {
        let known: f64 = self.elapsed_ms.values().sum();
        let rest = (started.elapsed().as_secs_f64() * 1000.0 - known).max(0.0);
        self.elapsed_ms.insert("given_up".to_owned(), rest);
    }

    /// Add the time since a moment to a phase.
    pub(crate) fn timed(&mut self, phase: &str, since: Instant) {
        *self.elapsed_ms.entry(phase.to_owned()).or_default() += since.elapsed().as_secs_f64() * 1000.0;
    }
}
