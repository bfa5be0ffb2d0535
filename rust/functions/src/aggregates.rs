//! Aggregates whose result depends on the rows of a group, not on their order or partitioning.

use crate::PlatformFunction;

/// The functions of this family.
pub fn functions() -> Vec<PlatformFunction> {
    Vec::new()
}
