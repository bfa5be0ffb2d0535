//! Spans: half-open ranges of positions in a text, their algebra and their ids.

use crate::PlatformFunction;

/// The functions of this family.
pub fn functions() -> Vec<PlatformFunction> {
    Vec::new()
}
