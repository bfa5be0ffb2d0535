//! Identifiers and fingerprints: ids and hashes of several values, equal in every process and on every machine.

use crate::PlatformFunction;

/// The functions of this family.
pub fn functions() -> Vec<PlatformFunction> {
    Vec::new()
}
