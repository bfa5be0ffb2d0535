//! Texts and symbols: Unicode normal forms, blank texts, qualified names.

use crate::PlatformFunction;

/// The functions of this family.
pub fn functions() -> Vec<PlatformFunction> {
    Vec::new()
}
