//! Sums of floats that are correctly rounded, so that they do not depend on the order of addition.

use crate::PlatformFunction;

/// The functions of this family.
pub fn functions() -> Vec<PlatformFunction> {
    Vec::new()
}
